"""The main job: a model and a clip in, a class feature pyramid out."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from cfp_onnx import runtime
from cfp_onnx.errors import TargetError, UsageError
from cfp_onnx.explanation.classes import low_side, other_side
from cfp_onnx.explanation.directions import Direction, refuse_embedding
from cfp_onnx.explanation.engine import Engine
from cfp_onnx.explanation.labels import labels_beside
from cfp_onnx.explanation.network import Network
from cfp_onnx.explanation.options import ClipOptions, RunOptions, WalkOptions
from cfp_onnx.explanation.places import usual_place
from cfp_onnx.model import Model, load
from cfp_onnx.pyramid.result import Pyramid
from cfp_onnx.relevance.rules import DEFAULT, rule_named
from cfp_onnx.values import Array, Progress
from cfp_onnx.version import __version__

if TYPE_CHECKING:
    from cfp_onnx.clips.preprocess import Preprocess


def topology(
    model: Model | str | os.PathLike[str],
    *,
    input_shape: Mapping[str, tuple[int, ...]] | None = None,
    barriers: bool = False,
) -> Network:
    """The network of a file without a clip: `Network.topology` and `Network.coverage` hold the answer.

    Args:
        model: A model or its path.
        input_shape: Sizes for inputs that leave some open.
        barriers: Whether unknown operators are passed over and recorded.
    """
    loaded = model if isinstance(model, Model) else load(model)
    feeds = runtime.random_feeds(loaded, input_shape)
    return Network.read(loaded, feeds, barriers=barriers)


def explain(
    model: Model | str | os.PathLike[str],
    clip: str | os.PathLike[str] | Array | Mapping[str, Array],
    *,
    target: int | str | None = None,
    output: str | None = None,
    rule: str = DEFAULT,
    class_step: str | None = None,
    theta: float = 0.6,
    top_k: int | None = None,
    depth: int | str = 3,
    hold: Sequence[str] | None = None,
    against: str | int | Sequence[str | int] | None = None,
    order: int = 1,
    at: str | int | None = None,
    direction: Direction | None = None,
    inputs: Mapping[str, Array | float] | None = None,
    layout: str | None = None,
    labels: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
    device: str = "auto",
    threads: int | None = None,
    barriers: bool = False,
    tubes: bool = True,
    kernel_relevance: bool = False,
    layer_evidence: bool = False,
    progress: Progress | None = None,
) -> Pyramid:
    """Explain one class of a model on one clip.

    Args:
        model: A model or its path.
        clip: A video, frame folder, image, frame database, array file or array (see `cfp_onnx.clips.load.load_clip`).
        target: Class index or label; the top-1 class by default. Of an output that is a single number ``"not:0"`` asks
            for what speaks against it.
        output: Output to explain; of several the one with classes by default.
        rule: Name of a rule: positional, active, zplus, published or mean.
        class_step: weights, contribution or contrast; each rule has its own default.
        theta: Threshold on v, 0..1.
        top_k: Most kernels per layer.
        depth: Deepest level, or ``"all"``.
        hold: What keeps its recorded value, some of ``norms``, ``attention`` and ``gates``; what the rule holds by
            default (`positional`: nothing).
        against: What the class is set against: ``mean`` (of all others), ``rivals`` (the others as they compete on
            this clip), ``best`` (the strongest other) or a class, by index or label. Of several the first makes the
            pyramid; the others' walks are kept beside it (`Pyramid.rather_than`).
        order: 1, or 2 to count what a removal bends too (rule `positional`), at about one more forward pass.
        at: The place of an output that has an answer at each of several (boxes, pixels, tokens): ``box:17``, ``y,x``,
            ``t,y,x``, ``strongest`` or ``mean``; the strongest of the class by default.
        direction: What is explained of an output without classes, such as an embedding, in place of a class: ``own``
            (the direction of the clip's own output), a file of numbers (``.npy`` or a JSON list), or the numbers.
        inputs: What inputs get that the clip does not give (a state, a sampling rate, a mask), by name: an array, or a
            number that stands everywhere. `Pyramid.input.fed` says what each input got.
        layout: Axes of the input, e.g. NCTHW; read off the model by default.
        labels: Class names; the model's metadata by default.
        preprocess: How footage becomes input; the model's metadata by default.
        device: auto, cpu, cuda, cuda:N or tensorrt.
        threads: Threads of the CPU provider.
        barriers: Whether unknown operators on channel paths are passed over and recorded.
        tubes: Whether saliency tubes are recorded, for pictures and the report.
        kernel_relevance: Whether the tubes, if there are any, hold the relevance of single kernels too.
        layer_evidence: Whether they hold where in the clip each layer's evidence lies too, by a further walk for each
            layer.
        progress: Told how far the work is.

    Raises:
        CfpError: With one sentence that says what cannot be used and what to do.
    """
    settings = WalkOptions(rule, class_step, theta, top_k, depth, hold, against, order, at, direction).settings()
    reading, running = ClipOptions(layout, labels, preprocess), RunOptions(device, threads, barriers)
    clock = _Clock()
    loaded = model if isinstance(model, Model) else load(model)
    given = {name: np.asarray(value) for name, value in (inputs or {}).items()}
    fed = reading.read(clip, loaded, given)
    clock.lap("read")
    engine = Engine(loaded, fed.feeds, device=running.where(), output=output, barriers=running.barriers, keep=False)
    clock.lap("topology")
    plain = engine.answers(fed.feeds)
    found = engine.network.target_classes().told_apart(plain[engine.scored])
    names, said = labels_beside(reading.class_names(loaded), found.count, found.among, loaded.path)
    wanted, turned = other_side(low_side(target, reading.class_names(loaded), found.count))
    at = usual_place(at, rule_named(rule))
    if direction is not None and target is not None:
        raise UsageError("a class and a direction were given; leave one of them out")
    if direction is None and target is None and not engine.network.target_classes().dense:
        refuse_embedding(engine.network.target_classes(), plain[engine.scored], engine.output, loaded.path)
    index = engine.pick_class(plain, wanted, names, at=at)
    if turned and engine.classes()[0] > 1:
        raise TargetError(
            f"{target!r} asks for the other side of a single output, and {loaded.path} has {engine.classes()[0]} "
            "classes; name a class, and what it is set against with --against"
        )
    if against is None and engine.classes()[0] < 2:
        settings = replace(settings, against=None)
    clock.lap("plain")
    pyramid = engine.pyramid(
        fed, replace(settings, index=index, turned=turned), rule=rule, labels=names, plain=plain, tubes=tubes,
        kernel_relevance=kernel_relevance, layer_evidence=layer_evidence, at=at, direction=direction,
        progress=progress,
    )  # fmt: skip
    clock.lap("explain")
    if said is not None:
        pyramid = replace(pyramid, run=replace(pyramid.run, labels=said))
    return replace(pyramid, facts=_facts(clock.laps))


class _Clock:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 3)
        self._last = now


def _facts(seconds: Mapping[str, float]) -> dict[str, Any]:
    """Versions, time of day (UTC) and times taken."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        "cfp_onnx": __version__, "onnxruntime": runtime.import_onnxruntime().__version__, "numpy": np.__version__,
        "python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}", "created": now,
        "seconds": dict(seconds),
    }  # fmt: skip


__all__ = ["explain", "topology"]
