"""Maps beside a harmonized image: brain mask, tissue and uncertainty, each with its sidecar."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bids_distclip.dataset.atomic import write_json, write_text
from bids_distclip.dataset.outputs import bids_uri
from bids_distclip.workflow.context import Run
from bids_distclip.workflow.job import Job

if TYPE_CHECKING:
    import numpy as np

    from bids_distclip.volume.image import Volume
    from bids_distclip.volume.prepared import Prepared


def write_mask(run: Run, *, job: Job, source: Prepared) -> None:
    """Write the brain mask that the source was scaled with."""
    import numpy as np

    from bids_distclip.volume.image import write_volume

    path = run.output_dir / str(job.mask_output)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(source.volume.with_data(source.brain.astype(np.float32)), path, dtype=np.uint8)
    write_json(beside(path), {
        'Description': f'Brain mask that the intensities of the {job.suffix} image were scaled with.', 'Type': 'Brain',
        'SpatialReference': 'orig', 'Sources': [bids_uri(job.relative)],
    })


def write_tissue(run: Run, *, job: Job, source: Prepared) -> None:
    """Write the tissue of the source, with the look-up table of its numbers; nothing where it is not known.

    What a former run wrote is then removed: it would belong to another image or other weights.
    """
    import numpy as np

    from bids_distclip.quality.tissue import TISSUES
    from bids_distclip.volume.image import write_volume

    path = run.output_dir / str(job.tissue_output)
    if source.tissue is None:
        for old in (path, beside(path), beside(path, suffix='.tsv')):
            old.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = np.array([tissue.index for tissue in TISSUES], np.float32)
    write_volume(source.volume.with_data(numbers[source.tissue]), path, dtype=np.uint8)
    rows = [f'{tissue.index}\t{tissue.name}\t{tissue.abbreviation}' for tissue in TISSUES]
    write_text(beside(path, suffix='.tsv'), '\n'.join(['index\tname\tabbreviation', *rows]) + '\n')
    write_json(beside(path), {
        'Description': f'Tissue that the numbers of the {job.suffix} image are told by; not made for volumetry.',
        'SpatialReference': 'orig', 'Sources': [bids_uri(job.relative)],
    })


def write_spread(run: Run, *, job: Job, source: Prepared, uncertainty: np.ndarray) -> None:
    """Write the uncertainty of the harmonized image, in its units."""
    from bids_distclip.volume.image import write_volume

    path = run.output_dir / str(job.spread_output)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(as_float(source.volume.with_data(uncertainty)), path)
    write_json(beside(path), {
        'Description': 'Uncertainty of the harmonized image as its engine knows it, in the units of that image.',
        'SpatialReference': 'orig', 'Sources': [bids_uri(job.relative)],
    })


def as_float(volume: Volume) -> Volume:
    """Return the volume as one that is written in float32."""
    import numpy as np

    header = volume.header.copy()
    header.set_data_dtype(np.float32)
    return replace(volume, header=header)


def beside(path: Path, *, suffix: str = '.json') -> Path:
    """Return the file of another suffix beside a NIfTI file."""
    return path.with_name(path.name.removesuffix('.gz').removesuffix('.nii') + suffix)
