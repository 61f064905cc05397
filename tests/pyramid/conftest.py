"""The built-in model and clip, and pyramids of them."""

from __future__ import annotations

import pytest
from pyramids import explained

from benchmarks.demo_model import DEMO, DEMO_CLIP


@pytest.fixture(scope="session")
def demo():
    """Paths of the built-in model and clip."""
    return str(DEMO), str(DEMO_CLIP)


@pytest.fixture(scope="session")
def pyramid():
    """All depths."""
    return explained(depth="all")


@pytest.fixture(scope="session")
def shallow():
    """Two depths, which are enough for every form of drawing, with the relevance of single kernels."""
    return explained(depth=2, kernel_relevance=True)


@pytest.fixture(scope="session")
def saved(pyramid, tmp_path_factory):
    """The folder of `pyramid`."""
    folder = tmp_path_factory.mktemp("saved")
    report = pyramid.save(folder, drawings=(), animation="none")
    assert report == folder / "report.html"
    return folder
