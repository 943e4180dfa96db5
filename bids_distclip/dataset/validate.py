"""Whether a dataset keeps the rules of BIDS, by the official validator; only what concerns us counts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_distclip.dataset.filters import clean_labels
from bids_distclip.errors import InvalidDataset

PROGRAM = 'bids-validator-deno'
_SHOWN = 5
#: What is wrong with the content of one file is told when that image is read, and must not stop the others.
_OF_ONE_FILE = ('SYMLINK_BROKEN', 'EMPTY_FILE', 'NIFTI_HEADER_UNREADABLE')
_FOREIGN = r'(derivatives|sourcedata|code|stimuli|phenotype)/|(task|acq|run|echo|dir)-'
_MISSING = f'{PROGRAM} is not installed: the dataset was not validated (pip install {PROGRAM}).'


@dataclass(frozen=True)
class Issue:
    """One remark of the validator; ``location`` is the file, relative to the dataset."""

    code: str
    severity: str
    location: str
    message: str = ''

    def line(self) -> str:
        """Return the issue in one line."""
        return f'{self.code} ({self.location or "dataset"})' + (f': {self.message}' if self.message else '')


@dataclass(frozen=True)
class Validation:
    """What the validator found.

    ``errors`` concern the images this app reads, ``elsewhere`` other data types, subjects or single files.
    ``warning`` is a sentence where the validator could not run; then nothing is known.
    """

    errors: tuple[Issue, ...] = ()
    warnings: tuple[Issue, ...] = ()
    elsewhere: tuple[Issue, ...] = ()
    version: str | None = None
    warning: str = ''

    @property
    def ran(self) -> bool:
        """Tell whether the validator ran."""
        return not self.warning


def find_validator() -> Path | None:
    """Return the validator's program, beside the Python in use or on the search path."""
    beside = Path(sys.executable).with_name(PROGRAM)
    found = str(beside) if beside.is_file() else shutil.which(PROGRAM)
    return Path(found) if found else None


def check_dataset(
    bids_dir: str | Path, *, participants: Iterable[str] | None = None, timeout: float = 1800
) -> Validation:
    """Run the validator on a dataset and sort what it says; needs no network.

    Errors count if they concern the dataset as a whole or anatomical files of the named participants (all
    without); others, such as a missing TaskName or one unreadable file, are listed under ``elsewhere``.
    """
    program = find_validator()
    if program is None:
        return Validation(warning=_MISSING)
    command = [str(program), '--format', 'json', '--prune', str(bids_dir)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        report = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return Validation(warning=f'{PROGRAM} took more than {timeout:g} s: the dataset was not validated.')
    except (OSError, json.JSONDecodeError) as error:
        return Validation(warning=f'{PROGRAM} did not run ({error}): the dataset was not validated.')
    issues = [_issue(raw) for raw in report['issues']['issues']]
    labels = clean_labels(participants, prefix='sub')
    errors = [issue for issue in issues if issue.severity == 'error']
    ours = [
        issue for issue in errors
        if issue.code not in _OF_ONE_FILE and concerns(issue.location, participants=labels)
    ]
    return Validation(
        errors=tuple(ours),
        warnings=tuple(issue for issue in issues if issue.severity == 'warning'),
        elsewhere=tuple(issue for issue in errors if issue not in ours),
        version=report.get('summary', {}).get('schemaVersion'),
    )


def validate(bids_dir: str | Path, *, participants: Iterable[str] | None = None) -> Validation:
    """Run the validator on a dataset; see :func:`check_dataset`.

    Raises
    ------
    InvalidDataset
        If there is an error that concerns what this app reads.
    """
    found = check_dataset(bids_dir, participants=participants)
    if found.errors:
        listed = '; '.join(issue.line() for issue in found.errors[:_SHOWN])
        more = f'; and {len(found.errors) - _SHOWN} more' if len(found.errors) > _SHOWN else ''
        raise InvalidDataset(
            f'The dataset is not valid BIDS: {listed}{more}.', file=bids_dir,
            cure='repair it, or skip this check with --skip-bids-validation.',
        )
    return found


def concerns(location: str, *, participants: Iterable[str] | None) -> bool:
    """Tell whether a file matters to this app: anatomical, or of the dataset as a whole."""
    path = location.lstrip('/')
    match = re.match(r'sub-([^/]+)/', path)
    if match is None:
        return not re.match(_FOREIGN, path)
    if participants is not None and match[1] not in participants:
        return False
    return '/anat/' in path or bool(re.fullmatch(r'sub-[^/]+/(ses-[^/]+/)?[^/]*', path))


def _issue(raw: dict[str, Any]) -> Issue:
    code = raw.get('code', 'UNKNOWN') + (f'.{raw["subCode"]}' if raw.get('subCode') else '')
    message = ' '.join(str(raw.get('issueMessage') or '').split())
    return Issue(code, raw.get('severity', 'error'), str(raw.get('location') or ''), message[:200])
