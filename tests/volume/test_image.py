from __future__ import annotations

import gzip
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest

from bids_distclip.errors import BadData, CannotWrite, ReadFailed
from bids_distclip.volume.image import read_volume, storage, write_volume


def _noise(shape=(9, 10, 11), dtype=np.int16, seed=0):
    return np.random.default_rng(seed).integers(0, 1000, shape).astype(dtype)


def _save(path, data=None, affine=None, *, qform=1, sform=1, change=None, kind=nib.Nifti1Image):
    image = kind(_noise() if data is None else data, np.eye(4) if affine is None else affine)
    if hasattr(image, 'set_qform'):
        image.set_qform(image.affine, code=qform)
        image.set_sform(image.affine, code=sform)
    if change:
        change(image)
    nib.save(image, path)
    return path


def _signed_permutations():
    for order in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[list(order), range(3)] = signs
            yield matrix


def _affine(matrix, spacing=(1, 1, 1), origin=(-90.5, 12.25, 3)):
    affine = np.eye(4)
    affine[:3, :3] = matrix * np.asarray(spacing)
    affine[:3, 3] = origin
    return affine


_OBLIQUE = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
_GEOMETRIES = {
    **{f'orientation {i}': _affine(m, (0.5, 1, 2.5)) for i, m in enumerate(_signed_permutations())},
    'oblique': _affine(_OBLIQUE),
    'oblique anisotropic left-handed': _affine(_OBLIQUE @ np.diag([-1, 1, 1]), (0.43, 0.43, 5)),
}


@pytest.mark.parametrize('affine', _GEOMETRIES.values(), ids=_GEOMETRIES.keys())
def test_geometry_comes_back_unchanged(tmp_path, affine):
    source = _save(tmp_path / 'in.nii', affine=affine, qform=1, sform=2)
    write_volume(read_volume(source), tmp_path / 'out.nii')
    old, new = nib.load(source), nib.load(tmp_path / 'out.nii')
    np.testing.assert_array_equal(new.affine, old.affine)
    np.testing.assert_array_equal(new.get_qform(), old.get_qform())
    np.testing.assert_array_equal(new.get_sform(), old.get_sform())
    assert new.header.get_zooms() == old.header.get_zooms()
    np.testing.assert_array_equal(new.get_fdata(), old.get_fdata())


@pytest.mark.parametrize(('qform', 'sform'), [(1, 1), (0, 2), (1, 0), (2, 4), (3, 1)])
@pytest.mark.parametrize('units', [('mm', 'sec'), ('mm', None), (None, None)])
def test_codes_and_units_come_back_unchanged(tmp_path, qform, sform, units):
    source = _save(
        tmp_path / 'in.nii.gz',
        affine=_affine(_OBLIQUE),
        qform=qform,
        sform=sform,
        change=lambda image: image.header.set_xyzt_units(*units),
    )
    write_volume(read_volume(source), tmp_path / 'out.nii.gz')
    old, new = nib.load(source).header, nib.load(tmp_path / 'out.nii.gz').header
    assert (int(new['qform_code']), int(new['sform_code'])) == (qform, sform)
    assert new.get_xyzt_units() == old.get_xyzt_units()
    for name in ('quatern_b', 'quatern_c', 'quatern_d', 'qoffset_x', 'pixdim', 'srow_x', 'srow_z'):
        np.testing.assert_array_equal(new[name], old[name])


def test_qform_and_sform_that_differ_are_both_kept(tmp_path):
    def shift(image):
        image.set_qform(_affine(_OBLIQUE), code=1)

    source = _save(tmp_path / 'in.nii', affine=_affine(np.eye(3)), change=shift)
    volume = read_volume(source)
    np.testing.assert_array_equal(volume.affine, nib.load(source).get_sform())
    new = nib.load(write_volume(volume, tmp_path / 'out.nii'))
    np.testing.assert_array_equal(new.get_qform(), nib.load(source).get_qform())


def test_a_header_without_any_orientation_is_noted(tmp_path):
    assert 'guess' in ' '.join(read_volume(_save(tmp_path / 'a.nii', qform=0, sform=0)).notes)
    assert read_volume(_save(tmp_path / 'b.nii')).notes == ()


def test_names_dates_and_extensions_do_not_reach_the_output(tmp_path):
    def label(image):
        for field in ('descrip', 'aux_file', 'intent_name', 'db_name'):
            image.header[field] = b'Jane Doe 19700101'
        image.header.extensions.append(nib.nifti1.Nifti1Extension('comment', b'Jane Doe'))

    source = _save(tmp_path / 'in.nii', change=label)
    assert b'Jane' in source.read_bytes()
    assert b'Jane' not in write_volume(read_volume(source), tmp_path / 'out.nii').read_bytes()


