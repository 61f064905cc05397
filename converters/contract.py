"""What every converter shares with the core: a request comes in; a model, a probe and a report go out.

A converter is one function from a `Request` to a `Converted`, run by `main`. This file knows no framework, and needs
nothing but NumPy and onnx (1.14 or later), since it runs in the environment of each.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from refusal import Refusal, first_cause, first_line, listed
from repairs import clean, pin, refuse_broken, rename, repair

Array = np.ndarray
Clip = Mapping[str, Array]
"""One array per input, by its name."""

Run = Callable[[Clip], Mapping[str, Array]]
Answer = Callable[[Clip], Sequence[Array]]

CLIPS = 3
LIMIT = 2**31 - 2**20
"""Bytes above which protobuf cannot hold a model in one file."""

ROUNDING = 1e-4
"""Largest difference between two runs of one clip, relative to the largest output where that is above 1."""

MIXING = 1e-3
"""The same of a clip alone and beside another one, where batches of other sizes take other kernels."""


@dataclass(frozen=True)
class Request:
    """What the core asks for.

    Attributes:
        source: A file, a folder, ``module:factory`` or the prefix of a pair of files; empty where `arch` is given.
        weights: A file of weights for what has none of its own.
        input_shape: Sizes with the batch first, of the only input or by name; None where `arch` has its own.
        batch: ``"dynamic"`` or a number.
        opset: Version of ONNX's operator set, or None for the converter's own choice.
        seed: Of the random clips, and of random weights.
        cwd: Folder in which the user called, where code is looked for too.
        arch: A network that the converter has the code of.
        classes: Classes of `arch`.
        frames: Frames that `arch` takes.
        size: Height and width that `arch` takes, or one number for both.
        allow_pickle: Whether a pickle may be loaded, which can run any code.
        out: Folder for the results. A converter may leave the weights of a large model there as ``model.onnx.data``.
    """

    source: str
    weights: str | None
    input_shape: list[int] | dict[str, list[int]] | None
    batch: str | int
    opset: int | None
    seed: int
    cwd: str | None
    arch: str | None = None
    classes: int | None = None
    frames: int | None = None
    size: int | list[int] | None = None
    allow_pickle: bool = False
    out: Path = Path()

    @classmethod
    def read(cls, file: Path, out: Path) -> Request:
        """The request in a file, with the folder for its results.

        Raises:
            Refusal: If it is of another format.
        """
        order = json.loads(file.read_text(encoding="utf-8"))
        if order.get("format") != 1:
            raise Refusal(f"the request is of format {order.get('format')!r}, not 1: core and converter do not match")
        assumed = {"source": "", "batch": "dynamic", "seed": 0, "allow_pickle": False, "out": out}
        given = {key: value for key in cls.__dataclass_fields__ if (value := order.get(key)) is not None}
        return cls(**{**dict.fromkeys(cls.__dataclass_fields__), **assumed, **given})

    @property
    def fixed(self) -> int | None:
        """The batch that was asked for, where it is a number."""
        return None if self.batch == "dynamic" else int(self.batch)

    def opset_between(self, lowest: int, highest: int, *, default: int) -> int:
        """The operator set to write.

        Raises:
            Refusal: If the exporter cannot write the one asked for.
        """
        if self.opset is None:
            return default
        if not lowest <= self.opset <= highest:
            raise Refusal(f"--opset {self.opset}: this exporter writes {lowest} to {highest}; choose one of these")
        return self.opset

    def shapes(self, declared: Mapping[str, Sequence[int | None] | None]) -> dict[str, list[int]]:
        """Sizes of every input, batch first.

        Args:
            declared: What the source says of its inputs; None where it leaves a size, or all of them, open.

        Raises:
            Refusal: If names or sizes contradict the source.
        """
        if isinstance(self.input_shape, dict):
            if set(self.input_shape) != set(declared):
                raise Refusal(
                    f"--input-shape names {listed(self.input_shape)}, but the inputs are {listed(declared)}; name these"
                )
            wanted = self.input_shape
        elif len(declared) == 1:
            wanted = dict.fromkeys(declared, self.input_shape)
        else:
            raise Refusal(
                f"{self.source} has {len(declared)} inputs, {listed(declared)}; give --input-shape NAME=.. for each"
            )
        for name, sizes in declared.items():
            _check_sizes(self.source, name, sizes, wanted[name])
        return {name: [self.fixed or wanted[name][0], *wanted[name][1:]] for name in declared}  # in the source's order

    def shapes_and_batch(
        self, declared: Mapping[str, Sequence[int | None] | None], *, verb: str = "saved"
    ) -> tuple[dict[str, list[int]], int | None]:
        """Sizes of every input, and the batch that the graph must be written for; None where it may vary.

        Args:
            declared: What the source says of its inputs; None where it leaves a size, or all of them, open.
            verb: How sources of this kind came to be, for the sentence.

        Raises:
            Refusal: If names, sizes or the batch contradict the source.
        """
        shapes = self.shapes(declared)
        own = {sizes[0] for sizes in declared.values() if sizes} - {None}
        if own and self.fixed not in {None, *own}:
            raise Refusal(f"{self.source} was {verb} for a batch of {own.pop()}; ask for that with --batch")
        fixed = self.fixed or (own.pop() if own else None)
        return {name: [fixed or sizes[0], *sizes[1:]] for name, sizes in shapes.items()}, fixed

    def shapes_of_code(self) -> dict[str, list[int]]:
        """Sizes of the inputs of code, which declares none: those that were named, or one called ``clip``."""
        return self.shapes(dict.fromkeys(self.input_shape if isinstance(self.input_shape, dict) else ["clip"]))


@dataclass(frozen=True)
class Converted:
    """A graph and the framework that it came from.

    Attributes:
        model: What the exporter wrote.
        run: The framework itself: inputs by name to outputs by name, the names of `model`.
        shapes: Sizes of the inputs, batch first.
        fixed: The batch that the graph was written for, or None where it may vary.
        framework: Name and version.
        exporter: Name and version.
        kind: What the source was found to be.
        notes: What was repaired or left open; one sentence each.
        answered: Random clips with the framework's outputs, where it was run before the export; `run` is left out then.
        pinned: Whether the exporter itself wrote the sizes of inputs and outputs as they must be.
    """

    model: onnx.ModelProto
    run: Run | None
    shapes: Mapping[str, Sequence[int]]
    fixed: int | None
    framework: str
    exporter: str
    kind: str
    notes: Sequence[str] = field(default=())
    answered: Sequence[tuple[Clip, Mapping[str, Array]]] = ()
    pinned: bool = False


def main(convert: Callable[[Request], Converted]) -> int:
    """Run a converter as a program: ``convert.py REQUEST.json OUTDIR``.

    Returns:
        The exit code: 0, or 2 where the last line of stderr says why not.
    """
    if len(sys.argv) != 3:
        print("usage: convert.py REQUEST.json OUTDIR", file=sys.stderr)
        return 2
    try:
        request = Request.read(*map(Path, sys.argv[1:]))
        _write(convert(request), request)
    except Refusal as refusal:
        sys.stdout.flush()
        print(" ".join(str(refusal).split()), file=sys.stderr, flush=True)
        return 2
    return 0


def _write(made: Converted, request: Request) -> None:
    model, out = made.model, request.out
    notes = [*made.notes, *repair(model, made.shapes)]
    if not made.pinned:
        pin(model, made.shapes, made.fixed)
    refuse_broken(model)
    clean(model)
    np.savez(out / "probe.npz", **_probe(made, request.seed))
    report = {
        "format": 1,
        "framework": made.framework,
        "exporter": made.exporter,
        "source_kind": made.kind,
        "notes": notes,
        "opset": next(o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}),
    }
    if model.ByteSize() < LIMIT:
        onnx.save(model, str(out / "model.onnx"))
    else:
        beside = {"all_tensors_to_one_file": True, "location": "model.onnx.data"}
        onnx.save(model, str(out / "model.onnx"), save_as_external_data=True, **beside)
    (out / "report.json").write_text(json.dumps(report), encoding="utf-8")


def _probe(made: Converted, seed: int) -> dict[str, Array]:
    """Random clips and the framework's own outputs: two of batch 1 and one of batch 2, or all of the fixed batch."""
    answered, rng = made.answered, np.random.default_rng(seed)
    if not answered:
        batches = (made.fixed,) * CLIPS if made.fixed else (*[1] * (CLIPS - 1), 2)
        answered = [(clip := random_clip(rng, made.shapes, batch), made.run(clip)) for batch in batches]
    arrays = {}
    for k, (clip, outputs) in enumerate(answered):
        arrays.update({f"input_{k}_{name}": array for name, array in clip.items()})
        arrays.update({f"output_{k}_{name}": np.asarray(array) for name, array in outputs.items()})
    return arrays


