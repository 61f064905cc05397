"""``python -m benchmarks.tubes``: class tubes of the zoo's networks, or of one file for motion clips."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import benchmarks.tubes as package
from benchmarks.demo_model import DEMO
from benchmarks.tubes.maps import Explainer, judged, randomised
from benchmarks.tubes.scenes import Scene, of_motion, of_zoo
from benchmarks.tubes.tables import Judged, as_json, markdown
from benchmarks.zoo.catalogue import entries
from cfp_onnx.model import load

PAIRS = 24


def measure(found: Judged, path: Path, scenes: Iterator[Scene], folder: Path) -> None:
    """Judge all maps of one network.

    Args:
        found: Where the figures go.
        path: The network.
        scenes: What it is asked.
        folder: For its copy with random weights.
    """
    own, random = Explainer(load(path)), Explainer(load(randomised(path, folder, seed=0)))
    for scene in scenes:
        for name, tube in judged(own, random, scene.clip, scene.frames, scene.label).items():
            found.note(name, tube, scene)
        found.close(scene)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tubes", description=(package.__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--model", type=Path, help="judge this file alone, on motion clips")
    parser.add_argument("--demo", action="store_true", help="judge the demonstration network alone")
    parser.add_argument("--kinds", nargs="+", help="only these kinds of the zoo's networks")
    parser.add_argument("--role", choices=("choose", "table", "all"), default="table", help="half of the zoo's seeds")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="clips with two movers of each network")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args(arguments)
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for judged_, path, scenes in _subjects(given, folder):
            start = time.perf_counter()
            measure(judged_, path, scenes, folder)
            found.append(judged_)
            print(f"{judged_.name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    text = markdown(found)
    print(text)
    if given.markdown is not None:
        given.markdown.write_text(text + "\n", encoding="utf-8")
    if given.json is not None:
        given.json.write_text(json.dumps(as_json(found), indent=1) + "\n", encoding="utf-8")
    return 0


def _subjects(given: argparse.Namespace, folder: Path) -> Iterator[tuple[Judged, Path, Iterator[Scene]]]:
    if given.demo or given.model:
        path = given.model or DEMO
        yield Judged(path.stem, path.stem, ""), path, of_motion(given.pairs)
        return
    for entry in entries(role=None if given.role == "all" else given.role, kinds=given.kinds):
        name = f"{entry.kind}-{entry.seed}"
        yield Judged(name, entry.kind, entry.role), entry.write(folder), of_zoo(entry, given.pairs)


if __name__ == "__main__":
    sys.exit(main())
