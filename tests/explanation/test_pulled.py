"""What single layers hold of a class, taken down to the clip: cuts of a network add up to the class's own evidence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from live_nets import NETS
from small_nets import Net
from walk_nets import by_name

from cfp_onnx import explain, runtime
from cfp_onnx.cli.main import main
from cfp_onnx.errors import UsageError
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.explanation.sessions import Wanted
from cfp_onnx.model import load
from cfp_onnx.pyramid.drawings import Drawing
from cfp_onnx.pyramid.tubes import UNPLACED
from cfp_onnx.runtime.probe import SEED, TUBE_SEED

Array = npt.NDArray[Any]

FORKED = Net(
    "forked", "x=1,3,9,9",
    "a = Conv <pads=[1,1,1,1]> (x, w1)\nra = Relu (a)\nb = Conv <pads=[1,1,1,1]> (ra, w2)\nrb = Relu (b)\n"
    "c = Conv <pads=[1,1,1,1]> (ra, w3)\nrc = Relu (c)\ns = Add (rb, rc)\nf = Relu (s)",
    {"w1": (5, 3, 3, 3), "w2": (4, 5, 3, 3), "w3": (4, 5, 3, 3)}, 21, 4,
)  # fmt: skip
"""Two branches without any bias: what is held at a layer all comes from the clip."""


def made(net: Net, folder: Path) -> tuple[Engine, dict[str, Array]]:
    path = folder / "net.onnx"
    onnx.save(net.model(), path)
    feeds = net.feeds()
    return Engine(load(path), feeds), feeds


def class_map(engine: Engine, feeds: dict[str, Array], seed: Array) -> Array:
    """The class's own map at the clip."""
    probe = engine.field_probe("positional", None, Wanted(maps=True))
    seeds = {s: seed for s in (SEED, TUBE_SEED) if s in probe.statistics.probe.seeds}
    clip = next(n for f, n in probe.seen.items() if f.tensor == "x")
    return np.asarray(runtime.run(probe.session, [clip], {**feeds, **seeds})[0], np.float64)


def pulled_map(engine: Engine, feeds: dict[str, Array], seed: Array, node: str) -> Array:
    """The map at the clip of the layer that a node makes."""
    layer = next(x.index for x in engine.topology.layers if node in {p.node.outputs[0] for p in x.parts})
    probe = engine.sessions.pulled(layer, None)
    assert probe is not None
    clip = next(n for f, n in probe.seen.items() if f.tensor == "x")
    return np.asarray(runtime.run(probe.session, [clip], {**feeds, TUBE_SEED: seed})[0], np.float64)


def seed_of(engine: Engine, feeds: dict[str, Array]) -> Array:
    return engine.seed(1, "contrast", engine.rivals(engine.plain(feeds)[engine.output], 1))


def gated(name: str) -> Net:
    return next(net for net in NETS if net.name == name)


CUTS = [
    (FORKED, ["a"]),
    (FORKED, ["b", "c"]),
    (by_name("residual 21"), ["c1"]),
    (by_name("residual 21"), ["c4", "d"]),
    (by_name("inception 21"), ["ca", "cc", "cd"]),
    (by_name("(2+1)D"), ["c1"]),
    *((gated(f"norm {name}"), ["c1"]) for name in ("instance", "group", "layer", "RMS")),
]


@pytest.mark.parametrize(("net", "cut"), CUTS, ids=lambda v: v.name if isinstance(v, Net) else "+".join(v))
def test_the_layers_of_a_cut_add_up_to_the_class(net: Net, cut: list[str], tmp_path: Path) -> None:
    engine, feeds = made(net, tmp_path)
    seed = seed_of(engine, feeds)
    own = class_map(engine, feeds, seed)
    parts = [pulled_map(engine, feeds, seed, node) for node in cut]
    largest = np.abs(own).max()
    assert largest > 0
    np.testing.assert_allclose(np.sum(parts, axis=0), own, atol=2e-5 * largest)
    if len(cut) > 1:
        assert all(np.abs(part - own).max() > 0.01 * largest for part in parts)


def test_without_biases_all_that_a_layer_holds_comes_from_the_clip(tmp_path: Path) -> None:
    engine, feeds = made(FORKED, tmp_path)
    others = engine.rivals(engine.plain(feeds)[engine.output], 1)
    held = engine.relevance(feeds, 1, against="rivals", hold=("norms", "attention", "gates"))
    seed = engine.seed(1, "contrast", others)
    for layer in engine.topology.layers:
        if engine.depths[layer.index] > 0:
            total = pulled_map(engine, feeds, seed, layer.parts[0].node.outputs[0]).sum()
            assert total == pytest.approx(held[layer.index].sum(), rel=1e-4)


def test_a_pyramid_keeps_the_evidence_of_its_layers(tmp_path: Path) -> None:
    engine, feeds = made(FORKED, tmp_path)
    found = explain(engine.file, feeds["x"], target=1, layer_evidence=True, device="cpu")
    assert found.tubes is not None
    names = {t.layer for t in found.tubes.of("evidence", "layer")}
    assert names == {x.name for x in found.layers if x.depth > 0}
    first = max(found.layers, key=lambda x: x.depth).name
    np.testing.assert_allclose(found.tube(first, kind="evidence"), found.class_tube(signed=True), atol=1e-5)
    branch = next(x.name for x in found.layers if x.depth == 1)
    assert np.abs(found.tube(branch, kind="evidence") - found.class_tube(signed=True)).max() > 0.01


def test_a_layer_through_which_nothing_comes_is_named(tmp_path: Path) -> None:
    net = by_name("se")
    engine, feeds = made(net, tmp_path)
    found = explain(engine.file, feeds["x"], depth="all", layer_evidence=True, device="cpu")
    assert found.tubes is not None
    note = next(n for n in found.tubes.notes if n.startswith(UNPLACED))
    silent = {x.name for x in found.layers if x.depth > 0} - {t.layer for t in found.tubes.of("evidence", "layer")}
    assert silent
    assert all(name in note for name in silent)


def test_evidence_of_layers_must_have_been_recorded(tmp_path: Path) -> None:
    engine, feeds = made(FORKED, tmp_path)
    found = explain(engine.file, feeds["x"], device="cpu")
    with pytest.raises(KeyError, match="layer_evidence=True"):
        found.tube(found.layers[0].name, kind="evidence")
    with pytest.raises(UsageError, match=r"layer_evidence=True .*--tube evidence:layer"):
        found.save(tmp_path / "out", drawings=[Drawing("evidence", "layer")])
    assert not (tmp_path / "out").exists()
    assert found.tubes is not None
    noted = replace(found, tubes=replace(found.tubes, notes=(f"{UNPLACED} a",)))
    noted.save(tmp_path / "out", drawings=[Drawing("evidence", "layer")])


def test_the_command_draws_the_evidence_of_layers(tmp_path: Path) -> None:
    engine, feeds = made(FORKED, tmp_path)
    np.save(tmp_path / "clip.npy", feeds["x"])
    out = tmp_path / "out"
    arguments = ["explain", str(engine.file.path), str(tmp_path / "clip.npy"), "-o", str(out), "-q"]
    assert main([*arguments, "--tube", "evidence:layer", "--tube-top", "9", "--animation", "none"]) == 0
    pictures = {p.name for p in (out / "tubes").glob("*_evidence.png")}
    assert len(pictures) == len([d for d in engine.depths.values() if d > 0])
    assert "class_evidence.png" not in pictures
