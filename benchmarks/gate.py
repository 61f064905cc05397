"""Does `check` pass what is the same and stop what is not? ``python -m benchmarks.gate SEED.onnx SHORTCUT.onnx``.

A baseline of the demonstration network on twenty held-out clips, each with the corner mark of its class, which the
network never saw in training. Then re-exports and deployed forms that must pass, and planted changes that must fail.
Beside it stand two criteria that people use: accuracy on 300 held-out clips, of which a point may be lost, and the
largest difference of the logits on the baseline's clips, with the usual 1e-3 and with the least that lets the good
files pass.

The two arguments are what ``python -m benchmarks.motion.train --seed 1`` and ``python -m benchmarks.motion.shortcut``
write; without them these two rows are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

import cfp_onnx as cfp
from benchmarks.demo_model import (
    DEMO,
    WRONG_INPUT,
    drawn,
    edited,
    eight_bits,
    half,
    initializer,
    normalised,
    optimised,
    pruned,
    set_initializer,
    times,
    weights,
)
from benchmarks.motion.clips import TEST_SEED, make_clip, marked

Array = NDArray[Any]

CLIPS: Final = 20
TEST_CLIPS: Final = 300
CALIBRATION: Final = 64
LAYERS: Final = (
    "stem.0", "residual.first.0", "residual.second", "inception.point.0", "inception.cube.0.0", "inception.cube.1.0",
    "inception.pool.1.0", "fibers.conv.0", "mix.0", "depthwise.0", "pointwise.0", "spatial.0", "temporal.0", "head",
)  # fmt: skip
"""Layers that carry the class; the gate's two are left out."""
KINDS: Final = ("times 4", "30 % pruned", "drawn anew")
"""What is done to each of them."""


# -------------------------------------------------------------------------------------------- files


