"""The toolbox on single images."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from bids_distclip.cli.toolbox import main

FAST = ['--engine', 'histogram', '--bias-correction', 'none', '--device', 'cpu']


def test_one_image_is_harmonized_without_a_dataset(make_scan, tmp_path, capsys):
    source = make_scan(tmp_path / 'a', subject='x', suffix='T1w', gain=1)
    target = make_scan(tmp_path / 'b', subject='y', suffix='T1w', gain=4, seed=5)
    out = tmp_path / 'out.nii.gz'
    assert main(['harmonize', str(source), str(out), '--target-image', str(target), *FAST]) == 0
    assert str(out) in capsys.readouterr().out
    made, given, wanted = (nib.load(path) for path in (out, source, target))
    assert np.array_equal(made.affine, given.affine)
    assert made.get_fdata().max() > 2 * given.get_fdata().max()
    told = json.loads((tmp_path / 'out.json').read_text())
    assert told['Harmonization']['Target']['Name'] == target.name
    assert wanted.shape == made.shape


@pytest.mark.parametrize(
    ('words', 'code'),
    [([], 64), (['nonsense'], 64), (['harmonize', 'a.nii'], 64), (['harmonize', 'a_T1w.nii', 'b.mgz'], 64),
     (['harmonize', 'a_T1w.nii', 'a_T1w.nii'], 73),
     (['harmonize', 'nowhere_T1w.nii', 'b.nii', '--engine', 'identity'], 74),
     (['simulate', 'x', '--heads', 'none'], 64)],
)
def test_a_wrong_call_ends_with_its_code(words, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == code


def test_another_family_is_refused_unless_asked_for(make_scan, tmp_path, capsys):
    source = make_scan(tmp_path / 'a', subject='x', suffix='T1w')
    target = make_scan(tmp_path / 'b', subject='y', suffix='T2w')
    words = ['harmonize', str(source), str(tmp_path / 'out.nii.gz'), '--target-image', str(target), *FAST]
    assert main(words) == 64
    assert '--synthesize' in capsys.readouterr().err


@pytest.mark.parametrize(
    'there', ['sidecar of the source', 'given metadata', 'a way around', 'a link', 'target', 'of others'])
def test_nothing_that_was_given_is_overwritten(make_scan, tmp_path, capsys, there):
    source = make_scan(tmp_path / 'a', subject='x', suffix='T1w')
    target = make_scan(tmp_path / 'b', subject='y', suffix='T1w', gain=4)
    out, more = {
        'sidecar of the source': (source.with_name('sub-x_T1w.nii'), []),
        'given metadata': (tmp_path / 'm.nii.gz', ['--source-metadata', str(tmp_path / 'm.json')]),
        'a way around': (source.parent / '..' / 'anat' / source.name, []),
        'a link': (tmp_path / 'link.nii.gz', []),
        'target': (target, []),
        'of others': (tmp_path / 'o.nii.gz', []),
    }[there]
    (tmp_path / 'm.json').write_bytes(source.with_name('sub-x_T1w.json').read_bytes())
    (tmp_path / 'link.nii.gz').symlink_to(source)
    (tmp_path / 'o.json').write_text('{"mine": 1}')
    before = {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}
    words = ['harmonize', str(source), str(out), '--target-image', str(target), *FAST, *more]
    assert main(words) == 73
    assert 'overwrite' in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()} == before


def test_a_former_result_may_be_replaced(make_scan, tmp_path):
    source = make_scan(tmp_path / 'a', subject='x', suffix='T1w')
    target = make_scan(tmp_path / 'b', subject='y', suffix='T1w', gain=4)
    words = ['harmonize', str(source), str(tmp_path / 'out.nii.gz'), '--target-image', str(target), *FAST]
    assert [main(words), main(words)] == [0, 0]


@pytest.mark.parametrize('command', ['train', 'evaluate', 'simulate', 'harmonize'])
def test_every_tool_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, '--help'])
    assert ended.value.code == 0
    assert '--' in capsys.readouterr().out
