"""The network of a request, from every form in which PyTorch's networks are kept."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from archs import ARCHS
from clips import last_line, run
from contract import Refusal, Request, first_line, from_code
from exporting import Order, export_module, export_program, export_script, nested
from torch import Tensor, nn
from weights import CONTAINERS, load_file, load_weights, zip_members

WRAPPERS = {"DataParallel": "module", "DistributedDataParallel": "module", "OptimizedModule": "_orig_mod"}
"""Classes that hold the module that is meant, and its name there."""


@dataclass
class Source:
    """A network to export.

    Attributes:
        network: What is called, and exported.
        kind: What the source was found to be.
        export: Writes the network as it is ordered.
        exporter: Name of that exporter.
        fixed: Batch that the source is bound to; None where it may vary.
        notes: What was changed or assumed.
    """

    network: Callable[..., Any]
    kind: str
    export: Callable[[Order], None]
    exporter: str
    fixed: int | None = None
    notes: list[str] = field(default_factory=list)


def open_source(request: Request, shapes: Mapping[str, Sequence[int]]) -> Source:
    """The network of a request.

    Raises:
        Refusal: If it cannot be read, or needs something that was not given.
    """
    if request.arch is not None:
        return built_in(request)
    text = request.source
    if not Path(text).exists() and ":" in text:
        return coded(request)
    path = Path(text)
    members = zip_members(path)
    if any(m.endswith(("models/model.json", "serialized_exported_program.json")) for m in members):
        return exported_program(path, shapes)
    if any("data/aotinductor" in m for m in members):
        raise Refusal(f"{path}: compiled for one machine; give the exported program that it was made from")
    if any(m.endswith("constants.pkl") or "/code/" in m for m in members):
        return torchscript(path)
    return pickled(path, request)


def arch_shape(request: Request) -> list[int]:
    """Sizes that a built-in network takes, by --input-shape or by --frames and --size."""
    name, given = request.arch, request.input_shape
    if name not in ARCHS:
        raise Refusal(f"--arch {name}: unknown; choose one of {', '.join(ARCHS)}")
    if isinstance(given, dict):
        (given,) = given.values() if len(given) == 1 else (None,)
    arch, size = ARCHS[name], request.size
    height, width = size if isinstance(size, list) else (size or arch.size,) * 2
    shape = [1, 3, request.frames or arch.frames, height, width]
    if given is None:
        return shape
    fits = len(given) == 5 and given[1] == 3
    asked = {2: request.frames, 3: height if size else None, 4: width if size else None}
    if not fits or any(value not in {None, given[axis]} for axis, value in asked.items()):
        raise Refusal(f"--input-shape {given} contradicts --arch {name}, --frames or --size; it takes {shape}")
    return list(given)


def built_in(request: Request) -> Source:
    """One of the networks whose code lies beside this file."""
    name, classes = request.arch, request.classes or 400
    network = ARCHS[name].make(classes)
    source = from_module(network, f"built-in network {name}", request)
    if request.weights is None:
        source.notes.append(f"no --weights were given: they are random, of seed {request.seed}")
    return source


def coded(request: Request) -> Source:
    """What ``module:factory`` or ``file.py:factory`` names: a module, or what makes one.

    Raises:
        Refusal: If it cannot be imported or gives no module.
    """
    made = from_code(request, nn.Module)
    if isinstance(made, torch.jit.ScriptModule):
        return scripted(made, "TorchScript from code")
    if not isinstance(made, nn.Module):
        kind = type(made).__name__
        raise Refusal(f"{request.source}: gives a {kind}, not a torch.nn.Module; name what makes the network")
    return from_module(made, "nn.Module from code", request)


def pickled(path: Path, request: Request) -> Source:
    """A module that was saved whole.

    Raises:
        Refusal: If it is a state_dict, or a pickle that may not be loaded, or no module.
    """
    value = load_file(path, allowed=request.allow_pickle)
    if isinstance(value, torch.jit.ScriptModule):
        return scripted(value, "TorchScript")
    if isinstance(value, Mapping):
        inner = [value[k] for k in CONTAINERS if isinstance(value.get(k), nn.Module)]
        if len(inner) != 1:
            raise Refusal(
                f"{path}: a bare state_dict holds weights and no network; give the network's code as module:factory, "
                "or a built-in network with --arch, and this file with --weights"
            )
        value = inner[0]
    if not isinstance(value, nn.Module):
        raise Refusal(f"{path}: holds a {type(value).__name__}, not a torch.nn.Module; save the network itself")
    return from_module(value, "pickled nn.Module", request)


def called_with_a_list(network: nn.Module) -> Callable[..., Any]:
    """A network of one parameter that is given several inputs, as one list."""

    def call(*clips: Tensor) -> Any:
        try:
            return network(list(clips))
        except (TypeError, AttributeError) as error:
            raise Refusal(
                f"the network has one parameter and takes no list of {len(clips)} inputs; give one --input-shape"
            ) from error

    return call


def from_module(network: nn.Module, kind: str, request: Request) -> Source:
    """A module in evaluation mode, float32 on the CPU, with the weights that were asked for.

    Raises:
        Refusal: If it has no weights to read, keeps them as integers, or cannot take those of a file.
    """
    notes: list[str] = []
    shapes = request.shapes_of_code()
    while wrapper := next((c.__name__ for c in type(network).__mro__ if c.__name__ in WRAPPERS), None):
        notes.append(f"the module was taken out of {wrapper}")
        network = getattr(network, WRAPPERS[wrapper])
    tensors = (*network.parameters(), *network.buffers())
    if any(t.is_meta for t in tensors):
        raise Refusal("the network's weights are on the meta device, where they have no values; make it on the CPU")
    if integers := next((m for m in network.modules() if ".quantized." in type(m).__module__), None):
        what = f"{type(integers).__module__}.{type(integers).__name__}"
        raise Refusal(f"the network has quantised layers ({what}); give the float network that it was made from")
    if any(t.dtype in {torch.float16, torch.bfloat16} for t in tensors):
        notes.append("half-precision weights were widened to float32")
    network = network.cpu().float().eval()
    call = network if nested(network, list(shapes)) is not None else called_with_a_list(network)
    source = Source(call, kind, partial(export_module, network), "torch.onnx (torch.export)", notes=notes)
    if call is not network:
        notes.append("the network takes its inputs as one list, in the order of --input-shape")
    if any(map(nn.parameter.is_lazy, tensors)):
        run(call, {name: np.zeros(sizes, np.float32) for name, sizes in shapes.items()})  # its weights get their sizes
    if request.weights is not None:
        load_weights(network, Path(request.weights), notes, allowed=request.allow_pickle)
    return source


def exported_program(path: Path, shapes: Mapping[str, Sequence[int]]) -> Source:
    """A program that ``torch.export.save`` wrote.

    Raises:
        Refusal: If it cannot be read, or was exported for training or for other sizes.
    """
    try:
        program = torch.export.load(path)
    except Exception as error:  # PyTorch raises anything
        said = first_line(error)
        raise Refusal(f"{path}: not an exported program that this torch reads ({said}); export it anew") from error
    for node in program.graph.nodes:
        name = str(node.target)
        place = {"aten.batch_norm.default": 5, "aten.dropout.default": 2}.get(name)
        learns = "batch_norm_legit" in name and "no_training" not in name  # what decompositions leave of it
        if learns or (place is not None and len(node.args) > place and node.args[place] is True):
            raise Refusal(f"{path}: exported in training mode ({name}); call model.eval() and export it again")
    ports = [n for n in program.graph.nodes if n.name in program.graph_signature.user_inputs]
    sizes = [list(n.meta["val"].shape) for n in ports]
    wanted = list(shapes.values())
    fits = len(sizes) == len(wanted) and all(
        len(s) == len(w) and all(not isinstance(a, int) or a == b for a, b in zip(s[1:], w[1:], strict=True))
        for s, w in zip(sizes, wanted, strict=True)
    )
    if not fits:
        shown = "; ".join(",".join(str(d) if isinstance(d, int) else "?" for d in s) for s in sizes)
        raise Refusal(f"{path}: was exported for input {shown}; give that as --input-shape")
    batch = sizes[0][0]
    return Source(
        program.module(), "exported program (.pt2)", partial(export_program, program),
        "torch.onnx (torch.export)", fixed=batch if isinstance(batch, int) else None,
    )  # fmt: skip


def torchscript(path: Path) -> Source:
    """A traced, scripted or frozen module.

    Raises:
        Refusal: If it cannot be read, or stands in training mode for good.
    """
    try:
        module = torch.jit.load(path, map_location="cpu")
    except Exception as error:  # PyTorch raises anything
        raise Refusal(f"{path}: not a TorchScript file that this torch reads ({last_line(error)})") from error
    return scripted(module, "TorchScript", str(path))


def scripted(module: torch.jit.ScriptModule, kind: str, name: str = "the network") -> Source:
    """A ScriptModule for the older exporter.

    Raises:
        Refusal: If training mode is baked into its graph.
    """
    notes = []
    trains = hasattr(module, "training") and module.training
    with contextlib.suppress(RuntimeError, AttributeError):  # a frozen module has no mode any more
        module.eval()
    graph = module.inlined_graph.copy()
    torch._C._jit_pass_constant_propagation(graph)  # noqa: SLF001 - there is no public way to look into a graph
    for operator, place in (("aten::batch_norm", 5), ("aten::dropout", 2)):
        for node in graph.findAllNodes(operator):
            if list(node.inputs())[place].toIValue() is True:
                what = operator.removeprefix("aten::")
                raise Refusal(f"{name}: saved in training mode ({what}); call model.eval() and save it again")
    if trains:
        notes.append("the module stood in training mode and was put in evaluation mode")
    if not any(True for _ in module.parameters()):
        kind = f"{kind} (frozen)"
    export = "torch.onnx (TorchScript)"
    return Source(module, kind, partial(export_script, module), export, notes=notes)
