"""Options: those that several commands share, each group one table, and what the text behind an option may be."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple, NoReturn

from cfp_onnx.errors import UsageError
from cfp_onnx.relevance.holds import HOLDS
from cfp_onnx.text import either

PROGRAM = "cfp-onnx"


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of ending the program, and can list what it takes.

    Attributes:
        suggestions: By destination, what a shell may offer for it; other values may be right too.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.suggestions: dict[str, tuple[str, ...]] = {}

    def error(self, message: str) -> NoReturn:
        """Refuses the command line.

        Raises:
            UsageError: Always.
        """
        raise UsageError(f"{message}; see {self.prog} --help")

    def suggest(self, destination: str, values: Collection[str]) -> None:
        """Names values that a shell may offer for an option or argument."""
        self.suggestions[destination] = tuple(values)

    def arguments(self) -> tuple[argparse.Action, ...]:
        """Everything that was added, in the order of the help text."""
        return tuple(self._actions)


class Option(NamedTuple):
    """One option of a table.

    Attributes:
        flag: As it is typed.
        destination: Its name among the parsed options.
        type: What reads its text; `bool` for a flag that has none.
        metavar: What stands for its value in the help text; None where `choices` stand there.
        help: Its line of the help text.
        default: Its value where it is not given.
        choices: The only values it may have; empty for any that `type` reads.
        suggestions: Values that a shell may offer, where there are others too.
        repeatable: Whether it may be given several times; the value is then a list.
    """

    flag: str
    destination: str
    type: Callable[[str], Any]
    metavar: str | None
    help: str | None
    default: Any = None
    choices: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    repeatable: bool = False


def alternatives(names: Iterable[str], default: str = "") -> str:
    """Names as a help text lists them: ``a (default), b or c``."""
    listed = [f"{name} (default)" if name == default else name for name in names]
    return either(listed)


def count(text: str) -> int:
    """A whole number of at least 1; what has over ten digits counts by its first ten."""
    if not (text.isascii() and text.isdigit()) or int(text[:10]) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text[:10])


def whole(text: str) -> int:
    """A whole number of at least 0."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text[:10])


