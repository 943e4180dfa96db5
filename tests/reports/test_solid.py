"""Images in 3-D: what small volumes hold and where they lie, what they weigh, and where the viewer comes from."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from importlib.util import find_spec

import nibabel as nib
import numpy as np
import pytest

from bids_distclip.cli.app import main, read_settings
from bids_distclip.errors import UsageError
from bids_distclip.quality.record import ImageRecord, record_path, write_record
from bids_distclip.reports import niivue
from bids_distclip.reports.participant import build_page
from bids_distclip.reports.scale import WHITE
from bids_distclip.reports.solid import LIMIT, RIM, STEPS, NotSolid, make_solid

EVIL = '"\'><script>alert(1)</script>'
MODULE = 'const version="<0>";class Own{}class Image{}export{Own as Niivue,Image as NVImage,version};'


def volume(text: str) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


def test_both_volumes_are_small_valid_lie_where_the_head_lies_and_share_one_grid(study):
    bids, out, record = study
    solid = make_solid(record, bids_dir=bids, output_dir=out)
    source, harmonized = volume(solid.source), volume(solid.harmonized)
    assert source.get_data_dtype() == np.uint8
    assert source.shape == harmonized.shape
    np.testing.assert_allclose(source.affine, harmonized.affine)
    mask = nib.load(out / 'sub-01/anat/sub-01_desc-brain_mask.nii.gz')
    for small in (source, harmonized):
        own, big = np.asarray(small.dataobj), mask.get_fdata()
        centre = [nib.affines.apply_affine(image.affine, np.argwhere(data > level).mean(axis=0))
                  for image, data, level in ((small, own, 0.3), (mask, big, 0.5))]
        np.testing.assert_allclose(*centre, atol=1.0)
        assert 0.9 < np.percentile(own[own > 0], 99.5) <= WHITE
    assert len(solid.source) + len(solid.harmonized) + len(solid.uncertainty) < LIMIT


def test_nothing_but_the_brain_and_a_rim_is_in_the_page(study):
    bids, out, record = study
    source = volume(make_solid(record, bids_dir=bids, output_dir=out).source)
    mask = nib.load(out / 'sub-01/anat/sub-01_desc-brain_mask.nii.gz')
    inside = nib.affines.apply_affine(mask.affine, np.argwhere(mask.get_fdata() > 0.5))
    seen = nib.affines.apply_affine(source.affine, np.argwhere(np.asarray(source.dataobj) > 0.05))
    for low, high, own_low, own_high in zip(inside.min(0), inside.max(0), seen.min(0), seen.max(0), strict=True):
        assert own_low >= low - RIM - 4
        assert own_high <= high + RIM + 4


def test_a_source_with_an_uneven_field_is_evened_out_only_where_the_engine_saw_it_so(study):
    bids, out, record = study
    path = bids / record['source']['path']
    image = nib.load(path)
    ramp = np.linspace(0.5, 1.5, image.shape[0], dtype=np.float32)[:, None, None]
    nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32) * ramp, image.affine), path)
    record['source']['sha256'] = hashlib.sha256(path.read_bytes()).hexdigest()
    apart = {}
    for correction in ('none', 'n4'):
        record['preparation'] = {'bias_correction': correction}
        solid = make_solid(record, bids_dir=bids, output_dir=out)
        assert solid.evened is (correction == 'n4')
        source, harmonized = (np.asarray(volume(text).dataobj) for text in (solid.source, solid.harmonized))
        apart[correction] = np.abs(source - harmonized)[harmonized > 0.4].mean()
    assert apart['n4'] < 0.4 * apart['none']


def test_the_same_files_give_the_same_page(study):
    bids, out, record = study
    first, second = (make_solid(record, bids_dir=bids, output_dir=out) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(('spoil', 'said'), [
    (lambda b, o, r: (b / r['source']['path']).unlink(), 'source image sub-01/anat/sub-01_T1w.nii.gz is not there'),
    (lambda b, o, r: (b / r['source']['path']).write_bytes(b'other'), 'is not the file that was harmonized'),
    (lambda b, o, r: (o / r['output']).unlink(), 'harmonized image'),
    (lambda b, o, r: (o / r['output']).write_bytes(b'\x1f\x8b half'), 'a file cannot be read'),
    (lambda b, o, r: (o / 'sub-01/anat/sub-01_desc-brain_mask.nii.gz').unlink(), 'brain mask'),
    (lambda b, o, r: r.update(output='../secret.nii.gz'), 'is not there'),
    (lambda b, o, r: r['source'].update(path='/etc/hostname'), 'is not there'),
])
def test_what_cannot_be_shown_is_said_in_a_sentence_and_stops_no_page(study, spoil, said):
    bids, out, record = study
    spoil(bids, out, record)
    with pytest.raises(NotSolid, match=said):
        make_solid(record, bids_dir=bids, output_dir=out)
    html = build_page(out, '01', [record], bids_dir=bids).read_text()
    assert 'Not in 3-D: ' in html
    assert 'data-library' not in html
    assert 'strict-dynamic' not in html


def test_without_the_option_a_page_has_neither_volumes_nor_a_script_for_them(study):
    _, out, record = study
    html = build_page(out, '01', [record]).read_text()
    assert 'niivue' not in html
    assert 'strict-dynamic' not in html
    assert '3-D' not in html


def test_of_an_abstained_image_the_source_is_alone_and_the_page_says_why(study):
    bids, out, record = study
    output = record['output'].replace('harmonized', 'untouched')
    (out / record['output']).rename(out / output)
    record |= {'status': 'abstained', 'output': output, 'reason': 'Too blurred.'}
    solid = make_solid(record, bids_dir=bids, output_dir=out)
    assert (solid.harmonized, solid.uncertainty, solid.evened) == ('', '', False)
    assert np.asarray(volume(solid.source).dataobj).std() > 0.1
    html = build_page(out, '01', [record], bids_dir=bids).read_text()
    html = re.sub(r'<(style|script).*?</\1>', '', html, flags=re.DOTALL)
    assert 'there is no harmonized volume to show' in html
    (found,) = Attributes(html).data
    assert 'data-harmonized' not in found
    assert '<button type="button" data-turn' not in html
    assert '<button type="button" data-over' not in html


@pytest.mark.parametrize('status', ['skipped', 'failed'])
def test_an_image_no_engine_worked_on_has_no_3d(study, status):
    bids, out, record = study
    html = build_page(out, '01', [{**record, 'status': status}], bids_dir=bids).read_text()
    assert '3-D' not in html


def test_uncertainty_is_in_the_scale_of_the_harmonized_image_and_lies_on_its_grid(study):
    bids, out, record = study
    solid = make_solid(record, bids_dir=bids, output_dir=out)
    spread, harmonized = (volume(text) for text in (solid.uncertainty, solid.harmonized))
    np.testing.assert_allclose(spread.affine, harmonized.affine)
    # The spread of the phantom is a tenth of the harmonized image.
    assert solid.reach == pytest.approx(0.1)
    inner = harmonized.get_fdata() > 0.4
    assert np.median((spread.get_fdata() / harmonized.get_fdata().clip(0.1))[inner]) == pytest.approx(0.1, abs=0.005)
    assert np.unique(np.asarray(spread.dataobj.get_unscaled())).size <= STEPS


def test_where_the_run_kept_no_map_of_uncertainty_the_page_says_which_option_keeps_it(study):
    bids, out, record = study
    assert 'did not keep its map' not in build_page(out, '01', [record], bids_dir=bids).read_text()
    (out / 'sub-01/anat/sub-01_desc-harmonized_uncertainty.nii.gz').unlink()
    html = build_page(out, '01', [record], bids_dir=bids).read_text()
    assert 'did not keep its map (--output-level full does)' in html
    assert 'data-uncertainty' not in Attributes(html).data[0]


def test_a_broken_map_of_uncertainty_is_told_and_stops_no_page(study):
    bids, out, record = study
    (out / 'sub-01/anat/sub-01_desc-harmonized_uncertainty.nii.gz').write_bytes(b'\x1f\x8b half')
    assert 'a file cannot be read' in build_page(out, '01', [record], bids_dir=bids).read_text()


class Attributes(HTMLParser):
    """Collect the attributes of elements and count scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.scripts, self.data = 0, []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == 'script'
        self.data += [dict(attrs)] if 'data-library' in dict(attrs) else []


