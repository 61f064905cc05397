"""``python -m benchmarks.truth``: every rule on every network of the zoo, or on one file."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import benchmarks.truth as package
from benchmarks.motion.clips import TEST_SEED
from benchmarks.truth.measuring import measure
from benchmarks.truth.subjects import Subject, of_file, of_zoo
from benchmarks.truth.tables import Table, as_json, markdown
from benchmarks.truth.variants import available, named
from benchmarks.zoo.catalogue import entries
from cfp_onnx.errors import CfpError

CLIPS = 24


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.truth", description=package.__doc__)
    parser.add_argument("--model", type=Path, help="judge this file alone, on motion clips where it takes them")
    parser.add_argument("--kinds", nargs="+", help="only these kinds of the zoo's networks")
    parser.add_argument("--role", choices=("choose", "table", "all"), default="table", help="half of the zoo's seeds")
    parser.add_argument("--clips", type=int, default=CLIPS, help="of each network")
    parser.add_argument("--first-seed", type=int, default=TEST_SEED, help="of a file's clips; training stays below")
    parser.add_argument("--rules", nargs="+", metavar="RULE", help="; ".join(v.name for v in available()))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--cache", type=Path, help="folder where results of removal are kept, which is most of the work"
    )
    parser.add_argument("--peers", type=Path, metavar="PYTHON", help="an interpreter with PyTorch, for others' methods")
    parser.add_argument("--layers", action="store_true", help="print rho layer by layer too")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args(arguments)
    try:
        variants = available() if given.rules is None else named(given.rules)
        with tempfile.TemporaryDirectory() as folder:
            measured = []
            for subject in _subjects(given, Path(folder)):
                how = {"cache": given.cache, "threads": given.threads, "peers_python": given.peers}
                measured.append(measure(subject, variants, **how))
                print(f"{subject.name}: {sum(measured[-1].seconds.values()):.0f} s", file=sys.stderr)
    except (CfpError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    if not measured:
        parser.exit(1, "the zoo has no such network\n")
    table = Table(measured)
    text = markdown(table, layers=given.layers)
    print(text)
    if given.markdown is not None:
        given.markdown.write_text(text + "\n", encoding="utf-8")
    if given.json is not None:
        given.json.write_text(json.dumps(as_json(table), indent=1) + "\n", encoding="utf-8")
    return 0


def _subjects(given: argparse.Namespace, folder: Path) -> Iterator[Subject]:
    if given.model is not None:
        yield of_file(given.model, given.clips, first_seed=given.first_seed)
        return
    role = None if given.role == "all" else given.role
    for entry in entries(role=role, kinds=given.kinds):
        yield of_zoo(entry, given.clips, folder)


if __name__ == "__main__":
    raise SystemExit(main())
