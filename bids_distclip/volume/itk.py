"""Arrays with an affine as SimpleITK images and back."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def to_itk(data: np.ndarray, *, affine: np.ndarray) -> sitk.Image:
    """Return an image with spacing, origin and direction of a RAS+ affine (shear is dropped)."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T))
    matrix = _RAS_TO_LPS @ affine
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    left, _, right = np.linalg.svd(matrix[:3, :3] / spacing)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    image.SetDirection((left @ right).ravel().tolist())
    return image


def from_itk(image: sitk.Image) -> np.ndarray:
    """Return the array ``(X, Y, Z)`` of an image."""
    return np.ascontiguousarray(sitk.GetArrayFromImage(image).T)
