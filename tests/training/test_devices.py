"""Several processes that train one model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

from bids_distclip.errors import UsageError
from bids_distclip.simulation.phantom import phantom_labels
from bids_distclip.training import devices
from bids_distclip.training.loop import run_loop

pytest.importorskip('accelerate')

#: Run by every process: a model of two parts, of which each batch needs the first and only even ones the second.
SCRIPT = '''
import sys
from pathlib import Path

import torch
from torch import nn

from bids_distclip.training.devices import join, launch
from bids_distclip.training.loop import run_loop


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.always, self.sometimes, self.never = nn.Linear(3, 1), nn.Linear(3, 1), nn.Linear(3, 1)


class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 24

    def __getitem__(self, number):
        return torch.randn(8, 3, generator=torch.Generator().manual_seed(number))


def fit(model, batch, number):
    made = model.always(batch) + (model.sometimes(batch) if number % 2 == 0 else 0)
    return {'fit': (made - batch.sum(1, keepdim=True)).pow(2).mean(), '_number': torch.tensor(float(number))}


def work(args):
    folder, steps, stop = args
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model, crew = Model(), join('cpu')

    def killed(step):
        if step == stop:
            raise RuntimeError('killed as asked')

    run_loop(model, Numbers(), lambda batch, number: fit(model, batch, number), folder=Path(folder), steps=steps,
             learning_rate=0.05, save_every=4, log_every=4, warmup=2, crew=crew, on_save=killed)
    torch.save(model.state_dict(), f'{folder}/rank{crew.rank}.pt')
    return crew.rank


if __name__ == '__main__':
    folder, steps, stop = sys.argv[1:]
    sys.exit(launch(work, (folder, int(steps), int(stop)), devices=2))
'''


def script(tmp_path: Path, name: str, *, steps: int = 12, stop: int = 0) -> subprocess.CompletedProcess:
    file = tmp_path / 'script.py'
    file.write_text(SCRIPT)
    (tmp_path / name).mkdir(exist_ok=True)
    words = [sys.executable, str(file), str(tmp_path / name), str(steps), str(stop)]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)


def test_two_processes_end_with_one_model_that_learnt_from_the_mean_of_both_batches(tmp_path):
    done = script(tmp_path, 'two')
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / 'two' / f'rank{rank}.pt', weights_only=True) for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    lines = (tmp_path / 'two' / 'curve.tsv').read_text().splitlines()
    header, rows = lines[0].split('\t'), [line.split('\t') for line in lines[1:]]
    # Steps 0 to 3 took batches 0 to 7, and so on: their means are 3.5, 11.5, 19.5.
    assert [float(row[header.index('_number')]) for row in rows] == [3.5, 11.5, 19.5]
    for name, value in alone(tmp_path / 'alone').items():
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-6)


def alone(folder: Path) -> dict[str, torch.Tensor]:
    """Return what one process learns from pairs of the same batches."""
    names: dict = {}
    exec(SCRIPT.replace("__name__ == '__main__'", 'False'), names)
    torch.manual_seed(0)
    model, numbers = names['Model'](), names['Numbers']()

    class Pairs(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 12

        def __getitem__(self, step: int) -> list[torch.Tensor]:
            return [numbers[2 * step], numbers[2 * step + 1]]

    def losses(batch: list[torch.Tensor], step: int) -> dict[str, torch.Tensor]:
        return {'fit': 0.5 * sum(names['fit'](model, one, 2 * step + i)['fit'] for i, one in enumerate(batch))}

    run_loop(model, Pairs(), losses, folder=folder, steps=12, learning_rate=0.05, warmup=2)
    return model.state_dict()


@pytest.mark.training
def test_a_crew_that_was_killed_goes_on_as_an_unbroken_one(tmp_path):
    assert script(tmp_path, 'whole').returncode == 0
    broken = script(tmp_path, 'broken', stop=4)
    assert broken.returncode != 0
    assert 'Training process 0 of 2 failed' in broken.stderr
    assert not (tmp_path / 'broken' / 'rank0.pt').exists()
    assert script(tmp_path, 'broken').returncode == 0
    whole, resumed = (torch.load(tmp_path / name / 'rank0.pt', weights_only=True) for name in ('whole', 'broken'))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


#: Run by every process: images take the first one a second to prepare, and all say what they found.
IMAGES = '''
import argparse
import sys
import time
from pathlib import Path

from bids_distclip.training import run_distclip
from bids_distclip.training.cli import add_train_arguments
from bids_distclip.training.devices import join, launch


def work(folder):
    crew, prepared = join('cpu'), Path(folder, 'prepared')

    def real_data(args, tell):
        found = prepared.exists()
        time.sleep(crew.first)
        prepared.touch()
        return found

    run_distclip.real_data, run_distclip.load_clip = real_data, str
    run_distclip.train_distclip = lambda *_, real, **__: Path(folder, f'rank{crew.rank}').write_text(str(real))
    parser = argparse.ArgumentParser()
    add_train_arguments(parser)
    run_distclip.train_generator(parser.parse_args(['distclip', '--bids', folder, '--out', folder]), {}, crew=crew)
    return 0


if __name__ == '__main__':
    sys.exit(launch(work, sys.argv[1], devices=2))
'''


def test_the_first_process_prepares_the_images_and_the_second_finds_them_prepared(tmp_path):
    file = tmp_path / 'script.py'
    file.write_text(IMAGES)
    done = subprocess.run([sys.executable, str(file), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / f'rank{rank}').read_text() for rank in range(2)] == ['False', 'True']


@pytest.fixture
def labels(tmp_path) -> Path:
    folder = tmp_path / 'labels'
    folder.mkdir()
    nib.save(nib.Nifti1Image(phantom_labels(seed=0), np.eye(4)), folder / 'phantom0.nii.gz')
    return folder


def toolbox(labels: Path, out: Path, *words: str) -> subprocess.CompletedProcess:
    code = 'import sys; from bids_distclip.cli.toolbox import main; sys.exit(main(sys.argv[1:]))'
    given = ['--labels', str(labels), '--out', str(out), '--slices', '1', '--workers', '0', '--freeze-clip']
    command = [sys.executable, '-c', code, 'train', 'distclip', *given, '--guidance', 'text', *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.training
def test_the_command_line_trains_on_two_and_says_what_is_wrong(tmp_path, labels):
    done = toolbox(labels, tmp_path / 'two', '--devices', '2', '--steps', '2', '--export', str(tmp_path / 'weights'))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('Reached step 2 of 2') == 1
    assert (tmp_path / 'weights' / 'model_card.json').exists()
    other = toolbox(labels, tmp_path / 'two', '--steps', '4')
    assert other.returncode == UsageError.code
    assert 'begun on 2 devices' in other.stderr
    nothing = toolbox(tmp_path / 'nowhere', tmp_path / 'new', '--devices', '2')
    assert nothing.returncode == 66, nothing.stderr
    assert 'nowhere' in nothing.stderr


def test_one_device_asks_for_no_library(monkeypatch):
    monkeypatch.setitem(sys.modules, 'accelerate', None)
    monkeypatch.delenv('WORLD_SIZE', raising=False)
    crew = devices.join('cpu')
    model = nn.Linear(2, 1)
    model(torch.ones(1, 2)).sum().backward()
    crew.average_gradients(list(model.parameters()))
    assert crew.first
    assert crew.gather(3) == [3]
    assert crew.agree(True)
    assert not crew.agree(False)
    with crew.first_goes_ahead():
        pass
    assert model.weight.grad.tolist() == [[1, 1]]
    with pytest.raises(UsageError, match='accelerate'):
        devices.launch(int, None, devices=2)


def test_more_cards_than_there_are_is_an_error():
    count = torch.cuda.device_count() + 1
    with pytest.raises(UsageError, match=f'not {count}'):
        devices.launch(int, None, devices=count, device='cuda')