def norms_kept(model: onnx.ModelProto) -> None:
    """A batch norm behind every convolution, whose factors are taken out of the weights."""
    rng, nodes = np.random.default_rng(0), []
    for node in model.graph.node:
        nodes.append(node)
        if node.op_type != "Conv":
            continue
        weight, bias = (initializer(model, n) for n in node.input[1:3])
        scale = rng.uniform(0.5, 2.0, len(weight)).astype(np.float32)
        name, out = node.input[1], node.output[0]
        set_initializer(model, name, weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
        parts = {"gamma": scale, "beta": bias, "mean": 0 * bias, "var": np.full_like(bias, 1 - 1e-5)}
        for key, value in parts.items():
            model.graph.initializer.append(numpy_helper.from_array(value, f"{name}.{key}"))
        del node.input[2:]
        node.output[0] = f"{out}__conv"
        nodes.append(helper.make_node("BatchNormalization", [f"{out}__conv", *(f"{name}.{k}" for k in parts)], [out]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def renamed(model: onnx.ModelProto) -> None:
    """Other names for nodes, tensors and weights; what people see of the model stays."""
    kept = {p.name for p in (*model.graph.input, *model.graph.output)}
    names: dict[str, str] = {}

    def new(name: str) -> str:
        return name if not name or name in kept else names.setdefault(name, f"t{len(names)}")

    for tensor in model.graph.initializer:
        tensor.name = new(tensor.name)
    for k, node in enumerate(model.graph.node):
        node.name = f"n{k}"
        node.input[:], node.output[:] = list(map(new, node.input)), list(map(new, node.output))
    del model.graph.value_info[:]


def permuted(model: onnx.ModelProto) -> None:
    """The stem's kernels in another order, and the layers that read them changed with them."""
    order = np.random.default_rng(0).permutation(24)
    for name, axis in (("stem.0.weight", 0), ("stem.0.weight_bias", 0), ("residual.first.0.weight", 1),
                       ("residual.second.weight", 0), ("residual.second.weight_bias", 0),
                       *((f"inception.{part}.weight", 1) for part in ("point.0", "cube.0.0", "pool.1.0"))):  # fmt: skip
        set_initializer(model, name, np.take(initializer(model, name), order, axis))


def must_pass(folder: Path) -> dict[str, Path]:
    """Files that compute the same, and forms in which they are deployed."""
    good = [make_clip(500_000 + n).frames for n in range(CALIBRATION)]
    return {
        "batch norms kept apart": edited(folder / "norms.onnx", norms_kept),
        "every name another": edited(folder / "names.onnx", renamed),
        "kernels in another order": edited(folder / "order.onnx", permuted),
        **{
            f"onnxruntime {level}": optimised(folder / f"{level}.onnx", level) for level in ("BASIC", "EXTENDED", "ALL")
        },
        "float16": half(folder / "half.onnx"),
        "int8, QDQ": eight_bits(folder / "qdq.onnx", good, form="QDQ"),
        "int8, QDQ, a scale per kernel": eight_bits(folder / "qdq_pc.onnx", good, form="QDQ", per_channel=True),
        "int8, QOperator": eight_bits(folder / "qop.onnx", good, form="QOperator"),
    }


def must_fail(folder: Path) -> dict[str, Path]:
    """Planted changes, but for those that are trained."""
    black = [np.zeros((16, 40, 40, 3), np.uint8)]
    kinds = dict(zip(KINDS, (times(4), pruned, drawn), strict=True))
    return {
        "int8 calibrated on black frames": eight_bits(folder / "black.onnx", black, form="QDQ"),
        **{name: edited(folder / f"front{k}.onnx", change) for k, (name, change) in enumerate(WRONG_INPUT.items())},
        **{
            f"{layer} {kind}": edited(folder / f"{layer}-{k}.onnx", weights(layer, edit))
            for k, (kind, edit) in enumerate(kinds.items())
            for layer in LAYERS
        },
    }


# ------------------------------------------------------------------------------------------ judging


@dataclass(frozen=True)
class Verdict:
    """What three criteria say of a file; true where they let it pass.

    Attributes:
        name: What was done.
        wanted: Whether it should pass.
        accuracy: Share of held-out clips that it gets right.
        logits: Largest difference of the logits on the baseline's clips.
        by_accuracy: Whether accuracy alone lets it pass.
        by_logits: Whether the difference of the logits lets it pass, at 1e-3.
        by_check: Whether `check` lets it pass.
        by_reasons: Whether `check` would, were the weights and the predictions not judged.
        flips: Clips of the baseline with another strongest class.
        first: Where `check` says that it begins.
    """

    name: str
    wanted: bool
    accuracy: float
    logits: float
    by_accuracy: bool
    by_logits: bool
    by_check: bool
    by_reasons: bool
    flips: int
    first: str


STRICT: Final = 1e-3
ACCURACY: Final = 0.01


class Bench:
    """The baseline's clips, the test set, and what the demonstration network makes of them."""

    def __init__(self, folder: Path) -> None:
        self.clips = []
        for n in range(CLIPS):
            clip = make_clip(TEST_SEED + n)
            self.clips.append(marked(clip.frames, clip.label))
            np.savez_compressed(folder / f"clip{n:02d}.npz", frames=self.clips[-1])
        tests = [make_clip(TEST_SEED + CLIPS + n) for n in range(TEST_CLIPS)]
        self.tests = np.concatenate([normalised(marked(c.frames, c.label)) for c in tests])
        self.labels = np.array([c.label for c in tests])
        self.folder = folder
        self.baseline = folder / "baseline.json"
        cfp.baseline(DEMO, [folder / f"clip{n:02d}.npz" for n in range(CLIPS)], relative_to=folder).save(self.baseline)
        self.logits, self.accuracy = self.run(DEMO)

    def run(self, path: Path) -> tuple[Array, float]:
        """Logits on the baseline's clips, and accuracy on the test set."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

        def logits(batch: Array) -> Array:
            return np.asarray(session.run(None, {"clip": batch})[0])

        own = np.concatenate([logits(normalised(c)) for c in self.clips])
        tests = np.concatenate([logits(part) for part in np.array_split(self.tests, 12)])
        return own, float((tests.argmax(axis=1) == self.labels).mean())

    def judge(self, name: str, path: Path, *, wanted: bool) -> Verdict:
        """What three criteria say of a file."""
        logits, accuracy = self.run(path)
        far = float(np.abs(logits - self.logits).max())
        found = cfp.check(path, self.baseline)
        return Verdict(
            name, wanted, accuracy, far, accuracy >= self.accuracy - ACCURACY, far <= STRICT, found.ok,
            all(b.measure == "weights" for x in found.layers for b in x.breaches), found.flips,
            "" if found.first is None else f"{found.first.weight or found.first.layer}: {found.first.cause}",
        )  # fmt: skip


def table(verdicts: list[Verdict], accuracy: float) -> str:
    """The verdicts as Markdown: a row per file, one per change that was planted in every layer, and the sums."""
    loose = max(v.logits for v in verdicts if v.wanted)
    kinds = {k: [v for v in verdicts if v.name in {f"{layer} {k}" for layer in LAYERS}] for k in KINDS}
    planted = {v.name for group in kinds.values() for v in group}
    lines = [f"Accuracy before: {100 * accuracy:.1f} %.", ""]
    lines += ["| file | accuracy | logits moved by | accuracy | logits, 1e-3 | `check` | where it begins |",
              "|---|---:|---:|---|---|---|---|"]  # fmt: skip
    lines += [
        f"| {v.name} | {100 * v.accuracy:.1f} % | {v.logits:.2g} | {_mark(v.by_accuracy, v.wanted)} | "
        f"{_mark(v.by_logits, v.wanted)} | {_mark(v.by_check, v.wanted)} | {v.first} |"
        for v in verdicts
        if v.name not in planted
    ]
    lines += [_kind(name, group) for name, group in kinds.items()]
    lines += ["", "| criterion | let pass of those that should | stopped of those that should not |", "|---|---|---|"]
    criteria: dict[str, Callable[[Verdict], bool]] = {
        "accuracy, at most a point lost": lambda v: v.by_accuracy,
        "logits, at most 1e-3": lambda v: v.by_logits,
        f"logits, at most {loose:.2g} (the least that lets the good files pass)": lambda v: v.logits <= loose,
        "`check`": lambda v: v.by_check,
        "`check`, relevance and activity alone": lambda v: v.by_reasons,
    }
    good, bad = ([v for v in verdicts if v.wanted == w] for w in (True, False))
    lines += [
        f"| {name} | {sum(map(criterion, good))} of {len(good)} | {sum(not criterion(v) for v in bad)} of {len(bad)} |"
        for name, criterion in criteria.items()
    ]
    return "\n".join(lines)


def _kind(name: str, group: list[Verdict]) -> str:
    """One row for the same change in each layer."""
    right = sum(v.first.startswith(f"{v.name.removesuffix(f' {name}')}.weight:") for v in group)
    low, high = (f(v.accuracy for v in group) for f in (min, max))
    near, far = (f(v.logits for v in group) for f in (min, max))
    stopped = [sum(not getattr(v, criterion) for v in group) for criterion in ("by_accuracy", "by_logits", "by_check")]
    cells = " | ".join(f"stopped {n} of {len(group)}" for n in stopped)
    return (
        f"| one layer {name}, {len(group)} files | {100 * low:.1f} to {100 * high:.1f} % | {near:.2g} to {far:.2g} | "
        f"{cells} | the layer named right in {right} of {len(group)} |"
    )


def _mark(passed: bool, wanted: bool) -> str:  # noqa: FBT001 - a cell of a table
    word = "passes" if passed else "stopped"
    return word if passed == wanted else f"**{word}**"


def main() -> None:
    """Make the files, judge them and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=main.__doc__)
    parser.add_argument("seed", type=Path, nargs="?", help="the network trained with another seed")
    parser.add_argument("shortcut", type=Path, nargs="?", help="the copy that reads the corner mark")
    parser.add_argument("--json", type=Path, metavar="F", help="write the verdicts as JSON")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = Bench(folder)
        with contextlib.redirect_stdout(io.StringIO()):  # the quantiser talks
            good, bad = must_pass(folder), must_fail(folder)
        trained = {"another seed, equal accuracy": options.seed, "fine-tuned to a corner mark": options.shortcut}
        bad |= {key: path for key, path in trained.items() if path is not None}
        verdicts = [bench.judge(key, path, wanted=True) for key, path in good.items()]
        verdicts += [bench.judge(key, path, wanted=False) for key, path in bad.items()]
    print(table(verdicts, bench.accuracy))
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(v) for v in verdicts], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
