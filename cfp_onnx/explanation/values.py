"""What a run on one clip is asked for, and what it finds; the same for every rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cfp_onnx.explanation.classes import Classes
from cfp_onnx.graph.states import State
from cfp_onnx.pyramid.tube_collector import TubeCollector
from cfp_onnx.relevance.rules import Rule
from cfp_onnx.relevance.values import Settings, Walked
from cfp_onnx.values import Array, Progress


@dataclass(frozen=True)
class Request:
    """One class of one clip, by one rule.

    Attributes:
        feeds: Arrays for all inputs.
        rule: The rule.
        settings: Threshold, depth, class.
        classes: How the classes lie in the target, and the place that is asked about.
        rather: The same with what else the class is set against.
        collector: Gathers the tubes; None where none are wanted.
        volumes: Whether the tubes hold the relevance of single kernels too.
        pulled: Whether they hold the evidence of single layers too.
        progress: Told how far the work is.
    """

    feeds: Mapping[str, Array]
    rule: Rule
    settings: Settings
    classes: Classes
    rather: tuple[Settings, ...]
    collector: TubeCollector | None
    volumes: bool
    pulled: bool
    progress: Progress


@dataclass(frozen=True)
class Found:
    """What a run found.

    Attributes:
        walked: Relevance, chosen kernels, links.
        states: Labels with the shares of every addend on this clip.
        outputs: The model's own outputs, with the probes in place.
        rather: What the walks of `Request.rather` found.
        lost: Layers whose values arrive at the class, and that the rule does not reach; their relevance is not known.
    """

    walked: Walked
    states: Mapping[str, State]
    outputs: Mapping[str, Array]
    rather: tuple[Walked, ...] = ()
    lost: frozenset[int] = frozenset()


__all__ = ["Found", "Request"]