def _check_sizes(source: str, name: str, declared: Sequence[int | None] | None, wanted: Sequence[int]) -> None:
    if declared is None:
        return
    fits = len(declared) == len(wanted) and all(
        d is None or d == w for d, w in zip(list(declared)[1:], list(wanted)[1:], strict=True)
    )
    if not fits:
        own = ",".join("?" if d is None else str(d) for d in [1, *list(declared)[1:]])
        given = ",".join(map(str, wanted))
        raise Refusal(f"{source}: input {name!r} is {own}, not {given}; give that with --input-shape")


# ---------------------------------------------------------------------------------------------- the user's own code


def look_in(folder: str | None) -> None:
    """Lets the user's own modules be found, also those that are named like a file of the converters."""
    folders = {Path(__file__).parent, Path(sys.modules["__main__"].__file__).parent}
    for file in (file for own in folders for file in own.glob("*.py")):
        if getattr(sys.modules.get(file.stem), "__file__", None) == str(file):
            del sys.modules[file.stem]
    sys.path[:] = [*(place for place in sys.path if Path(place) not in folders), folder or "."]


def from_code(request: Request, ready: type | tuple[type, ...]) -> Any:
    """What ``module:factory`` or ``file.py:factory`` names where it is of a `ready` type, else what that makes.

    Raises:
        Refusal: If it cannot be imported or fails.
    """
    where, _, name = request.source.rpartition(":")
    try:
        found: Any = _imported(where, Path(request.cwd or "."))
        for part in name.split("."):
            found = getattr(found, part)
        return found if isinstance(found, ready) else found()
    except (Exception, SystemExit) as error:  # it is the user's code, which may end the program while it is imported
        alone = "relative import" in str(error)
        advice = "name it by its packages, as package.module:factory" if alone else "see where it is imported"
        raise Refusal(f"{request.source}: cannot be made ({type(error).__name__}: {error}); {advice}") from error


