"""Field rules: sessions that return relevance, and the passes that fetch it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cfp_onnx.graph.features import Feature
from cfp_onnx.relevance.field_walk import Message
from cfp_onnx.relevance.statistics import Statistics

PASS_BUDGET = 2**30
"""Bytes of inputs, fields and maps fetched by one forward pass for links and tubes; more layers take a further pass."""


LINK_LIMIT = 2**17
"""Most links of one pyramid; where kernels tie by the thousand the strongest are kept and the rest is counted."""


KERNEL_BLOCK = 256
"""Kernels whose messages are computed at a time."""


@dataclass(frozen=True)
class FieldProbe:
    """A session that returns relevance, and the names to fetch.

    Attributes:
        session: onnxruntime session.
        relevance: Layer index to output name.
        links: (layer index, part index) to what the messages of its channels are computed from.
        statistics: Reader of the addends' means.
        features: Layer index to where its kernels are judged.
        activations: Layer index to the name of that tensor, where it was asked for.
        maps: Layer index to the class's relevance summed over its kernels, where it was asked for.
        volumes: Layer index to the relevance of all its kernels, place by place, where it was asked for.
        taps: Tensor of the model to the name of its float32 form, where it was asked for.
    """

    session: Any
    relevance: Mapping[int, str]
    links: Mapping[tuple[int, int], tuple[Message, ...]]
    statistics: Statistics
    features: Mapping[int, Feature]
    activations: Mapping[int, str]
    maps: Mapping[int, str]
    volumes: Mapping[int, str]
    taps: Mapping[str, str]


@dataclass(frozen=True)
class Wanted:
    """What one session returns besides relevance.

    Attributes:
        linked: Layers whose links are computed.
        shown: Layers whose activation maps are returned.
        maps: Whether the class's relevance of every layer walked is returned, by rule `zplus`.
        volumes: Whether the relevance of each kernel of the `shown` layers is returned, by rule `zplus`.
        places: Whether `maps` are returned by the rule itself, which costs no second walk.
        taps: Tensors of the model that are returned, as float32.
    """

    linked: tuple[int, ...] = ()
    shown: tuple[int, ...] = ()
    maps: bool = False
    volumes: bool = False
    places: bool = False
    taps: tuple[str, ...] = ()


__all__ = ["KERNEL_BLOCK", "LINK_LIMIT", "PASS_BUDGET", "FieldProbe", "Wanted"]
