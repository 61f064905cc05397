"""The check: does a file still decide as its baseline did, and for the same reasons?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cfp_onnx import runtime
from cfp_onnx.checking.answers import checked_clip
from cfp_onnx.checking.baseline import without_time
from cfp_onnx.checking.baseline_file import Baseline, load_baseline
from cfp_onnx.checking.case import Observed
from cfp_onnx.checking.clips import ClipReader, sources_of
from cfp_onnx.checking.first_change import first_change
from cfp_onnx.checking.judge import checked_layer
from cfp_onnx.checking.notes import notes_on_policy, notes_on_run
from cfp_onnx.checking.policy import Policy
from cfp_onnx.checking.result import Checked
from cfp_onnx.checking.values import BaselineFacts, CheckRun, FileFacts, RunThen
from cfp_onnx.clips.preprocess import Preprocess
from cfp_onnx.files.whole import folder_of
from cfp_onnx.model import Model, load
from cfp_onnx.values import Progress


def check(
    model: Model | str | os.PathLike[str],
    baseline: Baseline | str | os.PathLike[str],
    clips: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    *,
    policy: Policy | None = None,
    layout: str | None = None,
    preprocess: Preprocess | None = None,
    device: str = "auto",
    threads: int | None = None,
    barriers: bool = False,
    folder: str | os.PathLike[str] | None = None,
    name: str | None = None,
    progress: Progress | None = None,
) -> Checked:
    """Compare a file with a baseline.

    Args:
        model: A model or its path.
        baseline: A baseline or its path.
        clips: Where the baseline's clips are; where it says they are by default.
        policy: Limits; the defaults where None.
        layout: Axes of an input, where they are ambiguous.
        preprocess: How footage becomes input; the model's metadata, else the baseline's, by default.
        device: auto, cpu, cuda, cuda:N or tensorrt.
        threads: Threads of the CPU provider.
        barriers: Whether unknown operators on channel paths are passed over.
        folder: What the baseline's paths are relative to; its own folder by default.
        name: What the baseline is called in the result; its file's name by default.
        progress: Told how far the work is.

    Raises:
        CfpError: With one sentence that says what cannot be used and what to do.
    """
    if not isinstance(baseline, Baseline):
        folder = folder_of(baseline) if folder is None else folder
        name = name or Path(baseline).name
        baseline = load_baseline(baseline)
    loaded = model if isinstance(model, Model) else load(model)
    sources = sources_of(baseline, clips, folder, pictures=without_time(loaded))
    reader = ClipReader(baseline, loaded, preprocess, layout)
    observed = Observed(loaded, baseline, runtime.Device(device, threads), barriers)
    for n, (clip, item) in enumerate(sources):
        if progress is not None:
            progress("checking", n, len(sources))
        observed.look(clip, reader.read(clip, item))
    return _result(observed, policy or Policy(), name or "a baseline")


def _result(observed: Observed, policy: Policy, name: str) -> Checked:
    case, recorder = observed.case(policy), observed.recorder
    layers = tuple(checked_layer(case, match) for match in case.matches)
    eight_bits = recorder.network.precision == "int8"
    then, before = case.baseline.model, case.baseline.run
    return Checked(
        model=FileFacts.of(observed.model),
        baseline=BaselineFacts(name, then.file, then.sha256, then.producer, then.opset),
        run=CheckRun(
            before.rule, before.depth, recorder.engine.provider(), runtime.import_onnxruntime().__version__,
            RunThen(before.provider, before.onnxruntime, before.cfp_onnx),
        ),
        layers=layers, clips=tuple(checked_clip(case, clip, sight) for clip, sight in case.seen),
        missing=case.missing, added=case.added, first=first_change(case, layers, eight_bits=eight_bits),
        max_flips=policy.max_flips,
        notes=(*notes_on_run(case, recorder, len(observed.model.outputs)), *notes_on_policy(case)),
    )  # fmt: skip


__all__ = ["check"]
