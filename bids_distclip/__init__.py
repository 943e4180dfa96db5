"""Harmonize brain MRI between scanners, guided by a target image or by acquisition metadata alone."""

__version__ = '0.1.0'
