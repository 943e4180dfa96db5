"""What a machine and a generator are measured by: counts and tables, never times."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bids_distclip.benchmark import arithmetic, launches, speed
from bids_distclip.benchmark.engines import as_engine, engines_here
from bids_distclip.networks.generator import Generator, GeneratorOptions
from bids_distclip.networks.inference import run_plane
from bids_distclip.volume.image import read_volume

SMALL = GeneratorOptions(mapper=(8, 16), decoder=(8, 16), style=512)


@pytest.fixture(scope='module')
def generator():
    torch.manual_seed(0)
    return Generator(SMALL).eval().requires_grad_(False)


class OneConvolution(nn.Module):
    """A 3×3 convolution of three channels to five, where a generator is expected."""

    def __init__(self):
        super().__init__()
        self.conv, self.options = nn.Conv2d(3, 5, 3, padding=1), SMALL
        self.mapper = nn.Identity()
        self.mapper.multiple = 4

    def change(self, x, source, target):
        return self.conv(x.expand(-1, 3, -1, -1))


def test_a_convolution_has_the_operations_it_is_known_to_have():
    # Sides are filled up to multiples of four: 12 × 20.
    assert arithmetic.slice_operations(OneConvolution(), (10, 17)) == 2 * 9 * 3 * 5 * 12 * 20


def test_a_volume_has_the_operations_of_its_slices_in_three_planes():
    planes = [30 * (20 * 12), 18 * (32 * 12), 10 * (32 * 20)]
    head = np.ones((30, 18, 10), bool)
    assert arithmetic.volume_operations(OneConvolution(), head) == 2 * 9 * 3 * 5 * sum(planes)
    assert arithmetic.volume_operations(OneConvolution(), head, axes=(2,)) == 2 * 9 * 3 * 5 * planes[2]


def test_counting_without_computing_counts_what_computing_does(generator):
    x, style = torch.rand(1, 1, 32, 32), torch.rand(1, 512)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        generator.change(x, style, style)
    assert arithmetic.slice_operations(generator, (32, 32)) == counter.get_total_flops() > 0


def test_work_is_timed_and_its_answer_kept():
    answer, spent = arithmetic.timed(lambda: 42)
    assert answer == 42
    assert spent.wall >= 0 <= spent.work
    assert arithmetic.matmul_rate('fp32', size=64, repeats=2) > 0


def test_the_memory_of_a_process_grows_by_what_it_holds():
    words = (
        'import numpy as np; from bids_distclip.benchmark.arithmetic import peak_memory; '
        'before = peak_memory(); held = np.ones(2**26); print(peak_memory() - before)'
    )
    # A process of its own: the peak of this one may be behind it.
    done = subprocess.run([sys.executable, '-c', words], capture_output=True, text=True, check=True)
    assert 0.45 < float(done.stdout) < 0.7


@pytest.mark.parametrize('name', engines_here('cpu'))
def test_every_engine_makes_the_same_change(generator, name):
    rng = np.random.default_rng(0)
    volume = rng.random((5, 16, 24), dtype=np.float32)
    styles = {which: torch.nn.functional.normalize(torch.rand(1, 512), dim=1) for which in ('source', 'target')}
    made = [
        run_plane(run, volume, head=volume > 0, axis=0, spacing=(1, 1, 1), residual=True, batch=3, **styles)
        for run in (generator, as_engine(generator, name, precision='fp32', batch=3))
    ]
    np.testing.assert_allclose(made[1], made[0], atol=1e-4)


def test_a_card_has_no_engine_for_processors():
    assert engines_here('cuda') == ['torch']


def test_rows_are_held_against_their_bars():
    assert speed.row('network', 'bf16', 19.0, 's', 20.5) == {
        'what': 'network', 'how': 'bf16', 'value': 19.0, 'unit': 's', 'clock': 20.5, 'bar': 20.0, 'met': 'yes'}
    assert speed.row('network', 'bf16', 21.0, 's', None)['met'] == 'no'
    assert speed.row('share of the matmul rate', '', 0.54, '', None)['met'] == 'no'
    assert speed.row('share of the matmul rate', '', 0.56, '', None)['met'] == 'yes'
    assert 'met' not in speed.row('bias', '', 1.0, 's', 1.0)


def test_the_summary_says_value_clock_and_bar():
    rows = [speed.row('--help', '', 0.05, 's', 0.06), speed.row('matmul rate', 'fp32', 1234.4, 'GFLOP/s', None)]
    text = speed.summary(rows)
    assert '| --help |  | 0.05 s | 0.06 s | ≤ 0.4 | yes |' in text
    assert '| matmul rate | fp32 | 1234 GFLOP/s |  |  |  |' in text


def test_a_person_to_time_has_a_head_in_the_middle_of_a_grid_of_millimetres(tmp_path):
    data = launches.write_person(tmp_path / 'data', grid=40)
    volume = read_volume(data / launches.SCAN)
    assert volume.data.shape == (40, 40, 40)
    assert volume.spacing == pytest.approx((1, 1, 1))
    assert volume.data.std() > 10
    assert (data / 'T1w.json').exists()
    twin = read_volume(data / launches.TWIN)
    assert twin.data.shape == volume.data.shape
    assert 0 < np.abs(twin.data - volume.data).mean() < volume.data.std()


def test_what_a_run_takes_once_is_shared_by_its_images():
    # Ten seconds to start, and twenty for each image.
    assert speed.one_of_many(30.0, 50.0, images=10) == pytest.approx(21)
    assert speed.one_of_many(30.0, 50.0, images=1) == pytest.approx(30)


def test_one_of_many_people_is_planned_and_help_is_given(tmp_path):
    spent = launches.planning_spent(tmp_path, people=4, repeats=1)
    assert len(list((tmp_path / 'data').glob('sub-*/anat/*_T1w.nii.gz'))) == 4
    assert spent.wall > 0 < spent.work
    assert launches.help_spent(repeats=1).wall > 0


def test_an_app_that_fails_is_told(tmp_path):
    with pytest.raises(RuntimeError, match='ended with'):
        launches.launched([str(tmp_path / 'nowhere'), str(tmp_path), 'participant'])


def test_a_measurement_alone_returns_what_it_found():
    assert speed.alone(divmod, 7, 3) == (2, 1)
