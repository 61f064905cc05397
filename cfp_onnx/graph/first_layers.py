"""Where a network first looks: the layers that read an input, and their maps behind norm and activation."""

from __future__ import annotations

from cfp_onnx.graph import effects as fx
from cfp_onnx.graph.activation import is_activation
from cfp_onnx.graph.features import Feature, feature_of
from cfp_onnx.graph.topology import Topology
from cfp_onnx.model import Node


def first_features(topology: Topology, name: str, target: str) -> tuple[Feature, ...]:
    """The maps of the layers that read an input with no layer between, each behind its norm and activation.

    Args:
        topology: The network.
        name: The input.
        target: The tensor that holds the scores of the classes.
    """
    found: dict[str, Feature] = {}
    for layer in topology.layers:
        sources = [origin for origin, via in topology.readers[layer.index] if via != "gate"]
        if layer.tied:  # one trip's map is not the layer's
            continue
        if all(o.layer is None for o in sources) and any(o.tensor == name for o in sources):
            feature = behind_norm(topology, feature_of(topology, layer, target), target)
            found[feature.tensor] = feature
    return tuple(found.values())


def behind_norm(topology: Topology, feature: Feature, target: str) -> Feature:
    """The same kernels behind the norm and the activation that directly follow.

    Args:
        topology: The network.
        feature: Where the kernels of a layer are judged.
        target: The tensor that holds the scores of the classes.
    """
    best, name, normed = feature, feature.tensor, False
    while name != target:
        step = _next(topology, name)
        if step is None:
            break
        node, effect = step
        if isinstance(effect, fx.Normalise):
            if normed or effect.kind in {"softmax", "logsoftmax", "hardmax"}:
                break
            normed = True
        elif not normed and not isinstance(effect, fx.Move):
            break
        name = node.outputs[0]
        axes = topology.states[name].channel_axes()
        if len(axes) != 1:
            continue
        if normed:
            best = Feature(name, axes[0])
        if is_activation(effect):
            break
    return best


_IN_PLACE = (fx.Affine, fx.Identity, fx.Activation, fx.Normalise)


def _next(topology: Topology, name: str) -> tuple[Node, fx.Effect] | None:
    users = topology.program.consumers.get(name, [])
    effects = [(user, topology.effects[user.name]) for user in users if user.name in topology.effects]
    for user, effect in effects:
        if isinstance(effect, fx.Gate) and effect.own and user.inputs[effect.value] == name:
            return user, effect
    if len(effects) != 1 or len(users) != 1:
        return None
    user, effect = effects[0]
    moves = isinstance(effect, fx.Move) and len(effect.sources) == 1 and len(user.outputs) == 1
    return (user, effect) if moves or isinstance(effect, _IN_PLACE) else None


__all__ = ["behind_norm", "first_features"]
