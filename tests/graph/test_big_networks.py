"""Networks of real size: contributions add up in every layer, and what moves is what the topology says.

The networks of the reference folder have weights of realistic spread; the light ones that come with onnx have the
graphs of well-known image classifiers and one number for all weights.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from channel_flow import Feeds, check
from contributions import TOLERANCE, contribution_errors
from oracle_clip import clip

from cfp_onnx import runtime
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.model import load

FILLED = ("mfnet", "i3d", "resnet50", "resnext101", "resnet101", "resnet152")
LIGHT = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data" / "light").glob("*.onnx"))
LAYERS, KERNELS = 16, 2
"""Layers that are sampled of every network, and kernels that are changed of each of them."""

Network = tuple[Engine, Feeds]


@pytest.fixture(
    scope="module",
    params=[
        *(pytest.param(name, marks=[pytest.mark.shared, pytest.mark.slow]) for name in FILLED),
        *(pytest.param(path, id=path.stem) for path in LIGHT),
    ],
)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A network with its weights, and what it is fed."""
    if isinstance(request.param, Path):
        model = load(request.param)
        feeds = runtime.random_feeds(model)
        yield Engine(model, feeds, device=runtime.Device("cpu")), feeds
        return
    shared = request.getfixturevalue("shared_dir")
    path = tmp_path_factory.mktemp("filled") / f"{request.param}.onnx"
    fill(shared / "oracle", path)
    feeds = {"clip": clip(shared, 224 if request.param == "mfnet" else 112)}
    yield Engine(load(path), feeds, device=runtime.Device("cpu")), feeds
    path.unlink()


def fill(oracle: Path, path: Path) -> None:
    """Write a skeleton of the reference folder with its deterministic weights."""
    script, skeleton = oracle / "fill_skeleton.py", oracle / "skeletons" / path.name
    subprocess.run([sys.executable, str(script), str(skeleton), str(path)], check=True, capture_output=True)


def test_all_light_networks_are_there() -> None:
    assert len(LIGHT) == 9


def test_contributions_add_up_in_every_layer(network: Network) -> None:
    engine, feeds = network
    errors = contribution_errors(engine, feeds)
    assert len(errors) == sum(len(layer.parts) for layer in engine.topology.layers)
    assert {k: v for k, v in errors.items() if v > TOLERANCE} == {}


def test_what_moves_is_what_the_topology_says(network: Network, rng: np.random.Generator) -> None:
    engine, feeds = network
    changed, wires = check(engine, feeds, rng, kernels=KERNELS, parts=LAYERS)
    assert changed == KERNELS * min(LAYERS, sum(len(layer.parts) for layer in engine.topology.layers))
    assert wires >= changed - KERNELS, "only the classifier's kernels reach no layer"
