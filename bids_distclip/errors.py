"""Every failure a user can meet: what happened, which file, what to do, and the exit code it ends with."""

from __future__ import annotations

from pathlib import Path


class DistclipError(Exception):
    """A failure a user can act on.

    Parameters
    ----------
    what
        One sentence: what happened.
    file
        The file it happened with, if one.
    cure
        One sentence: what to do next.
    """

    code = 1

    def __init__(self, what: str, *, file: str | Path | None = None, cure: str = '') -> None:
        self.what = what
        self.file = None if file is None else str(file)
        self.cure = cure
        super().__init__(str(self))

    def __str__(self) -> str:
        parts = [self.what]
        if self.file:
            parts.append(f'File: {self.file}.')
        if self.cure:
            parts.append(f'What to do: {self.cure}')
        return ' '.join(parts)

    def __reduce__(self):
        return _rebuild, (type(self), self.what, self.file, self.cure)


def _rebuild(kind: type[DistclipError], what: str, file: str | None, cure: str) -> DistclipError:
    return kind(what, file=file, cure=cure)


class ImageFailed(DistclipError):
    """At least one image failed; the others were written."""

    code = 1


class InvalidDataset(DistclipError):
    """The input is not a valid BIDS dataset."""

    code = 16


class UnknownLevel(DistclipError):
    """The analysis level is not one this app offers."""

    code = 17


class NothingSelected(DistclipError):
    """The filters of the command line left no image."""

    code = 18


class UsageError(DistclipError):
    """An option or its value is wrong."""

    code = 64


class BadData(DistclipError):
    """An image or its metadata cannot be used."""

    code = 65


class NoInput(DistclipError):
    """There is no image this app could harmonize."""

    code = 66


class CannotWrite(DistclipError):
    """The output or work folder cannot be written."""

    code = 73


class ReadFailed(DistclipError):
    """Reading or writing broke off (disk full, truncated file)."""

    code = 74


class TryAgain(DistclipError):
    """A resource was busy or too small; the same command may work later."""

    code = 75
