"""Limits from a file, for layers and classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from demo_edits import edited, weights

import cfp_onnx as cfp
from cfp_onnx.checking.policy import read_policy
from cfp_onnx.errors import UsageError


def test_limits_from_toml_reach_layers_and_classes(home: Path, tmp_path: Path) -> None:
    model = edited(tmp_path, weights("mix.0", lambda w: w * np.float32(1.06)))
    plain = cfp.check(model, home / "baseline.json")
    assert [x.weight for x in plain.broken] == ["mix.0.weight"]
    file = tmp_path / "pyproject.toml"
    file.write_text(
        '[tool.other]\nx = 1\n[tool.cfp_onnx]\nmax-flips = 2\n[tool.cfp_onnx.layers."mix.*"]\nmax-weights = 0.1'
    )
    policy = read_policy(file)
    assert policy.max_flips == 2
    assert cfp.check(model, home / "baseline.json", policy=policy).ok
    label = cfp.load_baseline(home / "baseline.json").clips[0].label
    limits = tmp_path / "limits.toml"
    limits.write_text(
        f'max-weights = 0.1\n[classes.{label}]\nmax-activity = 0.001\n[classes."no such"]\nmin-rank = 1.0'
    )
    found = cfp.check(model, home / "baseline.json", policy=read_policy(limits))
    assert not found.same_reasons
    assert {b.label for x in found.broken for b in x.breaches} == {label}
    assert found.layers[0].breaches == (), "layers above the change are as they were"


BAD_LIMITS = {
    "max-drift = 2": "from 0 to 1",
    "max-drift = true": "must be a number",
    "max-drift = nan": "must be a number",
    "max-dirft = 0.1": "'max-dirft' is unknown",
    "layers = 3": "table",
    "[layers.a]\nmin-rank = 'x'": "must be a number",
    "[layers]\na = 1": "table",
    "max-flips = 0.5": "whole number",
    "max-drift = ": "cannot read limits",
}


@pytest.mark.parametrize("text", BAD_LIMITS)
def test_bad_limits_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "limits.toml").write_text(text)
    with pytest.raises(UsageError, match=r".") as caught:
        read_policy(tmp_path / "limits.toml")
    assert BAD_LIMITS[text] in str(caught.value)