def _imported(where: str, folder: Path) -> Any:
    """A module by its name, or by its file."""
    file = (folder / where).absolute()
    if not where.endswith(".py"):
        return importlib.import_module(where)
    place, names = file.parent, [file.stem]
    while (place / "__init__.py").is_file():  # relative imports want the packages that it lies in
        place, names = place.parent, [place.name, *names]
    sys.path.insert(0, str(place))
    if len(names) > 1:
        sys.path.insert(0, str(file.parent))
        return importlib.import_module(".".join(names))
    name = file.stem if file.stem not in sys.modules else f"{file.stem}_of_the_source"  # it may be called as a library
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module in {where}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def refuse_other_weights(
    file: str | Path | None, own: Mapping[str, Any], given: Mapping[str, Any], *, what: str,
    optional: Sequence[str] | set[str] = (),
) -> None:  # fmt: skip
    """Refuses a file of weights that are not a network's.

    Args:
        file: Where they are from.
        own: The network's arrays by name.
        given: The file's.
        what: What of the network to check, for the sentence.
        optional: Names that may be missing.

    Raises:
        Refusal: If names are missing or left over, or sizes differ; the message lists them.
    """
    sizes, found = ({name: tuple(np.shape(a)) for name, a in arrays.items()} for arrays in (own, given))
    wrong = [
        *(f"missing {name}" for name in sizes if name not in found and name not in optional),
        *(f"left over {name}" for name in found if name not in sizes),
        *(f"{n} is {found[n]}, not {sizes[n]}" for n in sizes if n in found and found[n] != sizes[n]),
    ]
    if wrong:
        more = f" and {len(wrong) - 12} more" if len(wrong) > 12 else ""
        raise Refusal(
            f"{file}: its weights are not those of this network: {', '.join(wrong[:12])}{more}; "
            f"check the network's {what} and the number of classes"
        )


