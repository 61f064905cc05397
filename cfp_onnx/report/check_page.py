"""The page of a check: one static HTML file, for people who follow a failed job's link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cfp_onnx.report.page import document, escaped

STYLES = ("style.css", "compare.css")

MEASURES = {
    "drift": ("moved", "max_drift"),
    "overlap": ("strongest kept", "min_overlap"),
    "rank": ("ranks", "min_rank"),
    "activity": ("activity", "max_activity"),
    "weights": ("weights", "max_weights"),
}
"""A measure's name for people, and the name of its limit."""


def render_check(value: Mapping[str, Any]) -> str:
    """The page as the text of one HTML file.

    Args:
        value: A check as published JSON values.

    Returns:
        Text that UTF-8 can hold; the same for the same check.
    """
    values = {
        "files": escaped(f"{value['model']['file']} against {value['baseline']['file']}"),
        "heading": escaped(_heading(value)),
        "lede": escaped(_summary(value)),
        "first": _first(value["first"]),
        "findings": _findings(value),
        "layers": "".join(_layer(x, value["first"]) for x in _from_the_class(value["layers"])),
        "clips": "".join(_clip(c) for c in value["clips"]),
        "facts": "".join(_row(name, text) for name, text in _facts(value)),
    }
    return document("check.html", title=f"{_heading(value)} - check", styles=STYLES, values=values)


def _heading(value: Mapping[str, Any]) -> str:
    if value["ok"]:
        return "Passed: the same reasons"
    if value["same_reasons"]:
        return "Failed: other predictions"
    return "Failed: other reasons"


def _summary(value: Mapping[str, Any]) -> str:
    found = value["predictions"]
    clips = f"{found['clips']} clip{'s' * (found['clips'] != 1)}"
    answers = f"the strongest class is the same on all {clips}" if not found["changed"] else (
        f"the strongest class is another on {found['changed']} of {clips} ({found['allowed']} allowed)")  # fmt: skip
    broken = sum(bool(x["breaches"]) for x in value["layers"])
    layers = f"{len(value['layers'])} layers"
    reasons = f"all {layers} are within their limits" if not broken else f"{broken} of {layers} broke a limit"
    other = len(value["missing"]) + len(value["added"])
    return f"{answers[0].upper()}{answers[1:]}, and {reasons}{f'; {other} more are missing or new' * (other > 0)}."


def _first(first: Mapping[str, Any] | None) -> str:
    if first is None:
        return ""
    kernels = ", ".join(map(str, first["kernels"]))
    which = f'<p class="note">Kernels concerned: {escaped(kernels)}</p>' if kernels else ""
    return (
        f'<div class="parting"><h2>Where it begins</h2><p class="where">{escaped(first["layer"])}</p>'
        f'<p class="note">{escaped(first["weight"])}</p>'
        f"<p>{escaped(first['cause'])}</p>{which}</div>"
    )


def _findings(value: Mapping[str, Any]) -> str:
    lines = [("doubt", "!", f"missing: {name}") for name in value["missing"]]
    lines += [("doubt", "!", f"new: {name}") for name in value["added"]]
    lines += [("doubt", "!", note) for note in value["notes"]]
    if not lines:
        return ""
    items = "".join(
        f'<li class="{kind}"><span class="sign" aria-hidden="true">{sign}</span><span>{escaped(text)}</span></li>'
        for kind, sign, text in lines
    )
    return f'<section class="card"><h2>What else was seen</h2><ul class="checks">{items}</ul></section>'


