"""A baseline made anew of another file, on the clips, classes, rule and depth of the old one."""

from __future__ import annotations

import os
from collections.abc import Sequence

from cfp_onnx import runtime
from cfp_onnx.checking.baseline import baseline, without_time
from cfp_onnx.checking.baseline_file import Baseline
from cfp_onnx.checking.clips import ClipReader, sources_of
from cfp_onnx.checking.recorders import deciding_output
from cfp_onnx.clips.lists import Listed
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.errors import UsageError
from cfp_onnx.model import Model, load
from cfp_onnx.values import Progress


def renewed(
    model: Model | str | os.PathLike[str],
    old: Baseline,
    clips: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    *,
    layout: str | None = None,
    preprocess: Preprocess | None = None,
    device: str = "auto",
    threads: int | None = None,
    barriers: bool = False,
    folder: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Baseline:
    """The baseline of a file on another baseline's clips, classes, rule and depth.

    Args:
        model: A model or its path.
        old: The other baseline.
        clips: Where its clips are; where it says they are by default.
        layout: Axes of an input, where they are ambiguous.
        preprocess: How footage becomes input; the model's metadata, else the old baseline's, by default.
        device: auto, cpu, cuda, cuda:N or tensorrt.
        threads: Threads of the CPU provider.
        barriers: Whether unknown operators on channel paths are passed over.
        folder: What the old baseline's paths are relative to, and the new one's will be.
        progress: Told how far the work is.

    Raises:
        CfpError: With one sentence that says what cannot be used and what to do.
    """
    loaded = model if isinstance(model, Model) else load(model)
    reader = ClipReader(old, loaded, preprocess, layout)
    sources = sources_of(old, clips, folder, pictures=without_time(loaded))
    listed: dict[int, Listed] = {}
    for clip, item in sources:
        content = None if clip is not None else reader.read(clip, item).sha256
        for n, found in enumerate(old.clips):
            if found is clip or found.sha256 == content:
                listed.setdefault(n, Listed(item.file, found.index))
    if len(listed) < len(old.clips):
        raise UsageError(
            f"{len(listed)} of the baseline's {len(old.clips)} clips were named, and a new one would lose the others; "
            "name all of them, or none to take them from where they were"
        )
    output = deciding_output(loaded, old, reader.read(*sources[0]), runtime.Device(device, threads))
    return baseline(
        loaded, list(listed.values()), output=output, rule=old.run.rule, depth=old.run.depth, layout=layout,
        labels=old.labels if loaded.labels is None else None,
        preprocess=reader.takers[1].preprocess, device=device, threads=threads, barriers=barriers,
        relative_to=folder, progress=progress,
    )  # fmt: skip


__all__ = ["renewed"]
