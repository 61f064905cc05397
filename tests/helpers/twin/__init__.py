"""A slow float64 NumPy twin of the walk (method, section 4): the authority for the walk inside the graph.

It shares no code with ``cfp_onnx``. A model is evaluated node by node, every tensor is kept, and the field
``g`` is carried backwards by one small adjoint per operator. Convolutions and pools are loops over taps;
whatever only moves elements is inverted by sending the elements' own numbers through the operator.
"""

from __future__ import annotations

from . import (  # operators register themselves
    activations,
    dense,
    movement,
    normalisations,
    recurrent,
    reductions,
    windows,
)
from .field_walk import TwinResult, fields, pooled, rival_seed, seed
from .graph import evaluate
from .steps import ADJOINTS, FORWARD, Fields, Step, adjoint, forward
from .zplus_walk import TwinRelevance, zplus

__all__ = [
    "ADJOINTS", "FORWARD", "Fields", "Step", "TwinRelevance", "TwinResult", "activations", "adjoint", "dense",
    "evaluate", "fields", "forward", "movement", "normalisations", "pooled", "recurrent", "reductions", "rival_seed",
    "seed", "windows", "zplus",
]  # fmt: skip
