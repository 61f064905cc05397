"""The clips of a baseline, read again for the file that is checked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cfp_onnx.checking.baseline_file import Baseline, BaselineClip
from cfp_onnx.clips.clip import Clip
from cfp_onnx.clips.lists import Listed, clips_in
from cfp_onnx.clips.load import load_clip
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.errors import ClipError, UsageError
from cfp_onnx.explanation.shared_clip import ModelInputs, read_both
from cfp_onnx.model import Model


def sources_of(
    baseline: Baseline,
    clips: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None,
    folder: str | os.PathLike[str] | None,
    *,
    pictures: bool,
) -> list[tuple[BaselineClip | None, Listed]]:
    """Clips to read; named clips are recognised by their content, so they come without one of the baseline's."""
    if clips is None:
        place = Path() if folder is None else Path(folder)
        return [(clip, Listed(_within(place, clip.file))) for clip in baseline.clips]
    listed = clips_in([clips] if isinstance(clips, str | os.PathLike) else clips, pictures=pictures)
    if not listed:
        raise UsageError(
            "there is no clip to check on; name the baseline's clips, or none to take them from where they were"
        )
    return [(None, item) for item in listed]


def _within(folder: Path, file: str) -> str:
    """A path in a folder. ``..`` is resolved in the text where such a file exists, else by the file system."""
    written = os.path.normpath(folder / file)
    return str(folder / file) if not os.path.lexists(written) and (folder / file).exists() else written


@dataclass(frozen=True)
class ClipReader:
    """Reads clips of a baseline as the inputs of a model.

    Attributes:
        baseline: The baseline.
        model: The model.
        preprocess: How footage becomes input; the model's metadata, else the baseline's, where None.
        layout: Axes of an input, where they are ambiguous.
    """

    baseline: Baseline
    model: Model
    preprocess: Preprocess | None
    layout: str | None

    @property
    def takers(self) -> tuple[ModelInputs, ModelInputs]:
        """What the baseline's model took, and what this one takes."""
        old = ModelInputs(self.baseline.model.file, self.baseline.inputs, self.baseline.preprocess)
        given = self.preprocess
        if given is None and self.model.preprocess is None:
            given = self.baseline.preprocess
            if tuple(p.shape for p in self.model.inputs) != tuple(s.shape for s in old.inputs):
                given = replace(given, layout=None)
        return old, ModelInputs.of(self.model, given)

    def read(self, clip: BaselineClip | None, item: Listed) -> Clip:
        """The clip, which must be one that the baseline speaks of.

        Raises:
            ClipError: If it is not there, or another than it was.
        """
        old, new = self.takers
        path = Path(item.file)
        if clip is not None and not path.exists() and "%" not in item.file:
            raise ClipError(
                f"{item.file}: the baseline's clip is not there; say where the clips are: "
                "cfp-onnx check MODEL --baseline FILE CLIPS..."
            )
        if path.suffix.lower() in {".npy", ".npz"} and old.inputs != new.inputs:
            ours, theirs = read_both(item.file, old, new, layout=self.layout)
            return replace(theirs, file=ours.file, sha256=ours.sha256)
        return load_clip(item.file, new.inputs, preprocess=new.preprocess, layout=new.layout(self.layout))


__all__ = ["ClipReader", "sources_of"]
