"""What a comparison costs on top of explaining both files: ``python -m benchmarks.compare_cost A.onnx B.onnx CLIP``.

The explanations go as deep as the comparison, with tubes, as the command makes them for a folder; a last row sets both
at the defaults of their commands, a whole comparison beside explanations to depth 3. Each round times one comparison
and one explanation of each file, in an order that alternates (ABBA), and the median of the rounds' ratios is reported,
so that a machine which grows slower or faster in between does not decide.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

LIMIT: Final = 2.5
"""Most that a comparison may cost, in units of the two explanations."""


def seconds(call: Callable[[], Any]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(
    one: Callable[[], Any], others: Sequence[Callable[[], Any]], rounds: int
) -> tuple[list[float], list[float]]:
    """Seconds of one call, and of some others together, round by round in alternating order."""
    first, second = [], []

    def rest() -> None:
        for call in others:
            call()

    one()
    rest()
    for n in range(rounds):
        pair: list[tuple[list[float], Callable[[], Any]]] = [(first, one), (second, rest)]
        for into, call in pair if n % 2 == 0 else pair[::-1]:
            into.append(seconds(call))
    return first, second


def run(
    a: Path, b: Path, clip: Path, *, depth: str, explained: str, rounds: int, threads: int | None, device: str
) -> dict[str, Any]:
    """Figures for two files."""
    import numpy as np

    import cfp_onnx as cfp

    models = cfp.load(a), cfp.load(b)
    compared = cfp.compare(*models, clip, depth=depth, device=device, threads=threads)
    array = np.load(clip) if clip.suffix == ".npy" else None
    clips: list[Any] = [clip, clip]
    if array is not None and models[1].inputs[0].shape is not None and array.ndim == 5:
        fixed = models[1].inputs[0].shape
        if any(n is not None and n != m for n, m in zip(fixed[1:], array.shape[1:], strict=True)):
            clips[1] = np.ascontiguousarray(array.transpose(0, 2, 3, 4, 1))

    def explain(k: int) -> Callable[[], Any]:
        return lambda: cfp.explain(models[k], clips[k], depth=explained, device=device, threads=threads)

    first, second = measure(
        lambda: cfp.compare(*models, clip, depth=depth, device=device, threads=threads),
        (explain(0), explain(1)),
        rounds,
    )
    ratios = [x / y for x, y in zip(first, second, strict=True)]
    return {
        "a": a.name, "b": b.name, "layers": len(compared.layers), "depth": depth,
        "explained": explained, "rounds": rounds,
        "compare": statistics.median(first), "explain": statistics.median(second),
        "ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios), "limit": LIMIT,
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print a table; 1 where a ratio is above the limit."""
    parser = argparse.ArgumentParser(description="What a comparison costs, in units of the two explanations.")
    parser.add_argument("a", type=Path)
    parser.add_argument("b", type=Path)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    rows = [
        run(options.a, options.b, options.clip, depth=depth, explained=explained, rounds=options.rounds,
            threads=options.threads, device=options.device)
        for depth, explained in (("3", "3"), ("all", "all"), ("all", "3"))
    ]  # fmt: skip
    print("depth compared | explained | compare | both explanations | ratio (least to most)")
    for row in rows:
        print(
            f"{row['depth']:>14} | {row['explained']:>9} | {row['compare']:5.2f} s | {row['explain']:15.2f} s | "
            f"{row['ratio']:.2f} ({row['least']:.2f} to {row['most']:.2f})"
        )
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return int(any(row["ratio"] > LIMIT for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
