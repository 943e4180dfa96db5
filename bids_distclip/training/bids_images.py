"""The images of a BIDS dataset prepared as the app prepares them, with the styles it finds, kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bids_distclip.dataset.inputs import Scan, find_scans
from bids_distclip.draft import draft
from bids_distclip.errors import BadData, NoInput, ReadFailed
from bids_distclip.harmonizers.styles import tells_enough
from bids_distclip.training.alignment import Alignment, align, placed
from bids_distclip.training.cohort import Cohort, RealImage, RealPair
from bids_distclip.volume.image import read_volume
from bids_distclip.volume.prepared import Prepared, prepare
from bids_distclip.volume.ras import ras_spacing, to_ras

#: Brightest value that is kept, in units of the intensity scale, and the share of the brain cut off at either end.
BRIGHTEST, END = 4.0, 0.03


def gather_cohort(
    bids_dir: Path,
    cache: Path,
    *,
    style_of: Callable[[Prepared, str], np.ndarray],
    eye: str,
    participants: Sequence[str] | None = None,
    threads: int = 1,
    say: Callable[[str], None] = print,
) -> Cohort:
    """Prepare the anatomical images of a BIDS dataset in ``cache``, and find the pairs among those of each person.

    Parameters
    ----------
    style_of
        Finds the style ``(512,)`` of a prepared image of a family; ``eye`` tells one such function from another.
    participants
        Labels of people; default: all.

    Raises
    ------
    NoInput
        If no image can be used.
    """
    selection = find_scans(bids_dir, participants=participants)
    cache.mkdir(parents=True, exist_ok=True)
    images, notes = [], []
    for scan in sorted(selection.scans, key=lambda scan: scan.relative):
        try:
            images.append(_image(scan, cache, style_of=style_of, eye=eye, threads=threads, say=say))
        except (BadData, ReadFailed) as error:
            notes.append(f'{scan.relative} is left out: {error}')
    if not images:
        raise NoInput('No image can be trained on.', file=bids_dir, cure=' '.join(notes[:5]))
    pairs = []
    for first, second in _of_one_person(images):
        made = _pair(images, first, second, cache, say=say)
        if isinstance(made, RealPair):
            pairs.append(made)
        else:
            notes.append(f'{images[first].relative} and {images[second].relative} are no pair: {made.refused}')
    return Cohort(_name(bids_dir), tuple(images), tuple(pairs), tuple(notes))


def _of_one_person(images: Sequence[RealImage]) -> list[tuple[int, int]]:
    count = len(images)
    return [(i, j) for i in range(count) for j in range(i + 1, count) if images[i].subject == images[j].subject]


def _image(
    scan: Scan,
    cache: Path,
    *,
    style_of: Callable[[Prepared, str], np.ndarray],
    eye: str,
    threads: int,
    say: Callable[[str], None],
) -> RealImage:
    family = scan.family_call.family
    if family is None:
        raise BadData('Its contrast family is not known.', cure='Add metadata to its sidecar.')
    status = scan.path.stat()
    known = json.dumps(scan.acquisition.values(), default=str)
    key = _key(scan.relative, str(status.st_size), str(status.st_mtime_ns), known, family)
    file, masks, told = (cache / f'{key}.{end}' for end in ('image.npy', 'masks.npy', 'json'))
    whole = cache / f'{key}.npz'
    if not whole.exists():
        say(f'Preparing {scan.relative}')
        prepare(read_volume(scan.path), acquisition=scan.acquisition, family=family, threads=threads).save(whole)
    if not told.exists():
        ready = Prepared.load(whole)
        affine = ready.volume.affine
        _save(file, _normalized(ready.volume.data, scale=ready.scale, affine=affine))
        brain = to_ras(ready.brain, affine)
        _save(masks, to_ras(ready.head, affine).astype(np.uint8) | brain.astype(np.uint8) << 1)
        found = np.argwhere(brain)
        reach = np.quantile(found, [END, 1 - END], axis=0).round().astype(int).T
        record = {'spacing': ras_spacing(affine), 'reach': reach.tolist(), 'middle': found.mean(0).tolist()}
        _write(told, json.dumps(record))
    seen = cache / f'{key}.{eye}.style.npy'
    if not seen.exists():
        _save(seen, np.asarray(style_of(Prepared.load(whole), family), np.float32))
    record = json.loads(told.read_text(encoding='utf-8'))
    return RealImage(
        relative=scan.relative,
        subject=scan.subject,
        key=key,
        family=family,
        acquisition=scan.acquisition,
        told=tells_enough(scan.acquisition),
        spacing=tuple(record['spacing']),
        reach=tuple((low, high) for low, high in record['reach']),
        middle=tuple(record['middle']),
        file=file,
        masks=masks,
        style=np.load(seen),
    )


def _pair(
    images: Sequence[RealImage], first: int, second: int, cache: Path, *, say: Callable[[str], None]
) -> RealPair | Alignment:
    key = _key(images[first].key, images[second].key)
    file, told = cache / f'{key}.pair.npy', cache / f'{key}.json'
    if not told.exists():
        one, other = (Prepared.load(cache / f'{images[number].key}.npz') for number in (first, second))
        found = align(one, other)
        if not found.refused:
            _save(file, _normalized(placed(other, one), scale=other.scale, affine=one.volume.affine))
        say(f'{images[first].relative} and {images[second].relative}: {found.refused or "a pair"}')
        _write(told, json.dumps({'refused': found.refused, 'overlap': found.overlap}))
    record = json.loads(told.read_text(encoding='utf-8'))
    return Alignment(**record) if record['refused'] else RealPair(first, second, file)


def _normalized(data: np.ndarray, *, scale: float, affine: np.ndarray) -> np.ndarray:
    return np.clip(to_ras(data / np.float32(scale), affine), 0, BRIGHTEST).astype(np.float16)


def _key(*parts: str) -> str:
    return hashlib.sha256('\n'.join(parts).encode()).hexdigest()[:16]


def _save(path: Path, array: np.ndarray) -> None:
    with draft(path) as hidden, hidden.open('wb') as stream:
        np.save(stream, np.ascontiguousarray(array))


def _write(path: Path, text: str) -> None:
    with draft(path) as hidden:
        hidden.write_text(text, encoding='utf-8')


def _name(bids_dir: Path) -> str:
    """Return the name a dataset gives itself, else that of its folder."""
    try:
        told = json.loads((bids_dir / 'dataset_description.json').read_text(encoding='utf-8-sig'))
        return str(told['Name'])
    except (OSError, ValueError, KeyError, TypeError):
        return Path(bids_dir).absolute().name
