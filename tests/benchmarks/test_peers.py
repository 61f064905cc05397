"""Others' methods keep the properties that their papers prove, and agree with the rules where they must."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from benchmarks.truth.ablation import Ablation, contrasts
from benchmarks.truth.measuring import measure
from benchmarks.truth.subjects import Subject, of_zoo
from benchmarks.truth.variants import named
from benchmarks.zoo.catalogue import entries
from cfp_onnx import model, runtime
from cfp_onnx.explanation.engine import Engine

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("resnet", "groupnorm", "vit-mean")

pytestmark = pytest.mark.converters


@pytest.fixture(scope="module")
def python() -> Path:
    """An interpreter that has PyTorch and zennit: this one, or the zoo's."""
    for found in (Path(sys.executable), ROOT / ".venvs" / "zoo" / "bin" / "python"):
        command = [str(found), "-c", "import torch, importlib.util as u; assert u.find_spec('zennit')"]
        if found.exists() and subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return found
    pytest.skip("no environment with PyTorch and zennit")


class Judged(NamedTuple):
    subject: Subject
    engine: Engine
    tensors: list[str]
    relevance: dict[str, list[np.ndarray]]


@pytest.fixture(scope="module", params=KINDS)
def judged(request: pytest.FixtureRequest, python: Path, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    (entry,) = entries(role="choose", kinds=[request.param])
    subject = of_zoo(entry, 2, tmp_path_factory.mktemp("zoo"))
    measured = measure(subject, named(["positional", "positional, hold all"]), peers_python=python)
    engine = Engine(model.load(subject.path), subject.clips[0].feeds, device=runtime.Device("cpu", 1))
    return Judged(subject, engine, [layer.tensor for layer in measured.removed.layers], measured.relevance)


def margins(judged: Judged, tensor: str, clip: int, maps: list[np.ndarray]) -> list[float]:
    """The margin with other values of a tensor; the class is that of the recorded clip."""
    ablation = Ablation(judged.engine)
    recorded = ablation.record([tensor], judged.subject.clips[clip].feeds)
    whole = ablation.logits(recorded[judged.engine.target])[0]
    weights = contrasts(whole, int(whole.argmax()))["mean"]
    cut = ablation.suffix(tensor, live=True)
    logits = ablation.logits(cut(judged.engine.target, np.concatenate([recorded[tensor], *maps]), recorded))
    return [float(row @ weights) for row in logits]


def close(ones: list[np.ndarray], others: list[np.ndarray], within: float = 1e-4) -> list[bool]:
    pairs = zip(ones, others, strict=True)
    return [bool(np.abs(a - b).max() < within * np.abs(b).max()) for a, b in pairs]


def test_where_activations_are_rectifiers_gradient_times_activation_is_positional(judged: Judged) -> None:
    same = close(judged.relevance["gradient x activation"], judged.relevance["positional"])
    assert all(same) == (judged.subject.kind == "resnet")  # norms are taken exactly, smooth activations by their share


def test_zennit_is_asked_where_it_has_rules_and_is_the_gradient_on_rectifiers(judged: Judged) -> None:
    assert ("zennit epsilon" in judged.relevance) == (judged.subject.kind == "resnet")
    if "zennit epsilon" in judged.relevance:
        one, other = judged.relevance["zennit epsilon"], judged.relevance["gradient x activation"]
        assert all(close(one, other, 1e-3))  # its epsilon


def test_integrated_gradients_add_up_to_what_the_whole_layer_does(judged: Judged) -> None:
    """Completeness, to the error of eight midpoints; next to 0 a norm is steeper than they see."""
    if judged.subject.kind != "resnet":
        pytest.skip("has norms")
    for n in (0, len(judged.tensors) - 1):
        total = judged.relevance["layer integrated gradients"][n].sum(axis=1)
        shape = judged.engine.program.shapes[judged.tensors[n]]
        for clip in range(2):
            whole, none = margins(judged, judged.tensors[n], clip, [np.zeros(shape, np.float32)])
            assert total[clip] == pytest.approx(whole - none, abs=0.1 * max(abs(whole), abs(none)))


def test_deep_lift_adds_up_to_the_difference_from_its_reference(judged: Judged) -> None:
    """Summation to delta, at the stem, which everything passes; exact where all that is not linear is an activation."""
    if judged.subject.kind != "resnet":
        pytest.skip("norms and attention have plain gradients")
    feeds = {k: np.zeros_like(v) for k, v in judged.subject.clips[0].feeds.items()}
    stem = judged.tensors[-1]
    reference = Ablation(judged.engine).record([stem], feeds)[stem]
    for clip in range(2):
        whole, other = margins(judged, stem, clip, [reference])
        assert judged.relevance["DeepLIFT rescale"][-1][clip].sum() == pytest.approx(whole - other, rel=1e-3)


def test_behind_the_last_attention_attn_lrp_is_positional_with_norms_held(judged: Judged) -> None:
    assert ("AttnLRP" in judged.relevance) == (judged.subject.kind == "vit-mean")
    if "AttnLRP" in judged.relevance:
        same = close(judged.relevance["AttnLRP"], judged.relevance["positional, hold all"])
        assert same[:2] == [True, True]
        assert not all(same)
