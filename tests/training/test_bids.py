"""Training on a BIDS dataset: what is prepared, what is a pair, what a batch holds, and that it learns."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bids_distclip.errors import NothingSelected, UsageError
from bids_distclip.networks.generator import PRESETS
from bids_distclip.networks.mrclip import MRCLIP
from bids_distclip.networks.weights import DEFAULT, GENERATOR, load_trained
from bids_distclip.simulation.phantom import phantom, phantom_labels
from bids_distclip.simulation.stream import SliceStream, StreamOptions
from bids_distclip.training.alignment import align, placed
from bids_distclip.training.bids_images import gather_cohort
from bids_distclip.training.bids_stream import Mixed, RealOptions, RealStream
from bids_distclip.training.cli import add_train_arguments, run_train
from bids_distclip.training.cohort import Cohort, held_apart
from bids_distclip.training.distclip import RealData, train_distclip
from bids_distclip.training.guides import draw_guides
from bids_distclip.training.loss_weights import Weights
from bids_distclip.training.recipe import Recipe
from bids_distclip.training.task import DistClipTask
from bids_distclip.volume.prepared import Prepared

SMALL = {'mapper': (8, 16), 'decoder': (8, 16)}


#: Brightness of white matter, cortex and fluid, and a sidecar, by contrast.
CONTRASTS = {
    'T1w': ((1000, 650, 200), {'EchoTime': 0.003, 'RepetitionTime': 2.3, 'InversionTime': 0.9, 'FlipAngle': 9}),
    'T2w': ((450, 620, 1000), {'EchoTime': 0.09, 'RepetitionTime': 4.5, 'FlipAngle': 90}),
}
#: Voxel size in mm.
VOXEL = 3.0


@pytest.fixture(scope='module')
def dataset(tmp_path_factory) -> Path:
    """Two simulated brains, without their skulls, under two contrasts each."""
    root = tmp_path_factory.mktemp('bids') / 'data'
    for person in (1, 2):
        labels = phantom_labels(seed=person)[::3, ::3, ::3]
        for suffix, (bright, sidecar) in CONTRASTS.items():
            folder = root / f'sub-{person:02d}' / 'anat'
            folder.mkdir(parents=True, exist_ok=True)
            stem = f'sub-{person:02d}_{suffix}'
            write_brain(folder / f'{stem}.nii.gz', labels, bright, seed=person)
            told = {'Manufacturer': 'Siemens', 'MagneticFieldStrength': 3, **sidecar}
            (folder / f'{stem}.json').write_text(json.dumps(told))
    described = {'Name': 'Two brains', 'BIDSVersion': '1.10.0'}
    (root / 'dataset_description.json').write_text(json.dumps(described))
    return root


def write_brain(path: Path, labels: np.ndarray, bright: tuple[int, ...], *, seed: int) -> None:
    rng = np.random.default_rng([seed, *bright])
    white, fluid = np.isin(labels, (2, 41, 7, 46, 16)), np.isin(labels, (4, 43, 14, 15, 24))
    image = np.where(white, bright[0], np.where(fluid, bright[2], bright[1])).astype(float)
    image = np.abs(image * (1 + 0.1 * rng.random()) + rng.normal(0, 20, labels.shape))
    image[(labels == 0) | (labels > 500)] = 0
    affine = np.diag([VOXEL, VOXEL, VOXEL, 1.0])
    affine[:3, 3] = [-VOXEL * n / 2 for n in labels.shape]
    made = nib.Nifti1Image(image.round().astype(np.int16), affine)
    made.set_qform(affine, code=1)
    made.set_sform(affine, code=1)
    nib.save(made, path)


def style_of(image: Prepared, family: str) -> np.ndarray:
    made = np.random.default_rng(len(family)).normal(size=512)
    return made / np.linalg.norm(made)


@pytest.fixture(scope='module')
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('cache') / 'images'


@pytest.fixture(scope='module')
def cohort(dataset, cache) -> Cohort:
    return gather_cohort(dataset, cache, style_of=style_of, eye='test')


@pytest.fixture(scope='module')
def prepared(cohort, cache) -> list[Prepared]:
    return [Prepared.load(cache / f'{image.key}.npz') for image in cohort.images]


def test_images_of_one_person_on_one_grid_are_pairs(cohort):
    assert len(cohort.images) == 4
    assert cohort.subjects == ('01', '02')
    assert sorted({image.family for image in cohort.images}) == ['T1w', 'T2w']
    assert all(image.told for image in cohort.images)
    people = [(cohort.images[p.first].subject, cohort.images[p.second].subject) for p in cohort.pairs]
    assert people == [('01', '01'), ('02', '02')], cohort.notes


def test_what_was_prepared_is_not_prepared_again(cohort, dataset, cache):
    def never(image: Prepared, family: str) -> np.ndarray:
        raise AssertionError('a style was looked for again')

    said: list[str] = []
    again = gather_cohort(dataset, cache, style_of=never, eye='test', say=said.append)
    assert said == []
    assert again.digest == cohort.digest
    assert again.to_dict() == cohort.to_dict()


def test_another_eye_looks_again(dataset, cache, cohort):
    looked: list[str] = []

    def look(image: Prepared, family: str) -> np.ndarray:
        looked.append(family)
        return style_of(image, family)

    gather_cohort(dataset, cache, style_of=look, eye='other', say=lambda text: None, participants=['01'])
    assert sorted(looked) == ['T1w', 'T2w']


def moved(image: Prepared, *, shift: tuple[float, ...] = (0, 0, 0), turn: float = 0.0) -> Prepared:
    affine = image.volume.affine.copy()
    rotation = np.eye(4)
    cosine, sine = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    rotation[:2, :2] = [[cosine, -sine], [sine, cosine]]
    affine = rotation @ affine
    affine[:3, 3] += shift
    return replace(image, volume=replace(image.volume, affine=affine))


@pytest.mark.parametrize(
    ('how', 'refused'),
    [
        ({}, ''),
        ({'shift': (0.6, -0.5, 0.4)}, ''),
        ({'shift': (3.5, 0, 0)}, 'moved by up to 3 mm'),
        ({'shift': (0, 0, -3.5)}, 'moved by up to 3 mm'),
        ({'turn': 5.0}, 'moved by up to 3 mm or degrees'),
        ({'shift': (0, 120, 0)}, 'sees'),
    ],
)
def test_a_pair_has_to_lie_where_it_agrees_best(prepared, how, refused):
    found = align(prepared[2], moved(prepared[3], **how))
    assert (refused in found.refused) if refused else found.refused == ''


def test_voxels_of_a_pair_are_of_about_the_same_size(prepared):
    other = prepared[1]
    affine = other.volume.affine @ np.diag([1, 1, 1.5, 1])
    stretched = replace(other, volume=replace(other.volume, affine=affine))
    assert 'voxels of 3.00 and 4.50 mm' in align(prepared[0], stretched).refused


def test_a_batch_is_always_the_same_and_says_what_it_lacks(cohort):
    stream = RealStream(cohort, RealOptions(slices=24, size=64, seed=1), length=3)
    batch, again, other = stream[1], stream[1], stream[2]
    assert torch.equal(batch.clean, again.clean)
    assert not torch.equal(batch.clean, other.clean)
    assert batch.clean.shape == (24, 2, 64, 64)
    same = [a is b or a == b for a, b in batch.protocols]
    unpaired = [not p for p in batch.paired.tolist()]
    # Pairs, pictures that stay, and pictures of others: all three occur among so many.
    assert any(unpaired)
    assert any(same)
    assert sum(same) + sum(unpaired) < 24
    for pictures, stays in zip(batch.clean, same, strict=True):
        assert torch.equal(pictures[0], pictures[1]) == stays


def test_both_pictures_of_a_pair_are_cut_at_one_place(cohort):
    for pair in cohort.pairs:
        # On one grid nothing is interpolated.
        assert np.array_equal(np.load(pair.file), np.load(cohort.images[pair.second].file))
    twice = replace(cohort, pairs=tuple(replace(p, file=cohort.images[p.first].file) for p in cohort.pairs))
    batch = RealStream(twice, RealOptions(slices=6, size=64, pairs=1.0), length=1)[0]
    assert {a.family for row in batch.protocols for a in row} == {'T1w', 'T2w'}
    assert torch.equal(batch.clean[:, 0], batch.clean[:, 1])
    assert batch.clean.amax((1, 2, 3)).min() > 0.3


def test_an_image_on_another_grid_is_brought_over(prepared):
    one = prepared[0]

    def blob(affine: np.ndarray) -> Prepared:
        grid = np.moveaxis(np.indices(one.brain.shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
        data = (100 * np.exp(-((grid - [5, -8, 3]) ** 2).sum(-1) / (2 * 15**2))).astype(np.float32)
        return replace(one, volume=replace(one.volume, data=data, affine=affine))

    shifted = one.volume.affine.copy()
    shifted[:3, 3] += [1.3, -0.8, 0.5]
    wanted = blob(one.volume.affine)
    assert np.abs(placed(blob(shifted), wanted) - wanted.volume.data).max() < 0.2


def make_task(**weights: float) -> DistClipTask:
    torch.manual_seed(0)
    options = replace(PRESETS['tiny'], mapper=(8, 16), decoder=(8, 16))
    return DistClipTask(options, MRCLIP(), weights=replace(Weights(), **weights), guidance='text', tune_clip=False)


def only(batch, kept: list[int]):
    picked = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return type(batch)(**{
        name: value[kept] if isinstance(value, torch.Tensor) else tuple(value[i] for i in kept)
        for name, value in picked.items()
        if name != 'neighbours'
    }, neighbours=False)


def test_where_no_truth_is_there_and_back_teaches(cohort):
    batch = RealStream(cohort, RealOptions(slices=24, size=32, seed=1), length=1)[0]
    foreign = only(batch, (~batch.paired).nonzero().flatten().tolist()[:3])
    task = make_task()
    with torch.no_grad():
        terms = task.losses(foreign, 0)
    assert [float(terms[name]) for name in ('physical', 'cross', 'structure', 'residual')] == [0, 0, 0, 0]
    assert '_psnr' not in terms
    for name in ('back', 'consistency'):
        task.zero_grad()
        terms = task.losses(foreign, 0)
        terms[name].backward()
        for part in (task.generator.mapper, task.generator.decoder):
            assert sum(float(p.grad.abs().sum()) for p in part.parameters() if p.grad is not None) > 0


def test_pairs_are_compared_with_the_true_picture_and_the_decoder_is_not_taught(cohort):
    batch = RealStream(cohort, RealOptions(slices=8, size=32, pairs=1.0, seed=1), length=1)[0]
    assert batch.paired.all()
    task = make_task()
    terms = task.losses(batch, 0)
    assert float(terms['cross'].detach()) > 0
    assert 'back' not in terms
    # The maps are not known: the picture of its own contrast comes from the mapper's, and teaches it.
    terms['identity'].backward()
    assert sum(float(p.grad.abs().sum()) for p in task.generator.mapper.parameters() if p.grad is not None) > 0


def test_metadata_that_say_too_little_leave_the_word_to_the_picture(cohort):
    batch = RealStream(cohort, RealOptions(slices=2, size=32, seed=1), length=1)[0]
    silent = replace(batch, told=torch.zeros_like(batch.told))
    guides = draw_guides(MRCLIP().eval(), silent, np.random.default_rng(0), guidance='text', tune=False)
    torch.testing.assert_close(guides.theta, silent.pictured.float())


def test_real_batches_come_in_their_share():
    mixed = Mixed([f's{i}' for i in range(9)], [f'r{i}' for i in range(9)], share=0.25, length=8)
    assert [mixed[i] for i in range(8)] == ['s0', 's1', 's2', 'r0', 's3', 's4', 's5', 'r1']


def run(out: Path, real: RealData, **given) -> dict:
    options = {'steps': 4, 'workers': 0, 'slices': 2, 'real_size': 32, 'learning_rate': 2e-3, **given}
    torch.manual_seed(0)
    recipe = Recipe(options=SMALL, tune_clip=False, guidance='text', **options)
    return train_distclip(None, out, clip=MRCLIP(), recipe=recipe, real=real)


def rows_of(path: Path) -> list[dict[str, str]]:
    header, *rows = [line.split('\t') for line in path.read_text().splitlines()]
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_the_loss_falls_on_a_person_that_is_held_out(cohort, tmp_path):
    kept, out = held_apart(cohort, ['sub-02'])
    assert kept.subjects == ('01',)
    card = run(tmp_path, RealData(kept, out), steps=40)
    before, after = (float(row['total']) for row in rows_of(tmp_path / 'held_out.tsv'))
    assert after < 0.7 * before
    assert card['bids'] == {
        'dataset': 'Two brains', 'people': 1, 'images': 2, 'families': {'T1w': 1, 'T2w': 1},
        'pairs': 1, 'digest': kept.digest, 'people_held_out': 1, 'share_of_batches': 1.0,
    }


def test_a_training_on_images_that_was_stopped_goes_on_exactly(cohort, tmp_path):
    real = RealData(cohort)
    run(tmp_path / 'whole', real)
    assert run(tmp_path / 'broken', real, minutes=0)['reached'] == 1
    assert run(tmp_path / 'broken', real)['reached'] == 4
    whole, resumed = (load_file(tmp_path / name / 'state.safetensors') for name in ('whole', 'broken'))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    with pytest.raises(UsageError, match='other real images'):
        run(tmp_path / 'broken', RealData(cohort.of(['01'])))


def test_simulated_and_real_slices_in_turn_are_one_training(cohort, tmp_path):
    options = StreamOptions(slices=2, protocols=2, size=32, pool=3, seed=2)
    simulated = SliceStream([phantom(seed=3)], options, length=4)
    images = RealStream(cohort, RealOptions(slices=2, size=32), length=4)
    task = make_task()
    names = [set(task.losses(Mixed(simulated, images, share=0.5, length=4)[i], i)) for i in range(2)]
    assert {'physical', 'cross', 'identity', 'consistency'} <= names[0] & names[1]


def test_nobody_can_be_held_out_who_is_not_there(cohort):
    with pytest.raises(NothingSelected, match='no 09'):
        held_apart(cohort, ['09'])
    with pytest.raises(NothingSelected, match='Nobody'):
        held_apart(cohort, ['01', '02'])


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['distclip'], 'nothing to train on'),
        (['mrclip', '--bids', 'x'], 'does not train on real images'),
        (['distclip', '--labels', 'x', '--held-out', '01'], 'are of --bids'),
        (['distclip', '--bids', 'x', '--bids-share', '0.5'], 'between 0 and 1'),
    ],
)
def test_options_that_do_not_go_together_are_refused(words, said, tmp_path):
    parser = argparse.ArgumentParser()
    add_train_arguments(parser)
    with pytest.raises(UsageError, match=said):
        run_train(parser.parse_args([*words, '--out', str(tmp_path)]))


@pytest.mark.training
def test_the_shipped_weights_are_adapted_from_the_command_line(dataset, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    add_train_arguments(parser)
    words = ['distclip', '--bids', str(dataset), '--out', str(tmp_path / 'run'), '--init', str(DEFAULT / GENERATOR)]
    words += ['--held-out', '02', '--steps', '2', '--slices', '1', '--workers', '0', '--pictures', '2', '--freeze-clip']
    words += ['--guidance', 'text', '--export', str(tmp_path / 'weights')]
    assert run_train(parser.parse_args(words)) == 0
    assert '2 images of 1 people, 1 pairs' in capsys.readouterr().out
    assert (tmp_path / 'run' / 'pictures' / 'step-000002.png').exists()
    assert len(rows_of(tmp_path / 'run' / 'held_out.tsv')) == 2
    card = json.loads((tmp_path / 'weights' / 'model_card.json').read_text())
    assert 'No image of a person' not in card['data']
    assert 'Two brains' in card['data']
    assert card['training']['bids']['pairs'] == 1
    assert len(card['training']['init']) == 64
    # The styles are those of the shipped weights, and so is what finds them in pictures.
    trained = load_trained(tmp_path / 'weights')
    assert trained.photometer is not None
    assert trained.sha256 == card['sha256']
