"""The BIDS App: from a command line to an exit code."""

from __future__ import annotations

import contextlib
import itertools
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bids_distclip.cli.parser import build_parser
from bids_distclip.cli.values import parse_labels, parse_levels, parse_pairs
from bids_distclip.errors import DistclipError, UsageError

if TYPE_CHECKING:
    from bids_distclip.settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the app and return its exit code; the last line printed states it."""
    code = guarded(lambda: _run(argv), prog='bids_distclip')
    print(f'bids_distclip: finished, exit {code}', flush=True)
    return code


def guarded(work: Callable[[], int], *, prog: str) -> int:
    """Return what ``work`` returns, or the exit code of what it raises after saying what happened."""
    try:
        with _stoppable():
            return work()
    except DistclipError as error:
        print(f'{prog}: {error}', file=sys.stderr, flush=True)
        return error.code
    except KeyboardInterrupt:
        print(f'{prog}: interrupted. What to do: run the same command again; it goes on where it stopped.',
              file=sys.stderr, flush=True)
        return 75
    except Exception:  # noqa: BLE001 - the last resort turns the unforeseen into an exit code
        traceback.print_exc()
        print(f'{prog}: this failure was not foreseen. What to do: report it with the lines above.',
              file=sys.stderr, flush=True)
        return 1


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Let the signal that schedulers and ``docker stop`` send end the run as an interrupt does.

    By default it kills a process without a word, and is ignored altogether by the first process of a container.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def read_settings(argv: Sequence[str] | None) -> Settings:
    """Return the settings of a command line; raises UsageError or UnknownLevel."""
    given: dict[str, Any] = vars(build_parser().parse_args(argv))
    given['levels'] = parse_levels(given.pop('analysis_level'))
    given.pop('notrack', None)
    for name, prefix in (('participants', 'sub'), ('sessions', 'ses')):
        if name in given:
            given[name] = parse_labels(given[name], prefix=prefix)
    if 'derivatives' in given:
        given['derivatives'] = parse_pairs(given['derivatives'])

    from bids_distclip.settings import make_settings, read_config

    config_file = given.pop('config_file', None)
    return make_settings(read_config(config_file) if config_file else {}, **given)


def _run(argv: Sequence[str] | None) -> int:
    words = sys.argv[1:] if argv is None else list(argv)
    if _asks_for_protocols(words):
        return _list_protocols()
    settings = read_settings(words)
    if settings.output_dir == settings.bids_dir:
        raise UsageError('The output folder is the dataset itself.', file=settings.output_dir,
                         cure='give another folder, for example bids_dir/derivatives/distclip.')

    from bids_distclip.workflow.levels import run_levels

    return run_levels(settings)


def _asks_for_protocols(words: Sequence[str]) -> bool:
    return any(a == '--target-protocol' and b == 'list' for a, b in itertools.pairwise(words)) or (
        '--target-protocol=list' in words)


def _list_protocols() -> int:
    from bids_distclip.workflow.targets import describe_protocols

    print(describe_protocols())
    return 0