# ------------------------------------------------------------------------------------------------------ random clips


def random_clip(
    rng: np.random.Generator, shapes: Mapping[str, Sequence[int]], batch: int, offset: float = 0.0
) -> dict[str, Array]:
    """Normal numbers around `offset` for every input."""
    return {n: (rng.standard_normal((batch, *s[1:])) + offset).astype(np.float32) for n, s in shapes.items()}


def output_names(count: int) -> list[str]:
    """Names for outputs that have none: ``logits`` for the only one, else numbers."""
    return ["logits"] if count == 1 else [f"output_{k}" for k in range(count)]


def close(ours: Sequence[Array], theirs: Sequence[Array], tolerance: float) -> bool:
    """Whether outputs are the same up to rounding, relative to the largest of `theirs` where that is above 1."""

    def same(one: Array, other: Array) -> bool:
        limit = tolerance * max(1.0, float(np.abs(other).max(initial=0.0)))
        return one.shape == other.shape and np.allclose(one, other, rtol=0.0, atol=limit, equal_nan=True)

    pairs = zip(ours, theirs, strict=False)
    return len(ours) == len(theirs) and all(same(*(np.asarray(a, np.float64) for a in pair)) for pair in pairs)


def unsteady(answer: Answer, clips: Clip, *, fixed: bool) -> str | None:
    """How a network shows that it still trains, if it does.

    Args:
        answer: The network.
        clips: Two clips in one batch, or as many as it takes.
        fixed: Whether it takes no other batch.

    Returns:
        ``"again"`` where outputs change from run to run, ``"beside"`` where they depend on the clips beside.
    """
    first, again = answer(clips), answer(clips)
    if not close(again, first, ROUNDING):
        return "again"
    if fixed:
        return None
    alone = answer({name: array[:1] for name, array in clips.items()})
    pairs = [(own[:1], single) for own, single in zip(first, alone, strict=True) if np.ndim(own)]
    return None if all(close([one], [other], ROUNDING) for one, other in pairs) else "beside"


def same_beside(answer: Answer, clips: Sequence[Clip], alone: Sequence[Sequence[Array]]) -> bool | None:
    """Whether clips give the same outputs beside each other as alone.

    Args:
        answer: The network.
        clips: Clips of batch 1.
        alone: Its outputs on each.

    Returns:
        None where it does not take them together.
    """
    try:
        both = answer({name: np.concatenate([clip[name] for clip in clips]) for name in clips[0]})
    except Refusal:
        both = []
    if not both or any(array.ndim == 0 or len(array) != len(clips) for array in both):
        return None
    return all(close([array[k : k + 1] for array in both], own, MIXING) for k, own in enumerate(alone))


__all__ = [
    "MIXING",
    "Array",
    "Clip",
    "Converted",
    "Refusal",
    "Request",
    "close",
    "first_cause",
    "first_line",
    "from_code",
    "listed",
    "look_in",
    "main",
    "output_names",
    "random_clip",
    "refuse_other_weights",
    "rename",
    "same_beside",
    "unsteady",
]