def test_the_same_volume_gives_the_same_bytes_under_any_name(tmp_path):
    volume = read_volume(_save(tmp_path / 'in.nii'))
    one, two = (write_volume(volume, tmp_path / name).read_bytes() for name in ('a.nii.gz', 'b.nii.gz'))
    assert one == two
    assert one[4:8] == b'\0\0\0\0'


def test_nothing_is_left_beside_the_file_when_writing_fails(tmp_path):
    volume = read_volume(_save(tmp_path / 'in.nii'))
    with pytest.raises(CannotWrite):
        write_volume(volume, tmp_path / 'absent' / 'out.nii.gz')
    (tmp_path / 'taken.nii').mkdir()
    with pytest.raises(ReadFailed):
        write_volume(volume, tmp_path / 'taken.nii')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['in.nii', 'taken.nii']


def test_slope_and_intercept_are_applied(tmp_path):
    raw = _noise()
    path = _save(tmp_path / 'in.nii', raw, change=lambda im: im.header.set_slope_inter(0.25, 10))
    np.testing.assert_allclose(read_volume(path).data, raw * 0.25 + 10, rtol=1e-6)


@pytest.mark.parametrize('peak', [1.0, 1234.5, 3e6])
def test_an_integer_source_gives_int16_with_a_small_rounding_error(tmp_path, peak):
    volume = read_volume(_save(tmp_path / 'in.nii'))
    data = np.random.default_rng(1).random(volume.data.shape) * peak
    new = nib.load(write_volume(volume.with_data(data), tmp_path / 'out.nii.gz'))
    assert new.get_data_dtype() == np.int16
    error = np.sqrt(np.mean((new.get_fdata() - data) ** 2))
    assert 0 < error < 1e-4 * peak
    assert float(np.log2(new.dataobj.slope)).is_integer()


def test_whole_numbers_are_written_without_a_slope(tmp_path):
    volume = read_volume(_save(tmp_path / 'in.nii'))
    new = nib.load(write_volume(volume, tmp_path / 'out.nii'))
    assert new.dataobj.slope == 1.0
    np.testing.assert_array_equal(new.get_fdata(), volume.data)


def test_a_single_hot_voxel_makes_int16_too_coarse():
    data = np.random.default_rng(0).random(10000)
    assert storage(data, source=np.dtype(np.int16))[0] == np.int16
    data[0] = 1e5
    assert storage(data, source=np.dtype(np.int16))[0] == np.float32


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_a_float_source_gives_float32_exactly(tmp_path, dtype):
    data = np.random.default_rng(0).normal(100, 10, (9, 9, 9)).astype(dtype)
    volume = read_volume(_save(tmp_path / 'in.nii.gz', data))
    new = nib.load(write_volume(volume, tmp_path / 'out.nii.gz'))
    assert new.get_data_dtype() == np.float32
    np.testing.assert_array_equal(new.get_fdata(dtype=np.float32), data.astype(np.float32))


def test_a_mask_is_written_as_asked_and_must_fit(tmp_path):
    volume = read_volume(_save(tmp_path / 'in.nii'))
    mask = volume.with_data(volume.data > 500)
    new = nib.load(write_volume(mask, tmp_path / 'mask.nii.gz', dtype=np.uint8))
    assert new.get_data_dtype() == np.uint8
    assert set(np.unique(new.dataobj)) == {0, 1}
    with pytest.raises(ValueError, match='do not fit'):
        write_volume(volume, tmp_path / 'mask.nii.gz', dtype=np.uint8)


def test_mgh_is_read_in_its_own_geometry(tmp_path):
    affine = _affine(_OBLIQUE, (1, 1, 1.5))
    path = _save(tmp_path / 'in.mgz', _noise(dtype=np.float32), affine, kind=nib.MGHImage)
    volume = read_volume(path)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-4)
    new = nib.load(write_volume(volume, tmp_path / 'out.nii'))
    np.testing.assert_allclose(new.affine, affine, atol=1e-4)
    np.testing.assert_array_equal(new.get_fdata(), volume.data)


