"""Whole networks against the expected results of the authors' code, and one network through every exporter."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracle_clip import clip

import cfp_onnx as cfp
from cfp_onnx.errors import CfpError
from cfp_onnx.pyramid.result import Pyramid
from cfp_onnx.pyramid.values import LayerResult

pytestmark = pytest.mark.shared


HEADS = {1: (384, 384, 128, 128), 2: (384, 192, 48, 128)}
"""Channels of I3D's last block by branch: its outputs, and the outputs of the layers before its second convolutions."""


FLOAT16 = 0.07
"""Masks flip where weights are rounded; the float64 authority shows the same distance between the two files."""


Filled = Callable[[str], Path]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """Fills a skeleton of the reference folder with its deterministic weights."""
    folder = tmp_path_factory.mktemp("filled")
    oracle = Path(__file__).resolve().parents[3] / "shared" / "oracle"

    def fill(name: str) -> Path:
        out = folder / f"{name}.onnx"
        script, skeleton = oracle / "fill_skeleton.py", oracle / "skeletons" / f"{name}.onnx"
        subprocess.run([sys.executable, str(script), str(skeleton), str(out)], check=True, capture_output=True)
        return out

    return fill


def found(pyramid: Pyramid) -> dict[tuple[str, int], set[int]]:
    """Chosen channels by (weight, kernel)."""
    weight = {layer.name: layer.weight for layer in pyramid.layers}
    return {(weight[e.layer], e.kernel): {c.channel for c in e.channels} for e in pyramid.edges}


def expected(level: dict[str, Any], layers: list[str | None]) -> dict[tuple[str, int], set[int]]:
    """The same of one level of a golden run; rows of passed-through branches are left out."""
    out = {}
    for key, channels in level["edges"].items():
        kernel, offset, branch = int(key), 0, 0
        if len(layers) > 1:
            widths = HEADS[level["index"]]
            while kernel >= offset + widths[branch]:
                offset += widths[branch]
                branch += 1
        name = layers[branch]
        if name is not None:
            below = sum(HEADS[2][:branch]) if len(layers) > 1 and level["index"] == 1 else 0
            out[f"net.{name}.weight", kernel - offset] = {c - below for c in channels}
    return out


def golden_runs(shared_dir: Path, network: str) -> list[dict[str, Any]]:
    name = "resnet50.json" if network == "resnet50" else f"{network}.true_inputs.json"
    runs = json.loads((shared_dir / "oracle" / "goldens" / name).read_text(encoding="utf-8"))["runs"]
    assert runs
    return list(runs)


def main_path(shared_dir: Path, level: dict[str, Any]) -> list[str | None]:
    """Layer names of a level; ResNet-50's are found by their place from the end."""
    if "layer" in level:
        return list(level["layer"])
    text = (shared_dir / "oracle" / "goldens" / "resnet50.mapping.json").read_text(encoding="utf-8")
    kernels = json.loads(text)["exports"]["filled"]["kernels"]
    return [kernels[-1 - level["index"]][0]["weight"].removeprefix("net.").removesuffix(".weight")]


@pytest.mark.parametrize("network", ["resnet50", "mfnet", "i3d", "resnext101"])
def test_published_rule_gives_the_golden_channels(network: str, shared_dir: Path, filled: Filled) -> None:
    model = cfp.load(filled(network))
    x = clip(shared_dir, 224 if network == "mfnet" else 112)
    for run in golden_runs(shared_dir, network):
        pyramid = cfp.explain(model, x, rule="published", theta=run["theta"], depth=run["depth"], target=run["label"])
        assert pyramid.coverage["channels"] == pyramid.coverage["layers"] == 1.0
        ours = found(pyramid)
        for level in run["levels"]:
            near = {tuple(pair) for pair in level.get("near", [])}
            for (weight, kernel), channels in expected(level, main_path(shared_dir, level)).items():
                differ = {c for c in ours[weight, kernel] ^ channels if (kernel, c) not in near}
                assert not differ, (network, run["label"], weight, kernel, differ)


@pytest.mark.parametrize("network", ["resnet101", "x_densenet121", "x_i3d_pool", "x_resnet10_a"])
def test_other_networks_are_covered(network: str, shared_dir: Path, filled: Filled) -> None:
    pyramid = cfp.explain(filled(network), clip(shared_dir, 112), rule="published", depth=3)
    assert pyramid.coverage == {"channels": 1.0, "layers": 1.0, "operators_unknown": []}
    assert max(max(layer.relevance) for layer in pyramid.layers if layer.depth == 1) > 0


def kinds(layer: LayerResult) -> tuple[int, int, int, int]:
    return layer.depth, layer.kernels, layer.channels, layer.groups


def test_every_exporter_gives_one_network(shared_dir: Path) -> None:
    folder = shared_dir / "models" / "exporters"
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    x = np.load(folder / "clip.npy")
    # rivals follow the logits of each file, which float16 moves: against the mean the question is the same for all
    reference = cfp.explain(folder / "pt_dynamo.onnx", x, depth="all", target=2, against="mean")
    assert len(reference.layers) == 15
    for name, entry in manifest.items():
        if entry["kind"] not in {"lossless", "fp16", "quantised"}:
            continue
        model = cfp.load(folder / name)
        fed = np.ascontiguousarray(x.transpose(0, 2, 3, 4, 1)) if entry["layout"] == "NDHWC" else x
        pyramid = cfp.explain(model, fed.astype(model.inputs[0].dtype), depth="all", target=2, against="mean")
        assert sorted(map(kinds, pyramid.layers)) == sorted(map(kinds, reference.layers)), name
        assert pyramid.coverage["channels"] == pyramid.coverage["layers"] == 1.0, name
        limit = {"lossless": 2e-3, "fp16": FLOAT16}.get(entry["kind"])
        for layer in reference.layers if limit is not None and not entry["same_padding"] else ():
            theirs = [np.array(o.relevance) for o in pyramid.layers if kinds(o) == kinds(layer)]
            ours = np.array(layer.relevance)
            distance = min(float(np.abs(ours - o).max()) for o in theirs)
            assert distance <= limit * max(float(np.abs(ours).max()), 1e-9), (name, layer.name, distance)


def test_broken_exports_are_refused(shared_dir: Path) -> None:
    folder = shared_dir / "models" / "exporters"
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    x = np.load(folder / "clip.npy")
    refused = [n for n, e in manifest.items() if e["kind"] in {"invalid", "other-net"}]
    assert refused
    for name in refused:
        with pytest.raises(CfpError) as caught:
            cfp.explain(
                folder / name,
                np.ascontiguousarray(x.transpose(0, 2, 3, 4, 1)) if "keras" in name or "jax" in name else x,
            )
        assert caught.value.exit_code == 2, name
        assert "\n" not in str(caught.value), name
