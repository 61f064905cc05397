"""What else a reader of a check should know, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from cfp_onnx.checking.case import Case
from cfp_onnx.checking.fingerprint import Recorder
from cfp_onnx.checking.judge import above_noise
from cfp_onnx.checking.policy import named


def notes_on_run(case: Case, recorder: Recorder, outputs: int) -> Iterator[str]:
    """What was not as it was when the baseline was made, or could not be looked at.

    Args:
        case: What was judged.
        recorder: What looked at the first clip.
        outputs: Outputs of the file.
    """
    baseline, engine = case.baseline, recorder.engine
    if engine.output != baseline.run.output and outputs > 1:
        yield f"there is no output {baseline.run.output!r}, {engine.output!r} is looked at in its place"
    if left := len(baseline.clips) - len(case.seen):
        yield f"{left} of the baseline's {len(baseline.clips)} clips were not looked at"
    if not engine.coverage.complete:
        yield f"the file could be followed in part only: {100 * engine.coverage.channels:.1f} % of its channels"
    moved = [baseline.traits[m.old].name for m in case.matches if m.reordered]
    if moved:
        yield f"kernels stand in another order in {_layers(len(moved))}, {moved[0]} first"
    guessed = [baseline.traits[m.old].name for m in case.matches if m.evidence == "order"]
    if guessed:
        yield f"only their order tells which layer is which for {_layers(len(guessed))}, {guessed[0]} first"
    now, then = engine.provider(), baseline.run.provider
    if now != then:
        yield f"the baseline was made on {then}, this ran on {now}"


def notes_on_policy(case: Case) -> Iterator[str]:
    """Limits that concern nothing, and limits that the machine's own noise has widened."""
    policy, traits = case.policy, case.baseline.traits
    for pattern in policy.layers:
        if not any(named(pattern, t.name, t.weight) for t in traits):
            yield f"no layer is called {pattern!r}, its limits say nothing"
    known = {name for c in case.baseline.clips for name in (c.label, str(c.index))}
    for name in policy.classes:
        if name not in known:
            yield f"no clip is of class {name!r}, its limits say nothing"
    limits = [policy.of(t.name, t.weight) for t in traits]
    wider = [t.name for t, own, noise in zip(traits, limits, case.baseline.noise.layers, strict=True)
             if above_noise(own, noise) != own]  # fmt: skip
    if wider:
        yield f"the machine's own noise widens the limits of {_layers(len(wider))}, {wider[0]} first"


def _layers(count: int) -> str:
    return f"{count} layer{'s' * (count != 1)}"


__all__ = ["notes_on_policy", "notes_on_run"]