def number(text: str) -> float:
    """Any number, NaN and infinity included: the library refuses what it cannot use."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def numbers(text: str) -> tuple[float, ...]:
    """One number, or one per colour."""
    values = tuple(number(part) for part in text.split(","))
    if len(values) not in (1, 3):
        raise argparse.ArgumentTypeError(f"{text!r} must be one number or three, such as 0.5,0.5,0.5")
    return values


def size(text: str) -> tuple[int, int]:
    """Height and width, at least 1 each."""
    found = re.fullmatch(r"([1-9][0-9]{0,6})[xX×]([1-9][0-9]{0,6})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} must be height x width, such as 112x112")
    return int(found[1]), int(found[2])


def device(text: str) -> str:
    """The name of a device, as the library takes it."""
    if re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?|tensorrt(:[0-9]+)?", text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is unknown; choose auto, cpu, cuda, cuda:N or tensorrt")
    return text


def named_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """The name of an input, empty where none is given, and its sizes: none (``sr=``) of a single number."""
    name, _, sizes = text.rpartition("=")
    if name and not sizes:  # a single number has no axes
        return name, ()
    parts = sizes.replace("x", ",").split(",")
    if not all(p.isascii() and p.isdigit() and 1 <= int(p[:10]) < 2**31 for p in parts):
        raise argparse.ArgumentTypeError(
            f"{text!r} must be sizes of at least 1, as 1,3,16,112,112 or NAME=1,3,16,112,112"
        )
    return name, tuple(int(p) for p in parts)


def named_input(text: str) -> tuple[str, str]:
    """The name of an input, and a number, numbers or a file."""
    name, found, value = text.partition("=")
    if not (name and found and value):
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME=VALUE, such as sr=16000, or NAME=FILE.npy")
    return name, value


def holds(text: str) -> tuple[str, ...]:
    """Some of `HOLDS`, with commas between; the library refuses other names."""
    if text in {"all", "none"}:
        return HOLDS if text == "all" else ()
    return tuple(part.strip() for part in text.split(","))


def tube(text: str) -> tuple[str, str]:
    """The kind and the unit of a drawing; each kind has a usual unit."""
    from cfp_onnx.pyramid.drawings import tube_kind

    try:
        return tube_kind(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


PRESETS = ("resnet3d", "resnet50-3d", "resnet101-3d", "resnet152-3d", "resnext101-3d", "mfnet", "i3d", "imagenet")
"""What is suggested for ``--preset``: the names of `cfp_onnx.clips.presets.PRESETS`, which takes long to import."""

TUBES = (
    "evidence",
    "evidence:layer",
    *(f"{kind}{unit}" for kind in ("activation", "relevance") for unit in ("", ":kernel", ":layer", ":depth")),
)
"""What is suggested for ``--tube``."""

CLIP = (
    Option("--layout", "layout", str, "NCTHW|..", "axes of the model's input, where they are ambiguous"),
    Option("--labels", "labels", str, "F", "class names, as text, CSV, YAML or JSON"),
    Option("--frames", "frames", count, "N", "frames to sample"),
    Option("--stride", "stride", count, "S", "step between sampled frames"),
    Option("--start", "start", whole, "N", "first frame that may be used (0)"),
    Option("--end", "end", count, "N", "first frame behind those that may be used (all)"),
    Option("--clips", "view_clips", count, "N", "clips of a model that takes several views at once (what it leaves)"),
    Option("--crops", "view_crops", count, "1|3", "places along the longer side that each clip is cut from (1)"),
    Option("--size", "size", size, "HxW", "height and width in pixels"),
    Option("--mean", "mean", numbers, "R,G,B", "subtracted, on the 0..1 scale"),
    Option("--std", "std", numbers, "R,G,B", "divided by, on the 0..1 scale"),
    Option("--preprocess", "preprocess", str, "FILE", "preprocessing as JSON"),
    Option(
        "--preset", "preset", str, "NAME", "preprocessing of a known family: resnet3d, mfnet, i3d ...",
        suggestions=PRESETS,
    ),
)  # fmt: skip
"""How a clip becomes what a model takes, and what its classes are called."""

RUN = (
    Option(
        "--device", "device", device, "auto|cpu|cuda[:N]|tensorrt", None, "auto",
        suggestions=("auto", "cpu", "cuda", "tensorrt"),
    ),
    Option("--threads", "threads", count, "N", "threads on the CPU"),
    Option("--allow-barriers", "allow_barriers", bool, None, "pass over unknown operators, and say so", default=False),
)  # fmt: skip
"""What a model runs on, and what it may hold."""

DRAWING = (
    Option(
        "--tube", "tube", tube, "KIND[:UNIT]",
        "tubes to draw: evidence for and against the class (:layer for each layer's), or activation or relevance of "
        "each kernel, layer or depth, such as activation:layer; repeat for several (evidence, and the strongest kernel "
        "at up to four depths)",
        (), suggestions=TUBES, repeatable=True,
    ),
    Option("--tube-top", "tube_top", count, "N", "most tubes per depth that --tube draws (3)", 3),
    Option("--animation", "animation", str, None, "file type of moving tubes (mp4)", "mp4", ("mp4", "gif", "none")),
)  # fmt: skip
"""Which tubes are drawn, and how: the fields of `cfp_onnx.pyramid.drawings.DrawingOptions`."""

ALTERNATIVES = frozenset({"preprocess", "preset"})
"""Destinations of `CLIP` of which a command line gives one at most."""


def add_shared(
    parser: Parser,
    table: tuple[Option, ...],
    *,
    without: Collection[str] = (),
    changes: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Adds a table of options to a command.

    Args:
        parser: The command's.
        table: `CLIP`, `RUN` or `DRAWING`.
        without: Destinations that the command does not take.
        changes: By destination, fields of the option that differ for this command.
    """
    taken = [row for row in table if row.destination not in without]
    one_of = any(row.destination in ALTERNATIVES for row in taken)
    alternatives = parser.add_mutually_exclusive_group() if one_of else parser
    for row in taken:
        option = row._replace(**(changes or {}).get(row.destination, {}))
        group = alternatives if option.destination in ALTERNATIVES else parser
        group.add_argument(option.flag, dest=option.destination, **_settings(option))
        if option.suggestions:
            parser.suggest(option.destination, option.suggestions)


def _settings(option: Option) -> dict[str, Any]:
    """How argparse is told of an option."""
    if option.type is bool:
        return {"action": "store_true", "default": option.default, "help": option.help}
    settings = {"type": option.type, "metavar": option.metavar, "help": option.help, "default": option.default}
    if option.choices:
        settings["choices"] = option.choices
    if option.repeatable:
        settings |= {"action": "append", "default": list(option.default)}
    return settings


__all__ = [
    "CLIP",
    "DRAWING",
    "PROGRAM",
    "RUN",
    "Option",
    "Parser",
    "add_shared",
    "count",
    "holds",
    "named_input",
    "named_shape",
    "number",
    "size",
]
