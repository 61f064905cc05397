"""Which output of a network is explained: the one asked for, or of several the one that has classes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cfp_onnx.errors import CfpError, ModelError, TargetError, UnsupportedOperatorError
from cfp_onnx.explanation.classes import Classes
from cfp_onnx.graph.target import Answer, answer_of, behind_target, upstream_outputs
from cfp_onnx.graph.topology import Topology
from cfp_onnx.graph.tracing import unsupported
from cfp_onnx.model import Model
from cfp_onnx.text import either

BOX = 4
"""Numbers of a box: classes do not come by four at each place, if there is another output."""

SCORES = re.compile(r"score|prob|class|cls|conf|logit|label|pred", re.IGNORECASE)
"""Names that exporters give to scores."""

OTHERS = re.compile(r"embed|feat|box|loc|regress|landmark|offset|anchor|state|hidden|mask|aux", re.IGNORECASE)
"""Names that exporters give to what is no score."""


def head_of(topology: Topology, model: Model, asked: str | None) -> tuple[Answer, str | None]:
    """The output that is explained, and a sentence on how it was chosen where there were several.

    Args:
        topology: The network.
        model: Its file.
        asked: The output asked for; None for the one with classes.

    Raises:
        ModelError: If the network has no output.
        TargetError: If there is no such output, or no layer that can be followed made it.
    """
    names = [p.name for p in model.outputs]
    if not names:
        raise ModelError(f"{model.path}: the model has no output; export it with its scores as an output")
    if asked is not None and asked not in names:
        raise TargetError(f"{model.path} has no output {asked!r}; its outputs are: {', '.join(names)}")
    answers = {n: a for n in names if (a := _followed(topology, n)) is not None}
    if asked is not None or len(names) == 1 or not answers:
        wanted = asked or names[0]
        if wanted not in answers:
            raise _refusal(topology, model, wanted, [n for n in answers if n != wanted])
        return answers[wanted], None
    features = upstream_outputs(topology.program, answers)
    scores = {a.tensor for a in answers.values() if a.pick is None}
    answers = {n: a for n, a in answers.items() if a.pick is None or a.tensor not in scores}
    best = min(answers, key=lambda n: (*_rank(topology, answers[n], features), names.index(n)))
    rest = [n for n in names if n != best]
    return answers[best], f"output {best!r} is explained, of {len(names)}; --output takes {either(rest)} too"


def _rank(topology: Topology, answer: Answer, features: frozenset[str]) -> tuple[int, ...]:
    """What an output lacks of being the scores of classes, the gravest first."""
    classes = Classes.of(topology, answer.tensor, answer.scored)
    ends = answer.pick is not None or bool(behind_target(topology.program, answer.scored, answer.tensor))
    name = answer.output
    return (
        int(classes.dense),
        int(classes.dense and classes.count == BOX),
        int(name in features),
        int(bool(OTHERS.search(name))),
        int(classes.count < 2 and not classes.dense),
        int(not SCORES.search(name) and classes.dense),
        int(not ends),
        int(answer.pick is not None),
        int(classes.count < 2),
    )


def _followed(topology: Topology, output: str) -> Answer | None:
    """What an output is made of, where layers can be reached from it."""
    found = answer_of(topology, output)
    return found if found is not None and topology.unknown_behind(found.tensor) is None else None


def _refusal(topology: Topology, model: Model, name: str, others: Sequence[str]) -> CfpError:
    """Why an output cannot be explained, and what can be done."""
    found = answer_of(topology, name)
    blocked = topology.unknown_behind(name if found is None else found.tensor)
    if blocked is not None:
        error = unsupported(topology.program, blocked)
        more = f", or explain {either(others)} with --output" if others else ""
        return UnsupportedOperatorError(f"{error}{more}", operator=blocked.op, node=blocked.name)
    todo = "export the network so that the scores that its last layer gives are an output"
    if others:
        todo = f"choose {either(others)} with --output"
    elif len(model.outputs) > 1:
        todo = f"nor does any other ({', '.join(p.name for p in model.outputs if p.name != name)}); {todo}"
    return TargetError(f"output {name!r} of {model.path} holds no scores that can be followed to a layer; {todo}")


__all__ = ["head_of"]
