"""For test suites: an assertion that fails, and says where, when a model no longer decides for the same reasons."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from cfp_onnx.checking.baseline_file import Baseline
from cfp_onnx.checking.call import check
from cfp_onnx.checking.policy import Policy
from cfp_onnx.checking.result import Checked
from cfp_onnx.model import Model


def assert_same_reasons(
    model: Model | str | os.PathLike[str],
    baseline: Baseline | str | os.PathLike[str],
    clips: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    *,
    policy: Policy | None = None,
    max_flips: int | None = None,
    max_drift: float | None = None,
    min_overlap: float | None = None,
    min_rank: float | None = None,
    max_activity: float | None = None,
    max_weights: float | None = None,
    **options: Any,
) -> Checked:
    """Fail where a model decides for other classes, or for other reasons, than its baseline.

    Args:
        model: A model or its path.
        baseline: A baseline or its path.
        clips: Where the baseline's clips are; where it says they are by default.
        policy: Limits; the defaults where None.
        max_flips: Clips whose strongest class may be another; each limit given here replaces that of `policy`.
        max_drift: See `cfp_onnx.checking.policy.Limits` for this and the next four.
        min_overlap: See there.
        min_rank: See there.
        max_activity: See there.
        max_weights: See there.
        options: Passed on to `check`.

    Returns:
        What the check found.

    Raises:
        AssertionError: With the verdict, where it begins, and the table.
        CfpError: If the check cannot be made.
    """
    __tracebackhide__ = True
    limits = (policy or Policy()).given(
        max_flips=max_flips, max_drift=max_drift, min_overlap=min_overlap, min_rank=min_rank,
        max_activity=max_activity, max_weights=max_weights,
    )  # fmt: skip
    result = check(model, baseline, clips, policy=limits, **options)
    if not result.ok:
        raise AssertionError(f"the model does not decide as its baseline did\n{result}")
    return result


__all__ = ["assert_same_reasons"]
