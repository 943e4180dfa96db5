"""Errors that say memory ran out, of a card or of the machine, in words that say what to do about it."""

from __future__ import annotations

import errno

from bids_distclip.errors import TryAgain

#: What errors of CUDA's libraries say that torch does not raise as its own class.
_CARD = ('cuda out of memory', 'cuda error: out of memory', 'cublas_status_alloc_failed', 'cudnn_status_alloc_failed')
#: What torch and C++ say where the machine has no memory left.
_MACHINE = ("can't allocate memory", 'not enough memory', 'cannot allocate memory', 'std::bad_alloc')


def short_of(error: BaseException) -> str:
    """Return ``card`` or ``memory`` where an error says that one ran out, else an empty text.

    torch is not loaded to know its errors: most steps of a run never need it.
    """
    text = str(error).lower()
    # torch calls it torch.OutOfMemoryError or torch.cuda.OutOfMemoryError, by version.
    named = any(kind.__name__ == 'OutOfMemoryError' for kind in type(error).__mro__)
    if isinstance(error, RuntimeError) and (named or any(words in text for words in _CARD)):
        return 'card'
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return 'memory'
    return 'memory' if isinstance(error, RuntimeError) and any(words in text for words in _MACHINE) else ''


def told(error: Exception) -> Exception:
    """Return TryAgain in place of an error that says memory ran out, and any other error as it is."""
    kind = short_of(error)
    if kind == 'card':
        return TryAgain('The memory of the card ran out.', cure='give a smaller --batch-size or --device cpu; '
                        'if another program uses the card, run the same command again later.')
    if kind == 'memory':
        return TryAgain('Memory ran out.', cure='give the job more memory, a smaller --batch-size, or --nprocs 1 so '
                        'that no other step runs beside it, and run the same command again.')
    return error
