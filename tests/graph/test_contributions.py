"""Exact contributions (docs/method.md, section 3): they and the bias add up to the mean output, on every layer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from contributions import TOLERANCE, contribution_errors
from text_net import engine_of, network

from cfp_onnx import runtime
from cfp_onnx.errors import CfpError
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.model import load

EXACT = frozenset({"lossless"})


def reference_files(shared_dir: Path, kinds: frozenset[str]) -> list[Path]:
    """Reference models of some kinds, and those found in the wild."""
    folder = shared_dir / "models"
    rows = json.loads((folder / "exporters" / "manifest.json").read_text(encoding="utf-8"))
    listed = [folder / "exporters" / name for name, row in rows.items() if row["kind"] in kinds]
    return sorted(p for p in [*listed, *(folder / "wild").glob("*.onnx")] if p.is_file())


@pytest.mark.shared
@pytest.mark.slow
def test_contributions_add_up_on_every_reference_model(shared_dir: Path) -> None:
    problems = []
    files = reference_files(shared_dir, EXACT)
    for path in files:
        try:
            loaded = load(path)
            feeds = runtime.random_feeds(loaded)
            engine = Engine(loaded, feeds, device=runtime.Device("cpu"))
            errors = contribution_errors(engine, feeds)
            problems += [f"{path.name}: {name}: {e:.1e}" for name, e in errors.items() if e > TOLERANCE]
            if not errors:
                problems.append(f"{path.name}: nothing compared")
        except (CfpError, AssertionError) as error:
            problems.append(f"{path.name}: {type(error).__name__}: {error}")
    assert files
    assert not problems, "\n".join(problems)


def test_contributions_add_up_on_a_small_network(tmp_path: Path) -> None:
    """The same check without reference models: strides, dilations, groups, uneven pads, dense layers."""
    engine = engine_of(
        network(
            """a = Conv <strides=[2,1], pads=[1,0,2,1]> (x, w, wb)
            r = Relu (a)
            b = Conv <group=2, dilations=[2,1], pads=[1,0,1,2]> (r, v)
            q = Relu (b)
            c = Conv <pads=[3,3,3,3], strides=[2,3]> (q, u)
            f = Flatten (c)
            d = MatMul (f, z)
            y = Add (d, zb)""",
            {"w": (4, 3, 3, 2), "wb": (4,), "v": (6, 2, 1, 3), "u": (3, 6, 2, 2), "z": (90, 5), "zb": (5,)},
            "float[1,3,9,8] x",
        ),
        tmp_path,
    )
    feeds = runtime.random_feeds(engine.file)
    errors = contribution_errors(engine, feeds)
    assert len(errors) == 4
    assert max(errors.values()) <= TOLERANCE
