"""The container image, as a stranger on a locked-down machine would run it; built before with scripts/image-build."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[1] / 'scripts' / 'image-check'
IMAGE = os.environ.get('IMAGE', 'bids_distclip')

pytestmark = pytest.mark.docker


def answers(*words: str) -> bool:
    """Tell whether docker can do this within a minute."""
    return subprocess.run(['docker', *words], capture_output=True, check=False, timeout=60).returncode == 0


@pytest.fixture
def image() -> str:
    """Return the name of the image, or skip and say what is missing."""
    if shutil.which('docker') is None or not answers('info'):
        pytest.skip('no Docker engine answers')
    if not answers('image', 'inspect', IMAGE):
        pytest.skip(f'there is no image {IMAGE}: build it with scripts/image-build')
    return IMAGE


def test_the_image_keeps_its_promises(image):
    done = subprocess.run([CHECK], capture_output=True, text=True, check=False, timeout=1800,
                          env={**os.environ, 'IMAGE': image})
    assert done.returncode == 0, done.stdout + done.stderr