def _from_the_class(layers: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return list(layers)[::-1]


def _layer(layer: Mapping[str, Any], first: Mapping[str, Any] | None) -> str:
    begins = first is not None and first["layer"] == layer["name"]
    kind = "couple first" if begins else "couple differs" if layer["breaches"] else "couple"
    flag = '<p class="flag">It begins here</p>' if begins else ""
    other = "" if layer["other"] == layer["name"] else f'<p class="note">now {escaped(layer["other"])}</p>'
    depth = "beside every path" if layer["depth"] is None else f"depth {layer['depth']}"
    kernels = ", ".join(map(str, layer["kernels"]))
    moved = f'<p class="note">most changed: kernels {escaped(kernels)}</p>' if kernels and layer["breaches"] else ""
    broken = "".join(f"<li>{escaped(_sentence(b))}</li>" for b in layer["breaches"])
    reading = f'<ul class="reading">{broken}</ul>' if broken else '<p class="note">within its limits</p>'
    return (
        f'<article class="{kind}">{flag}<div class="side"><h4>{escaped(layer["name"])}</h4>'
        f'<p class="note">{escaped(layer["weight"])}</p><p class="note">{depth}</p>{other}{moved}</div>'
        f'<dl class="meters">{_meters(layer)}</dl>'
        f'<div class="side">{reading}</div></article>'
    )


def _sentence(breach: Mapping[str, Any]) -> str:
    if breach["measure"] not in MEASURES:
        return "strides or dilations changed"
    name = MEASURES[breach["measure"]][0]
    sign = "at least" if breach["measure"] in {"overlap", "rank"} else "at most"
    where = "" if breach["label"] is None else f" on class {breach['label']}"
    return f"{name} {breach['value']:.3g}{where}, {sign} {breach['limit']:.3g} allowed"


def _meters(layer: Mapping[str, Any]) -> str:
    out = []
    broken = {b["measure"] for b in layer["breaches"] if b["label"] is None}
    for measure, (name, limit) in MEASURES.items():
        value, allowed = layer[measure], layer["limits"][limit]
        if value is None:
            continue
        width, line = (100 * min(1.0, max(0.0, v)) for v in (value, allowed))
        kind = "meter bad" if measure in broken else "meter"
        out.append(
            f'<div><dt>{name}</dt><dd class="{kind}"><svg viewBox="0 0 100 10" preserveAspectRatio="none" '
            f'role="img" aria-label="{value:.3g}, limit {allowed:.3g}"><rect class="value" width="{width:.2f}" '
            f'height="10"/><line class="limit" x1="{line:.2f}" x2="{line:.2f}" y1="0" y2="10" '
            f'vector-effect="non-scaling-stroke"/></svg></dd><dd>{_formatted(measure, value)}</dd></div>'
        )
    return "".join(out)


def _formatted(measure: str, value: float) -> str:
    if measure == "rank":
        return f"{value:.3f}"
    return f"{100 * value:.1f} %" if value < 0.1 else f"{100 * value:.0f} %"


def _clip(clip: Mapping[str, Any]) -> str:
    before, after = (
        label if label is not None else str(k) for k, label in zip(clip["top"], clip["top_labels"], strict=True)
    )
    top = f"<strong>{escaped(after)}</strong> instead of {escaped(before)}" if clip["changed"] else escaped(after)
    target = clip["label"] if clip["label"] is not None else str(clip["index"])
    then, now = clip["scores"]
    return (
        f"<tr><td>{escaped(clip['file'])}</td><td>{escaped(target)}</td>"
        f'<td class="numeric">{then:.4g}</td><td class="numeric">{now:.4g}</td><td>{top}</td></tr>'
    )


def _facts(value: Mapping[str, Any]) -> list[tuple[str, str]]:
    model, then, run = value["model"], value["baseline"], value["run"]
    return [
        ("model", f"{model['file']}, opset {model['opset']}, {model['producer'] or 'unknown producer'}"),
        ("its sha256", model["sha256"]),
        ("baseline", f"{then['file']}, of {then['model']}, opset {then['opset']}"),
        ("sha256 then", then["sha256"]),
        ("rule", f"{run['rule']}, relevance to depth {run['depth']}"),
        ("provider", f"{run['provider']}, then {run['then']['provider']}"),
        ("onnxruntime", f"{run['onnxruntime']}, then {run['then']['onnxruntime']}"),
    ]


def _row(name: str, text: str) -> str:
    return f'<tr><th scope="row">{escaped(name)}</th><td>{escaped(text)}</td></tr>'


__all__ = ["render_check"]
