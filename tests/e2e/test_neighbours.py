"""What other programs make of the output: sMRIPrep and fMRIPrep, pybids, bids2table, OpenNeuro's validator."""

from __future__ import annotations

import json
import subprocess

import nibabel as nib
import numpy as np
import pytest
from bids import BIDSLayout
from bids.layout import Query

from bids_distclip.cli.app import main
from bids_distclip.cli.toolbox import main as toolbox
from bids_distclip.dataset.validate import find_validator

#: What sMRIPrep, and fMRIPrep with ``--derivatives``, ask a derivative dataset for (``io_spec.json``, "baseline").
IMAGE = ['.nii.gz', '.nii']
QUERIES = {
    't1w_preproc': {'datatype': 'anat', 'space': None, 'desc': 'preproc', 'suffix': 'T1w', 'extension': IMAGE},
    't1w_mask': {'datatype': 'anat', 'space': None, 'desc': 'brain', 'suffix': 'mask', 'extension': IMAGE},
    't2w_preproc': {'datatype': 'anat', 'space': None, 'desc': 'preproc', 'suffix': 'T2w', 'extension': IMAGE},
}
FAST = (
    '--engine', 'identity', '--bias-correction', 'none', '--skip-bids-validation', '--device', 'cpu', '--nprocs', '1'
)
#: What OpenNeuro raises from warnings to errors.
OPENNEURO = {'error': [{'code': code} for code in ('NO_AUTHORS', 'SUBJECT_FOLDERS', 'EMPTY_DATASET_NAME')]}


@pytest.fixture(scope='module')
def raw(tmp_path_factory):
    """Return two phantoms with a T1w and a T2w each."""
    folder = tmp_path_factory.mktemp('neighbours') / 'raw'
    words = ['--heads', '2', '--scanners', '1', '--suffixes', 'T1w', 'T2w', '--spacing', '4']
    assert toolbox(['simulate', str(folder), *words]) == 0
    return folder


@pytest.fixture(scope='module')
def out(raw):
    """Return what the app writes for others to read: beside the phantoms, named preproc."""
    folder = raw / 'derivatives' / 'distclip'
    call = [raw, folder, 'participant', 'group', '--output-desc', 'preproc', '-w', raw.parent / 'work', *FAST]
    assert main([str(word) for word in call]) == 0
    return folder


def test_smriprep_finds_one_image_and_one_mask_on_its_grid(out):
    layout = BIDSLayout(out, config=['bids', 'derivatives'], validate=False)
    for subject in ('01', '02'):
        found = {name: layout.get(subject=subject, **query) for name, query in QUERIES.items()}
        assert {name: len(files) for name, files in found.items()} == dict.fromkeys(QUERIES, 1)
        image, mask = (nib.load(found[name][0].path) for name in ('t1w_preproc', 't1w_mask'))
        assert image.shape == mask.shape
        assert np.allclose(image.affine, mask.affine)
        assert set(np.unique(mask.get_fdata())) == {0, 1}


@pytest.mark.parametrize('subject', ['01', '02'])
def test_smripreps_own_collection_of_derivatives_takes_images_and_mask(out, subject):
    smriprep = pytest.importorskip('smriprep.utils.bids')
    found = smriprep.collect_derivatives(out, subject, std_spaces=[])
    names = {key: path.rpartition('/')[2] for key, path in found.items() if isinstance(path, str)}
    stem = f'sub-{subject}_ses-siteA'
    assert names == {'t1w_preproc': f'{stem}_desc-preproc_T1w.nii.gz', 't1w_mask': f'{stem}_desc-brain_mask.nii.gz',
                     't2w_preproc': f'{stem}_desc-preproc_T2w.nii.gz'}


def test_the_queries_above_are_those_that_smriprep_ships():
    package = pytest.importorskip('smriprep')
    asked = json.loads(package.load_data('io_spec.json').read_text())['queries']['baseline']
    assert {'t1w_preproc': asked['preproc'], 't1w_mask': asked['mask'], 't2w_preproc': asked['t2w_preproc']} == QUERIES


def test_pybids_indexes_the_output_beside_its_source(raw, out):
    layout = BIDSLayout(raw, derivatives=out)
    made = layout.get(scope='distclip', desc='preproc', extension='.nii.gz', session=Query.ANY)
    assert sorted(file.entities['suffix'] for file in made) == ['T1w', 'T1w', 'T2w', 'T2w']
    assert made[0].get_metadata()['SpatialReference'] == 'orig'
    assert len(layout.get(scope='raw', suffix='T1w', extension='.nii.gz')) == 2


def test_bids2table_lists_the_output(out):
    bids2table = pytest.importorskip('bids2table')
    rows = bids2table.index_dataset(out).to_pylist()
    listed = {(row['sub'], row['suffix']) for row in rows if row['desc'] == 'preproc' and row['ext'] == '.nii.gz'}
    assert listed == {(subject, suffix) for subject in ('01', '02') for suffix in ('T1w', 'T2w')}


@pytest.mark.skipif(find_validator() is None, reason='bids-validator-deno is not installed')
def test_openneuro_would_take_the_output(out, tmp_path):
    config = tmp_path / 'openneuro.json'
    config.write_text(json.dumps(OPENNEURO))
    call = [find_validator(), '--format', 'json', '-c', config, '--datasetTypes', 'raw,derivative', out]
    done = subprocess.run(list(map(str, call)), capture_output=True, text=True, check=False)
    errors = [issue for issue in json.loads(done.stdout)['issues']['issues'] if issue['severity'] == 'error']
    assert errors == []
    assert done.returncode == 0


def test_an_image_that_datalad_has_not_fetched_is_named_with_the_command_to_type(make_dataset, tmp_path, caplog):
    raw = make_dataset(1, suffixes=('T1w',))
    (raw / 'sub-01' / 'anat' / 'sub-01_T2w.nii.gz').symlink_to('../../.git/annex/objects/xx/yy/key/key')
    assert main([str(word) for word in (raw, tmp_path / 'out', 'participant', '-w', tmp_path / 'work', *FAST)]) == 0
    assert 'datalad get sub-01/anat/sub-01_T2w.nii.gz' in caplog.text
