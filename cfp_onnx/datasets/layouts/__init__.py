"""How data sets lie on disk, one module each; a new one is a module and a row of the table here."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from cfp_onnx.errors import UsageError

if TYPE_CHECKING:
    from cfp_onnx.clips.manifest import Manifest
    from cfp_onnx.datasets.layouts.tree import Asked


@dataclass(frozen=True)
class Layout:
    """One layout.

    Attributes:
        module: The module whose `read` reads it.
        sentence: What it looks like, for people.
        tasks: Tasks that have classes of their own; none where there is one.
    """

    module: str
    sentence: str
    tasks: tuple[str, ...] = ()


TASKS = ("verb", "noun", "action")

LAYOUTS = {
    "kinetics": Layout("kinetics", "CSV of labels, ids and times; {id}_{start}_{end}.mp4 in class folders or flat"),
    "ucf101": Layout("ucf101", "classInd.txt, trainlist01.txt, testlist01.txt; Class/v_Class_g01_c01.avi"),
    "hmdb51": Layout("hmdb51", "<class>_test_split1.txt with 0, 1 or 2 behind each video; class folders"),
    "epic-kitchens": Layout("epic_kitchens", "CSV of segments; frames, tars of frames or videos by participant", TASKS),
    "egtea": Layout("egtea", "train_split1.txt, action_idx.txt; cropped_clips/<video>/<clip>.mp4", TASKS),
    "list": Layout("listed", "one clip a line with its class; frames with their number, and their start"),
    "folder": Layout("folder", "one folder for each class, with videos or folders of frames"),
    "csv": Layout("table", "a CSV with a heading: path, label, and what else a row has"),
    "tao": Layout("tao", "class/video/rgb/000000.png"),
    "database": Layout("database", "one folder for each class, with frame databases (SQLite)"),
}
"""Name on the command line to the layout."""


def read(layout: str, asked: Asked) -> Manifest:
    """The clips of a data set.

    Args:
        layout: One of `LAYOUTS`.
        asked: Where it lies, and which part of it is wanted.

    Raises:
        UsageError: If there is no such layout, or the data set lacks what the layout needs.
    """
    found = LAYOUTS.get(layout)
    if found is None:
        raise UsageError(f"{layout!r} is no layout of a data set; choose one of {', '.join(LAYOUTS)}")
    if asked.task is not None and asked.task not in found.tasks:
        told = f"choose one of {', '.join(found.tasks)}" if found.tasks else "it has one task, leave it out"
        raise UsageError(f"{layout} has no task {asked.task!r}; {told}")
    module = importlib.import_module(f"{__name__}.{found.module}")
    return cast("Manifest", module.read(asked))


__all__ = ["LAYOUTS", "Layout", "read"]
