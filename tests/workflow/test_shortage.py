"""Memory that runs out: once more with less on a card, then the code for trying again and what to change."""

from __future__ import annotations

import errno
import json

import nibabel as nib
import numpy as np
import pytest

from bids_distclip.cli.toolbox import main as toolbox
from bids_distclip.dataset.inputs import find_scans
from bids_distclip.errors import TryAgain
from bids_distclip.harmonizers.base import Harmonized
from bids_distclip.harmonizers.registry import get_harmonizer
from bids_distclip.settings import make_settings
from bids_distclip.volume.image import read_volume
from bids_distclip.volume.prepared import prepare
from bids_distclip.workflow import engine, steps
from bids_distclip.workflow.context import Run
from bids_distclip.workflow.plan import make_plan
from bids_distclip.workflow.shortage import short_of, told
from bids_distclip.workflow.status import exit_code, failed, read_statuses
from bids_distclip.workflow.targets import resolve_targets

torch = pytest.importorskip('torch')


def raised(work) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is what the tests are about
        work()
    return caught.value


def card_is_full() -> Exception:
    return torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB.')


#: What numpy and torch really raise here, and what torch raises where there is a card.
SHORTAGES = {
    'torch': lambda: raised(lambda: torch.empty(1 << 50, dtype=torch.uint8)),
    'numpy': lambda: raised(lambda: np.empty(1 << 50, dtype=np.uint8)),
    'fork': lambda: OSError(errno.ENOMEM, 'Cannot allocate memory'),
    'card': card_is_full,
    'cublas': lambda: RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`'),
}


@pytest.mark.parametrize('kind', sorted(SHORTAGES))
def test_every_way_memory_runs_out_is_worth_another_try_with_what_to_change(kind):
    error = SHORTAGES[kind]()
    on_card = kind in ('card', 'cublas')
    assert short_of(error) == ('card' if on_card else 'memory')
    reason = told(error)
    assert isinstance(reason, TryAgain)
    assert '--batch-size' in reason.cure
    assert ('--device cpu' in reason.cure) is on_card
    assert failed(error, image='x', subject='01', session=None).code == 75


@pytest.mark.parametrize('error', [
    RuntimeError('size mismatch'), OSError(errno.ENOSPC, 'No space left on device'), KeyError('out of memory'),
    ValueError('cannot allocate memory'), TryAgain('Busy.'),
])
def test_other_errors_stay_what_they_are(error):
    assert short_of(error) == ''
    assert told(error) is error


class Hungry:
    """An engine whose card has room for ``room`` slices."""

    def __init__(self, room: int, *, error=card_is_full, **options):
        self.room, self.error, self.batch_size = room, error, options.get('batch_size', 8)
        self.device = options['device']
        Hungry.tried.append(self.batch_size)

    def harmonize(self, source, target, *, synthesize=False):
        if self.batch_size > self.room:
            raise self.error()
        return Harmonized(source.volume.data, None, {'engine': 'identity'})


@pytest.fixture
def harmonized(make_dataset, make_head, tmp_path, monkeypatch):
    """Return a function that harmonizes one image with a hungry engine, and returns the run and its file."""
    data = make_dataset(1, suffixes=('T1w',))
    Hungry.tried = []
    engine.harmonizer.cache_clear()

    def make(room: int, *, error=card_is_full, **given):
        monkeypatch.setattr('bids_distclip.harmonizers.registry.get_harmonizer',
                            lambda name, **options: Hungry(room, error=error, **options))
        settings = make_settings({}, bids_dir=data, output_dir=tmp_path / 'out', bias_correction='none', **given)
        targets = resolve_targets(settings)
        (job,) = make_plan(find_scans(data), settings=settings, targets=targets, weights_sha256='w').jobs
        run = Run('r', settings, tmp_path / 'work', targets, ())
        run.work.mkdir()
        run_file, job_file = str(run.save()), str(job.save(run.work / 'jobs'))
        ready = prepare(read_volume(job.source), acquisition=job.acquisition_record(), family='T1w',
                        bias_correction='none', brain=make_head('T1w', seed=1)[1]).save(run.work / 'ready.npz')
        (file,) = steps.harmonize_session(run_file, job_files=[job_file], prepared=[str(ready)])
        return run, file

    yield make
    engine.harmonizer.cache_clear()


def test_a_card_without_room_for_the_batch_gets_half_of_it_once(harmonized, caplog):
    run, file = harmonized(4)
    assert file
    assert Hungry.tried == [8, 4]
    assert 'sub-01/anat/sub-01_T1w.nii.gz: the memory of the card ran out' in caplog.text
    assert '4 slices at once' in caplog.text
    assert not read_statuses(run.statuses)


def test_half_of_the_batch_that_was_asked_for_is_tried(harmonized):
    assert harmonized(3, batch_size=6)[1]
    assert Hungry.tried == [6, 3]


@pytest.mark.parametrize(('given', 'tried'), [({}, [8, 4]), ({'batch_size': 1}, [1])])
def test_where_half_is_too_much_as_well_the_image_is_to_be_tried_again(harmonized, given, tried, capsys):
    run, file = harmonized(0, **given)
    assert file == ''
    assert Hungry.tried == tried
    (status,) = read_statuses(run.statuses).values()
    assert (status.state, status.code) == ('failed', 75)
    assert exit_code([status]) == 75
    assert '--batch-size' in status.reason
    assert 'distclip: FAILED sub-01 (exit 75)' in capsys.readouterr().out
    record = json.loads((run.output_dir / 'sub-01' / 'figures' / 'sub-01_T1w_record.json').read_text())
    assert '--device cpu' in record['cure']
    assert 'OutOfMemoryError' in next(run.logs.glob('*_traceback.txt')).read_text()


def test_memory_of_the_machine_is_not_tried_again_with_less(harmonized):
    run, file = harmonized(0, error=lambda: SHORTAGES['torch']())
    assert file == ''
    assert Hungry.tried == [8]
    (status,) = read_statuses(run.statuses).values()
    assert status.code == 75


def test_the_learned_engine_says_how_many_slices_it_takes_at_once():
    assert get_harmonizer('distclip').batch_size > 1
    assert get_harmonizer('distclip', batch_size=3).batch_size == 3


def test_a_target_image_that_memory_did_not_suffice_for_is_to_be_tried_again(make_scan, tmp_path, monkeypatch):
    target = make_scan(tmp_path / 'elsewhere', subject='t', suffix='T1w')
    settings = make_settings({}, bids_dir=tmp_path, output_dir=tmp_path / 'out', target_image=target)
    targets = resolve_targets(settings)
    run = Run('r', settings, tmp_path / 'work', targets, ())
    run.work.mkdir()

    def too_much(*_, **__):
        raise MemoryError

    monkeypatch.setattr(steps, 'target_image', too_much)
    steps.prepare_target(str(run.save()), target=targets[0].name)
    with pytest.raises(TryAgain, match='more memory'):
        steps._target_file(run, targets[0])


def test_the_tool_for_one_image_ends_with_the_same_code(make_scan, make_head, tmp_path, monkeypatch, capsys):
    def too_much(self, *_, **__):
        raise card_is_full()

    monkeypatch.setattr('bids_distclip.harmonizers.classical.Identity.harmonize', too_much)
    source = make_scan(tmp_path / 'a', subject='x', suffix='T1w')
    _, brain, affine = make_head('T1w')
    nib.save(nib.Nifti1Image(brain.astype(np.uint8), affine), tmp_path / 'mask.nii.gz')
    words = ['harmonize', source, tmp_path / 'out.nii.gz', '--engine', 'identity', '--bias-correction', 'none',
             '--device', 'cpu', '--brain-mask', tmp_path / 'mask.nii.gz']
    assert toolbox([str(word) for word in words]) == 75
    assert '--batch-size' in capsys.readouterr().err