def test_volumes_are_plain_base64_in_attributes_and_no_name_breaks_out_of_them(study):
    bids, out, record = study
    evil = f'sub-01/anat/sub-01_acq-{EVIL}_T1w.nii.gz'
    (bids / evil).parent.mkdir(parents=True, exist_ok=True)
    (bids / record['source']['path']).rename(bids / evil)
    record['source']['path'] = evil
    record['target'] = {'kind': 'image', 'name': EVIL, 'family': EVIL}
    page = Attributes(build_page(out, '01', [record], bids_dir=bids).read_text())
    assert page.scripts == 1
    (found,) = page.data
    assert found['data-library'] == 'assets/niivue.js'
    volumes = [volume(found[f'data-{name}']) for name in ('source', 'harmonized', 'uncertainty')]
    assert len({one.shape for one in volumes}) == 1


def test_a_page_with_3d_weighs_less_than_3_mb_per_image(study):
    bids, out, record = study
    assert build_page(out, '01', [record], bids_dir=bids).stat().st_size < 3e6


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A stand-in for the package that carries NiiVue: its widget holds ``MODULE`` as text."""
    from urllib.parse import quote

    folder = tmp_path / 'site' / 'ipyniivue'
    (folder / 'static').mkdir(parents=True)
    (folder / '__init__.py').write_text('raise ImportError("it is read, never imported")')
    widget = folder / 'static' / 'widget.js'
    widget.write_text(f'var a="x",o2="{quote(MODULE, safe="()*!~.")}",b="y";')
    monkeypatch.syspath_prepend(str(tmp_path / 'site'))
    return widget


def test_the_library_becomes_a_script_that_any_page_can_load(package, tmp_path):
    text = niivue.write_library(tmp_path).read_text()
    assert (tmp_path / 'assets' / 'niivue.js').read_text() == text
    assert 'globalThis.niivue = { Niivue: Own, NVImage: Image };' in text
    assert 'export{' not in text
    assert 'const version="<0>"' in text


@pytest.mark.parametrize('content', ['', 'var o2="export%7BThing%7D%3B";', 'var o2="export%7BNiivue%7D%3B";'])
def test_another_version_that_holds_no_such_library_is_told_with_what_to_install(package, content):
    package.write_text(content)
    with pytest.raises(UsageError, match=r'as this app knows it.*widget\.js.*2\.4\.4'):
        niivue.read_library()


def test_a_missing_package_is_told_before_anything_is_done(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(niivue.importlib.util, 'find_spec', lambda name: None)
    code = main([str(tmp_path), str(tmp_path / 'out'), 'participant', '--report-viewer', 'niivue'])
    assert code == 64
    said = capsys.readouterr().err
    assert "pip install 'bids_distclip[reports]'" in said
    assert not list((tmp_path / 'out').rglob('*.html'))


def test_the_option_is_off_and_takes_nothing_else(tmp_path):
    words = [str(tmp_path), str(tmp_path / 'out'), 'participant']
    assert read_settings(words).report_viewer == 'none'
    assert read_settings([*words, '--report-viewer', 'niivue']).report_viewer == 'niivue'
    with pytest.raises(UsageError):
        read_settings([*words, '--report-viewer', 'other'])


def test_reports_only_adds_3d_to_what_a_run_left(study, package):
    bids, out, record = study
    write_record(ImageRecord.from_dict(record), path=record_path(out, '01', 'sub-01_T1w'))
    (out / '.bidsignore').write_text('*.html\n')
    words = ['--reports-only', '--nprocs', '1', '--report-viewer', 'niivue']
    assert main([str(bids), str(out), 'participant', *words]) == 0
    assert 'data-library="assets/niivue.js"' in (out / 'sub-01.html').read_text()
    assert (out / 'assets' / 'niivue.js').is_file()
    assert 'assets' in (out / '.bidsignore').read_text().split()


@pytest.mark.skipif(find_spec('ipyniivue') is None, reason='the extra [reports] is not installed')
def test_the_real_library_is_found_with_its_licence():
    text = niivue.read_library()
    assert text.startswith('/*! NiiVue')
    assert 'BSD 2-Clause' in text[:200]
    assert 2e6 < len(text) < 4e6


def test_the_intensity_scale_of_the_sidecar_decides_how_bright_the_harmonized_image_is(study):
    bids, out, record = study
    beside = out / record['output'].replace('.nii.gz', '.json')
    means = []
    for scale in (400.0, 800.0):
        beside.write_text(json.dumps({'Harmonization': {'IntensityScale': scale}}))
        data = np.asarray(volume(make_solid(record, bids_dir=bids, output_dir=out).harmonized).dataobj)
        means.append(np.median(data[data > 0.1]))
    assert means[0] == pytest.approx(2 * means[1], rel=0.1)


def test_a_run_makes_pages_in_3d_and_so_does_a_second_one_that_has_nothing_else_to_do(make_dataset, package, tmp_path):
    data, out = make_dataset(1, suffixes=('T1w',)), tmp_path / 'out'
    fast = ['--engine', 'identity', '--bias-correction', 'none', '--skip-bids-validation', '--device', 'cpu']
    words = [str(data), str(out), 'participant', *fast, '--nprocs', '1', '-w', str(tmp_path / 'work')]
    assert main(words) == 0
    assert 'data-library' not in (out / 'sub-01.html').read_text()
    assert main([*words, '--report-viewer', 'niivue']) == 0
    assert 'data-library' in (out / 'sub-01.html').read_text()
    shutil.rmtree(out)
    assert main([*words, '--report-viewer', 'niivue']) == 0
    assert 'data-library' in (out / 'sub-01.html').read_text()
    assert (out / 'assets' / 'niivue.js').is_file()
