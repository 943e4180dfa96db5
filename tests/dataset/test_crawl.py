from __future__ import annotations

import subprocess
import sys

from bids_distclip.dataset.crawl import crawl


def test_a_walk_finds_what_pybids_finds_of_anatomy(build, tmp_path):
    names = ('sub-01/anat/sub-01_T1w.nii.gz', 'sub-01/anat/sub-01_acq-hi_T1w.nii.gz', 'sub-02/ses-a/anat/x_T2w.nii.gz',
             'sub-02/ses-a/func/sub-02_ses-a_bold.nii.gz', 'derivatives/other/sub-01/anat/sub-01_desc-x_T1w.nii.gz',
             'sub-01/anat/.hidden/sub-01_T1w.nii.gz', 'sub-03/anat/deeper/sub-03_T1w.nii.gz')
    root = build({name: {} for name in names})
    (root / 'sub-01' / 'anat' / 'sub-01_T2w.nii.gz').symlink_to('nowhere')
    (root / 'sub-04').symlink_to(root / 'sub-01')
    known = crawl(root, database_dir=tmp_path / 'db')
    assert crawl(root) == [file for file in known if '/func/' not in file]
    assert crawl(root, subjects=['02', '04'], sessions=['b']) == [
        file for file in crawl(root) if not file.startswith(('sub-01', 'sub-03', 'sub-02/ses-a'))
    ]


def test_links_that_lead_back_are_not_followed_in_circles(build):
    root = build({'sub-01/anat/sub-01_T1w.nii.gz': {}, 'sub-02/anat/sub-02_T1w.nii.gz': {}})
    plain = crawl(root)
    (root / 'sub-01' / 'anat' / 'up').symlink_to('..')
    (root / 'sub-01' / 'anat' / 'here').symlink_to(root / 'sub-01' / 'anat')
    (root / 'sub-02' / 'anat' / 'all').symlink_to(root)
    (root / 'sub-02' / 'around').symlink_to(root.parent)
    assert crawl(root) == plain
    (root / 'sub-01' / 'anat' / 'other').symlink_to(root / 'sub-02' / 'anat')
    (root / 'sub-02' / 'anat' / 'other').symlink_to(root / 'sub-01' / 'anat')
    assert set(crawl(root)) - set(plain) == {
        'sub-01/anat/other/sub-02_T1w.nii.gz', 'sub-02/anat/other/sub-01_T1w.nii.gz'}


def test_pybids_is_not_imported_where_no_database_is_asked_for():
    code = 'import sys, bids_distclip.workflow.levels; sys.exit("bids" in sys.modules or "torch" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