def test_nifti2_is_read_too(tmp_path):
    affine = _affine(_OBLIQUE)
    volume = read_volume(_save(tmp_path / 'in.nii', affine=affine, kind=nib.Nifti2Image))
    np.testing.assert_allclose(volume.affine, affine, atol=1e-5)
    np.testing.assert_allclose(nib.load(write_volume(volume, tmp_path / 'o.nii')).affine, affine, atol=1e-5)


def test_one_volume_in_a_4d_file_is_taken_as_3d_and_two_are_refused(tmp_path):
    volume = read_volume(_save(tmp_path / 'one.nii', _noise((9, 9, 9, 1))))
    assert volume.data.shape == (9, 9, 9)
    assert nib.load(write_volume(volume, tmp_path / 'out.nii')).shape == (9, 9, 9)
    with pytest.raises(BadData, match='Split'):
        read_volume(_save(tmp_path / 'two.nii', _noise((9, 9, 9, 2))))


def test_a_few_values_that_are_not_finite_become_zero_with_a_note(tmp_path):
    data = _noise((10, 10, 10), np.float32) + 1
    data[0, 0, :4] = np.nan, np.inf, -np.inf, np.nan
    volume = read_volume(_save(tmp_path / 'in.nii', data))
    assert (volume.data[0, 0, :4] == 0).all()
    assert volume.notes == ('4 voxels that were not finite were set to 0.',)
    data[0] = np.nan
    with pytest.raises(BadData, match='not finite'):
        read_volume(_save(tmp_path / 'in.nii', data))


def test_an_offset_below_zero_is_taken_away_but_small_undershoot_stays(tmp_path):
    data = _noise((10, 10, 10), np.int16) - 1024
    volume = read_volume(_save(tmp_path / 'offset.nii', data))
    assert volume.data.min() == 0
    assert volume.data.max() == pytest.approx(999, abs=5)
    assert 'below zero' in volume.notes[0]
    small = _noise((10, 10, 10), np.int16) - 10
    undershoot = read_volume(_save(tmp_path / 'small.nii', small))
    np.testing.assert_array_equal(undershoot.data, small)


def _rgb():
    return np.zeros((9, 9, 9), dtype=[('R', 'u1'), ('G', 'u1'), ('B', 'u1')])


@pytest.mark.parametrize(
    ('data', 'match'),
    [
        (np.zeros((9, 9, 9), np.int16), 'same value'),
        (np.full((9, 9, 9), 7, np.int16), 'same value'),
        (_rgb(), 'colour'),
        (np.ones((9, 9, 9), np.complex64), 'complex'),
        (_noise((9, 9)), 'not one 3-D volume'),
        (_noise((90, 90, 3)), 'too few slices'),
    ],
)
def test_what_is_no_image_of_a_head_is_refused(tmp_path, data, match):
    with pytest.raises(BadData, match=match):
        read_volume(_save(tmp_path / 'in.nii', data))


@pytest.mark.parametrize(
    ('column', 'match'),
    [
        ((1, 0, 0.01), 'singular'),
        ((0, 0, 0), 'absurd'),
        ((0, 0, 1000), 'absurd'),
        ((0, 0, np.nan), 'not finite'),
    ],
)
def test_an_affine_that_no_scanner_makes_is_refused(tmp_path, column, match):
    path = _save(tmp_path / 'in.nii')
    raw = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(raw[:348]))
    header['srow_x'][2], header['srow_y'][2], header['srow_z'][2] = column
    raw[:348] = header.binaryblock
    path.write_bytes(raw)
    with pytest.raises(BadData, match=match):
        read_volume(path)


def test_a_truncated_file_breaks_off_with_its_name(tmp_path):
    path = _save(tmp_path / 'in.nii.gz', _noise((30, 30, 30)))
    whole = path.read_bytes()
    for length in (len(whole) // 2, 200):
        path.write_bytes(whole[:length])
        with pytest.raises(ReadFailed, match=r'in\.nii\.gz'):
            read_volume(path)
    plain = tmp_path / 'in.nii'
    plain.write_bytes(gzip.decompress(whole)[:2000])
    with pytest.raises(ReadFailed):
        read_volume(plain)


def test_a_missing_file_or_a_strange_suffix_is_told_apart(tmp_path):
    with pytest.raises(ReadFailed, match='datalad get'):
        read_volume(tmp_path / 'absent.nii.gz')
    with pytest.raises(BadData, match='dcm2niix'):
        read_volume(tmp_path / 'image.dcm')
    (tmp_path / 'text.nii').write_text('no image at all' * 100)
    with pytest.raises(BadData, match='header'):
        read_volume(tmp_path / 'text.nii')
