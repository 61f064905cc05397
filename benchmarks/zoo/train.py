"""Train the zoo: ``python -m benchmarks.zoo.train [KIND ...] [--seeds 0 1]``.

Each kind is trained on two families of clips at once, with one softmax over the classes of both, and written to
``weights/KIND-SEED.onnx`` in half precision, with a row in ``index.json``. Needs PyTorch and onnxscript.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import math
import time
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.zoo.catalogue import INDEX, WEIGHTS, Entry, classes_of, draw_mixed, read_index
from benchmarks.zoo.half import halved
from benchmarks.zoo.networks import KINDS, Kind
from benchmarks.zoo.turns import turned

TEST_CLIPS: Final = 400
TEST_SEED: Final = 1_000_000
CHUNK: Final = 100
CHUNK_VALUES: Final = 4_000_000
"""Clips that are drawn at a time, and how many positions they may have together."""
ROLES: Final = ("choose", "table")
"""Role of each seed: for choosing between settings, or only reported."""

_log = logging.getLogger(__name__)


def pool(kind: Kind, families: tuple[str, ...], count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw clips of all classes alike.

    Args:
        kind: Gives the shape.
        families: Families to draw from.
        count: Number of clips.
        seed: Decides everything.

    Returns:
        Clips ``(count, 3, ...) float16`` and labels ``(count,) int64`` in the network's own classes.
    """
    rng = np.random.default_rng(seed)
    clips = torch.empty(count, 3, *kind.shape, dtype=torch.float16)
    labels = torch.empty(count, dtype=torch.int64)
    chunk = min(CHUNK, CHUNK_VALUES // math.prod(kind.shape))
    for start in range(0, count, chunk):
        drawn = draw_mixed(families, rng, min(chunk, count - start), kind.shape)
        for whole, part in zip((clips, labels), drawn, strict=True):
            whole[start : start + chunk] = torch.from_numpy(part)
    return clips, labels


def fit(model: nn.Module, clips: Tensor, labels: Tensor, *, kind: Kind, classes: tuple[str, ...], seed: int) -> None:
    """Train in place with AdamW under a rate that rises, then falls along a cosine."""
    rng = np.random.default_rng(seed)
    if len(kind.shape) == 3:
        model.to(memory_format=torch.channels_last_3d)  # depth-wise layers take half the time
    optimiser = torch.optim.AdamW(model.parameters(), lr=kind.rate, weight_decay=1e-3)
    model.train()
    running = 0.0
    for step in range(kind.steps):
        done = step / kind.steps
        for group in optimiser.param_groups:
            group["lr"] = kind.rate * min(done / 0.1 + 0.01, 0.5 + 0.5 * np.cos(np.pi * done))
        picked = torch.from_numpy(rng.choice(len(labels), kind.batch, replace=False))
        batch, target = clips[picked].float(), labels[picked]
        if batch.dim() == 5:
            batch, target = turned(batch, target, classes, rng)
        loss = functional.cross_entropy(model(_laid(batch)), target, label_smoothing=0.02)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        running = loss.item() if step == 0 else 0.98 * running + 0.02 * loss.item()
        if step % 250 == 249:
            _log.info("  step %d, loss %.3f", step + 1, running)


def _laid(clips: Tensor) -> Tensor:
    return clips.contiguous(memory_format=torch.channels_last_3d) if clips.dim() == 5 else clips


@torch.no_grad()
def accuracy(model: nn.Module, clips: Tensor, labels: Tensor) -> float:
    """Share of clips whose class has the largest logit."""
    right = sum(
        int((model(c.float()).argmax(1) == n).sum()) for c, n in zip(clips.split(50), labels.split(50), strict=True)
    )
    return right / len(labels)


@torch.no_grad()
def to_half(model: nn.Module) -> None:
    """Round everything that is stored to float16, in place, so that the accuracy is that of the file."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.copy_(tensor.half().float())


def export(model: nn.Module, kind: Kind, classes: tuple[str, ...]) -> onnx.ModelProto:
    """The network as strangers export it, with labels and preprocessing.

    The newer exporter folds batch norms into the convolutions before them; the one of TorchScript is told not to.
    """
    model.eval()
    example = torch.zeros(2 if kind.free_batch else 1, 3, *kind.shape)
    if kind.dynamo:
        program = torch.onnx.export(
            model, (example,), input_names=["clip"], output_names=["logits"], dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},) if kind.free_batch else None,
            external_data=False, verbose=False,
        )  # fmt: skip
        if program is None:
            raise RuntimeError("torch.onnx.export returned no program; this needs its dynamo exporter")
        proto = program.model_proto
    else:
        buffer = io.BytesIO()
        torch.onnx.export(
            model, (example,), buffer, input_names=["clip"], output_names=["logits"], dynamo=False, opset_version=17,
            training=torch.onnx.TrainingMode.PRESERVE,
            dynamic_axes={"clip": {0: "batch"}, "logits": {0: "batch"}} if kind.free_batch else None,
        )  # fmt: skip
        proto = onnx.load_from_string(buffer.getvalue())
    _strip(proto)
    metadata: dict[str, object] = {"cfp_onnx.labels": list(classes)}
    if len(kind.shape) == 3:
        metadata["cfp_onnx.preprocess"] = _preprocess(kind)
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=json.dumps(value))
    return proto


def _strip(proto: onnx.ModelProto) -> None:
    """Remove stack traces, source paths, doc strings and the inner values' shapes."""
    graph = proto.graph
    for part in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    del graph.value_info[:]


def _preprocess(kind: Kind) -> dict[str, object]:
    frames, height, width = kind.shape
    return {
        "frames": frames,
        "stride": 1,
        "size": [height, width],
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "layout": "NCTHW",
        "color": "RGB",
    }


def make(name: str, seed: int) -> Entry:
    """Train, measure and write one network."""
    kind = KINDS[name]
    families = kind.families[seed % len(kind.families)]
    classes = classes_of(families)
    start = time.monotonic()
    torch.manual_seed(seed)
    model = kind.build(len(classes))
    clips, labels = pool(kind, families, kind.pool, seed)
    fit(model, clips, labels, kind=kind, classes=classes, seed=seed)
    model.to(memory_format=torch.contiguous_format)
    seconds = time.monotonic() - start
    model.eval()
    to_half(model)
    share = accuracy(model, *pool(kind, families, min(TEST_CLIPS, kind.pool // 2), TEST_SEED + seed))
    proto = export(model, kind, classes)
    halved(proto)
    onnx.checker.check_model(proto, full_check=True)
    WEIGHTS.mkdir(exist_ok=True)
    onnx.save(proto, WEIGHTS / f"{name}-{seed}.onnx")
    count = sum(weight.numel() for weight in model.parameters())
    return Entry(name, seed, ROLES[seed % 2], families, classes, kind.shape, count, round(share, 4), round(seconds))


def note(entry: Entry) -> None:
    """Put a row into the index, in place of the one with the same kind and seed."""
    rows = {(e.kind, e.seed): e for e in (*read_index(), entry)}
    order = sorted(rows.values(), key=lambda e: (list(KINDS).index(e.kind), e.seed))
    lines = ",\n".join(json.dumps(e.to_json()) for e in order)
    INDEX.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def main() -> None:
    """Train the kinds that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo.train", description=main.__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1], metavar="N")
    parser.add_argument("--threads", type=int, default=2, help="threads (default: %(default)s)")
    options = parser.parse_args()
    if unknown := [name for name in options.kinds if name not in KINDS]:
        parser.error(f"unknown kind {unknown[0]!r}; there are {', '.join(KINDS)}")
    logging.basicConfig(format="%(message)s")
    _log.setLevel(logging.INFO)
    torch.set_num_threads(options.threads)
    for name in options.kinds or KINDS:
        for seed in options.seeds:
            _log.info("%s, seed %d", name, seed)
            entry = make(name, seed)
            note(entry)
            size = Path(WEIGHTS / f"{name}-{seed}.onnx").stat().st_size
            text = "%s, seed %d: accuracy %.3f, %d parameters, %d bytes, %d s"
            _log.info(text, name, seed, entry.accuracy, entry.parameters, size, entry.seconds)


if __name__ == "__main__":
    main()
