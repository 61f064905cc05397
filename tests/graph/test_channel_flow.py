"""Whole files under the runtime: what moves when one kernel's output is changed is what the topology says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from channel_flow import Feeds, check

from benchmarks.demo_model import DEMO
from cfp_onnx import runtime
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.model import load


def loaded(path: Path) -> tuple[Engine, Feeds]:
    """A file at a plausible input size, and seeded inputs."""
    model = load(path)
    feeds = runtime.random_feeds(model)
    return Engine(model, feeds, device=runtime.Device("cpu")), feeds


def test_demo_moves_as_the_topology_says(rng: np.random.Generator) -> None:
    check(*loaded(DEMO), rng)


@pytest.mark.shared
def test_reference_models_move_as_the_topology_says(shared_dir: Path, rng: np.random.Generator) -> None:
    skip = {"var2d_ort_all.onnx"}
    # Beside these lie files that cannot be analysed yet, one for each reason.
    files = sorted(path for kind in ("exporters", "wild") for path in (shared_dir / "models" / kind).glob("*.onnx"))
    assert len(files) > 30
    for path in files:
        if path.name not in skip:
            check(*loaded(path), rng)
