"""PyTorch to ONNX: ``convert.py REQUEST.json OUTDIR`` leaves a model, a probe and a report in OUTDIR.

A module or an exported program goes through the exporter that traces with ``torch.export``; a TorchScript file,
which that one refuses, through the older one. The probe holds what PyTorch itself computed, before any export.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import json
import logging
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from archs import ARCHS
from torch import Tensor, nn

OPSET = 20
SINGLE_FILE = 2**31 - 2**22
"""Bytes of weights from which on they go into a file beside the model."""

MIXING = 1e-3
"""Largest relative difference of a clip's outputs, alone and beside another clip, that is rounding."""

CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "network", "module")
"""Keys under which checkpoints keep the weights, or the module itself."""


class Refusal(Exception):  # noqa: N818 - not an error of ours: the source cannot be used
    """One sentence that says what cannot be used and what to do."""


@dataclass
class Source:
    """A network to export.

    Attributes:
        network: What is called, and exported.
        kind: What the source was found to be.
        export: Writes the network; is given the examples and the model's file.
        exporter: Name of that exporter.
        fixed: Batch that the source is bound to; None where it may vary.
        notes: What was changed or assumed.
    """

    network: Callable[..., Any]
    kind: str
    export: Callable[..., None]
    exporter: str
    fixed: int | None = None
    notes: list[str] = field(default_factory=list)


def main(order: Path, out: Path) -> int:
    """Converts what a request asks for; the exit code."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    try:
        convert(json.loads(order.read_text(encoding="utf-8")), out)
    except Refusal as refusal:
        sys.stderr.write(" ".join(str(refusal).split()) + "\n")
        return 2
    return 0


def convert(request: Mapping[str, Any], out: Path) -> None:
    """Writes ``model.onnx``, ``probe.npz`` and ``report.json``.

    Raises:
        Refusal: If the source cannot become an ONNX file that is the same network.
    """
    torch.manual_seed(request["seed"])
    sys.path.append(request.get("cwd") or ".")  # where a pickle's classes and the user's own modules are looked for
    shapes = input_shapes(request)
    source = open_source(request, shapes)
    clips = Clips(request, shapes, source)
    names = clips.output_names
    file = out / "model.onnx"
    source.export(clips.examples(), list(shapes), names, clips.fixed, request["opset"], file)
    model = clean(file)
    np.savez(out / "probe.npz", **clips.arrays())
    report = {
        "format": 1,
        "framework": f"torch {torch.__version__}",
        "exporter": source.exporter,
        "source_kind": source.kind,
        "notes": source.notes,
        "opset": next(o.version for o in model.opset_import if not o.domain),
    }
    (out / "report.json").write_text(json.dumps(report), encoding="utf-8")


def input_shapes(request: Mapping[str, Any]) -> dict[str, list[int]]:
    """Sizes by input name, batch first; a built-in network has its own."""
    shape = request["input_shape"]
    if request["arch"] is not None:
        shape = arch_shape(request, shape)
    if isinstance(shape, dict):
        return {name: list(sizes) for name, sizes in shape.items()}
    return {"clip": list(shape)}


# ------------------------------------------------------------------------------------------------------ sources


def open_source(request: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> Source:
    """The network of a request.

    Raises:
        Refusal: If it cannot be read, or needs something that was not given.
    """
    if request["arch"] is not None:
        return built_in(request)
    text = request["source"]
    if not Path(text).exists() and ":" in text:
        return from_code(request)
    path = Path(text)
    members = zip_members(path)
    if any(m.endswith(("models/model.json", "serialized_exported_program.json")) for m in members):
        return exported_program(path, shapes)
    if any("data/aotinductor" in m for m in members):
        raise Refusal(f"{path}: compiled for one machine; give the exported program that it was made from")
    if any(m.endswith("constants.pkl") or "/code/" in m for m in members):
        return torchscript(path)
    return pickled(path, allowed=request["allow_pickle"])


def zip_members(path: Path) -> list[str]:
    """Names in a zip archive; none where it is no archive. A file's suffix says nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return []


def arch_shape(request: Mapping[str, Any], given: object) -> list[int]:
    """Sizes that a built-in network takes, by --input-shape or by --frames and --size."""
    name = request["arch"]
    if name not in ARCHS:
        raise Refusal(f"--arch {name}: unknown; choose one of {', '.join(ARCHS)}")
    if isinstance(given, dict):
        (given,) = given.values() if len(given) == 1 else (None,)
    arch, size = ARCHS[name], request["size"]
    height, width = size if isinstance(size, list) else (size or arch.size,) * 2
    shape = [1, 3, request["frames"] or arch.frames, height, width]
    if given is None:
        return shape
    fits = len(given) == 5 and given[1] == 3
    asked = {2: request["frames"], 3: height if size else None, 4: width if size else None}
    if not fits or any(value not in {None, given[axis]} for axis, value in asked.items()):
        raise Refusal(f"--input-shape {given} contradicts --arch {name}, --frames or --size; it takes {shape}")
    return list(given)


def built_in(request: Mapping[str, Any]) -> Source:
    """One of the networks whose code lies beside this file."""
    name, classes = request["arch"], request["classes"] or 400
    network = ARCHS[name].make(classes)
    source = from_module(network, f"built-in network {name}")
    if request["weights"] is None:
        source.notes.append(f"no --weights were given: they are random, of seed {request['seed']}")
    else:
        load_weights(network, Path(request["weights"]), source.notes, allowed=request["allow_pickle"])
    return source


def from_code(request: Mapping[str, Any]) -> Source:
    """What ``module:factory`` or ``file.py:factory`` names: a module, or what makes one.

    Raises:
        Refusal: If it cannot be imported or gives no module.
    """
    text = request["source"]
    where, _, name = text.rpartition(":")
    try:
        found: Any = import_from(where, Path(request.get("cwd") or "."))
        for part in name.split("."):
            found = getattr(found, part)
        made = found if isinstance(found, nn.Module) else found()
    except Exception as error:
        raise Refusal(f"{text}: cannot be made ({type(error).__name__}: {error}); see where it is imported") from error
    if isinstance(made, torch.jit.ScriptModule):
        return scripted(made, "TorchScript from code")
    if not isinstance(made, nn.Module):
        raise Refusal(f"{text}: gives a {type(made).__name__}, not a torch.nn.Module; name what makes the network")
    source = from_module(made, "nn.Module from code")
    if request["weights"] is not None:
        load_weights(made, Path(request["weights"]), source.notes, allowed=request["allow_pickle"])
    return source


def import_from(where: str, folder: Path) -> Any:
    """A module by its name, or by its file."""
    file = folder / where
    if not where.endswith(".py"):
        return importlib.import_module(where)
    sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module in {where}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module


def pickled(path: Path, *, allowed: bool) -> Source:
    """A module that was saved whole.

    Raises:
        Refusal: If it is a state_dict, or a pickle that may not be loaded, or no module.
    """
    value = load_file(path, allowed=allowed)
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
    return from_module(value, "pickled nn.Module")


def load_file(path: Path, *, allowed: bool) -> Any:
    """What torch saved: tensors only, or anything where that is allowed.

    Raises:
        Refusal: If the file is damaged, or loading it could run code.
    """
    if not path.is_file():
        raise Refusal(f"{path}: no such file")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if not allowed:
            head = path.read_bytes()[:2]
            if head != b"PK" and head[:1] != b"\x80":
                raise Refusal(f"{path}: no file of PyTorch, or a damaged one; give another") from error
            raise Refusal(
                f"{path}: holds more than tensors, or is damaged; add --allow-pickle if you trust where it is from, "
                "since a pickle can run any code"
            ) from error
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        said = str(error).strip().partition("\n")[0]
        raise Refusal(f"{path}: cannot be loaded ({type(error).__name__}: {said}); is its code importable?") from error


def from_module(network: nn.Module, kind: str) -> Source:
    """A module in evaluation mode, float32 on the CPU."""
    notes = []
    if isinstance(network, nn.DataParallel):
        network = network.module
        notes.append("the module was taken out of DataParallel")
    if any(p.dtype in {torch.float16, torch.bfloat16} for p in network.parameters()):
        notes.append("half-precision weights were widened to float32")
    network = network.cpu().float().eval()
    return Source(network, kind, lambda *a: export_module(network, *a), "torch.onnx (torch.export)", notes=notes)


def load_weights(network: nn.Module, path: Path, notes: list[str], *, allowed: bool) -> None:
    """Fills a module from a checkpoint whose keys must be the module's own.

    Raises:
        Refusal: If keys are missing or left over, or sizes differ; the message lists them.
    """
    value = load_file(path, allowed=allowed)
    for key in CONTAINERS:
        if isinstance(value, Mapping) and isinstance(value.get(key), Mapping | nn.Module):
            value = value[key]
    state = value.state_dict() if isinstance(value, nn.Module) else value
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise Refusal(f"{path}: holds no state_dict; give the file of the network's weights")
    if state and all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
        notes.append("the prefix 'module.' was taken off the names of the weights")
    own = network.state_dict()
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    state = {key: tensor for key, tensor in state.items() if key in own or not key.endswith("num_batches_tracked")}
    wrong = [
        *(f"missing {key}" for key in own if key not in state and key not in counters),
        *(f"left over {key}" for key in state if key not in own),
        *(
            f"{key} is {tuple(state[key].shape)}, not {tuple(own[key].shape)}"
            for key in own
            if key in state and state[key].shape != own[key].shape
        ),
    ]
    if wrong:
        more = f" and {len(wrong) - 12} more" if len(wrong) > 12 else ""
        raise Refusal(
            f"{path}: its weights are not those of this network: {', '.join(wrong[:12])}{more}; "
            "check the network's name and the number of classes"
        )
    network.load_state_dict(state, strict=False)


def exported_program(path: Path, shapes: Mapping[str, Sequence[int]]) -> Source:
    """A program that ``torch.export.save`` wrote.

    Raises:
        Refusal: If it cannot be read, or was exported for training or for other sizes.
    """
    try:
        program = torch.export.load(path)
    except Exception as error:
        said = str(error).strip().partition("\n")[0]
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
        program.module(), "exported program (.pt2)", lambda *a: export_program(program, *a),
        "torch.onnx (torch.export)", fixed=batch if isinstance(batch, int) else None,
    )  # fmt: skip


def torchscript(path: Path) -> Source:
    """A traced, scripted or frozen module.

    Raises:
        Refusal: If it cannot be read, or stands in training mode for good.
    """
    try:
        module = torch.jit.load(path, map_location="cpu")
    except Exception as error:
        said = str(error).strip().splitlines()
        raise Refusal(f"{path}: not a TorchScript file that this torch reads ({said[-1] if said else ''})") from error
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
    return Source(module, kind, lambda *a: export_script(module, *a), export, notes=notes)


# ------------------------------------------------------------------------------------------------------- clips


class Clips:
    """Random clips, and what PyTorch computes for them."""

    def __init__(self, request: Mapping[str, Any], shapes: Mapping[str, Sequence[int]], source: Source) -> None:
        wanted = request["batch"]
        self.fixed = source.fixed if wanted == "dynamic" else int(wanted)
        if source.fixed is not None and self.fixed != source.fixed:
            raise Refusal(f"the source is bound to a batch of {source.fixed}; give --batch {source.fixed}")
        if source.fixed is not None and wanted == "dynamic":
            source.notes.append(f"the batch is fixed at {source.fixed}, as it is in the source")
        rng = np.random.default_rng(request["seed"])
        self.source, self.shapes = source, shapes
        batches = (self.fixed,) * 3 if self.fixed else (1, 1, 2)
        self.inputs = [self.random(rng, batch, offset) for batch, offset in zip(batches, (0.0, 0.5, 0.0), strict=True)]
        self.outputs = [self.run(clip) for clip in self.inputs[:2]]
        if self.fixed is None:
            self.try_two(request)
        else:
            self.outputs.append(self.run(self.inputs[2]))

    def random(self, rng: np.random.Generator, batch: int, offset: float) -> list[Tensor]:
        """Normal numbers for every input."""
        return [
            torch.from_numpy((rng.standard_normal((batch, *s[1:])) + offset).astype(np.float32))
            for s in self.shapes.values()
        ]

    def run(self, clip: Sequence[Tensor]) -> list[Tensor]:
        """The network's outputs on one clip.

        Raises:
            Refusal: If it fails, is random, or returns no float tensors.
        """
        sizes = ", ".join(str(tuple(t.shape)) for t in clip)
        try:
            with torch.no_grad():
                first, second = (flat(self.source.network(*clip)) for _ in range(2))
        except Exception as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            said = lines[-1] if lines else type(error).__name__
            raise Refusal(f"the network does not take an input of {sizes} ({said}); check --input-shape") from error
        if not first or not all(t.is_floating_point() for t in first):
            raise Refusal("the network returns no float tensors; export the part of it that returns the logits")
        if not all(torch.equal(a, b) for a, b in zip(first, second, strict=True)) and not self.close(first, second):
            raise Refusal(
                "the network gives other outputs when it is run again on the same clip (dropout, or batch norm that "
                "learns?); call model.eval() before it is saved"
            )
        return first

    def close(self, ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> bool:
        """Whether outputs are the same up to rounding."""
        return all(
            a.shape == b.shape
            and torch.allclose(a, b, rtol=0, atol=MIXING * max(1.0, float(b.abs().max())), equal_nan=True)
            for a, b in zip(ours, theirs, strict=True)
        )

    def try_two(self, request: Mapping[str, Any]) -> None:
        """Runs two clips at once, where nothing fixes the batch.

        Raises:
            Refusal: If a clip's outputs depend on the other clip.
        """
        joined = [torch.cat(pair) for pair in zip(*self.inputs[:2], strict=True)]
        try:
            together = self.run(joined)
        except Refusal:
            together = []
        if not together or any(t.dim() == 0 or len(t) != 2 for t in together):
            self.fixed = 1
            self.source.notes.append("the batch is fixed at 1: the network does not take two clips at once")
            self.inputs[2] = self.random(np.random.default_rng(request["seed"] + 1), 1, -0.5)
            self.outputs.append(self.run(self.inputs[2]))
            return
        for k, alone in enumerate(self.outputs):
            if not self.close([t[k : k + 1] for t in together], alone):
                raise Refusal(
                    "a clip's outputs change with the clip beside it: batch norm is in training mode, or clips are "
                    "mixed; call model.eval() before it is saved, or give --batch 1 if that is meant"
                )
        self.outputs.append(self.run(self.inputs[2]))

    def examples(self) -> tuple[Tensor, ...]:
        """Clips to trace with; two of them where the batch is dynamic, since a batch of one is taken for a constant."""
        return tuple(self.inputs[0] if self.fixed else self.inputs[2])

    @property
    def output_names(self) -> list[str]:
        """``logits`` for the only output, else numbered names."""
        count = len(self.outputs[0])
        return ["logits"] if count == 1 else [f"output_{k}" for k in range(count)]

    def arrays(self) -> dict[str, np.ndarray]:
        """The probe."""
        out = {}
        for k, (inputs, outputs) in enumerate(zip(self.inputs, self.outputs, strict=True)):
            out.update({f"input_{k}_{n}": t.numpy() for n, t in zip(self.shapes, inputs, strict=True)})
            out.update({f"output_{k}_{n}": t.float().numpy() for n, t in zip(self.output_names, outputs, strict=True)})
        return out


def flat(value: Any) -> list[Tensor]:
    """Tensors of nested tuples, lists and dicts, in the exporter's order."""
    return [leaf.detach() for leaf in torch.utils._pytree.tree_leaves(value) if isinstance(leaf, Tensor)]  # noqa: SLF001 - as the exporter itself flattens


# ------------------------------------------------------------------------------------------------------ export


@contextlib.contextmanager
def exporting(what: str) -> Iterator[None]:
    """The exporter's prints go nowhere, and its failure becomes one sentence."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    except Exception as error:
        raise Refusal(f"{what} cannot be exported: {root_cause(error)}") from error


def root_cause(error: BaseException) -> str:
    """The first words of the error that started it."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"[:400]


def export_module(
    network: nn.Module, clips: tuple[Tensor, ...], inputs: list[str], outputs: list[str], fixed: int | None,
    opset: int | None, file: Path,
) -> None:  # fmt: skip
    """Through ``torch.export``."""
    batch = {0: torch.export.Dim("batch", min=1)}
    dynamic = None if fixed else {"dynamic_shapes": (batch,) * len(clips)}
    write_program(network, clips, inputs, outputs, opset, file, dynamic or {})


def export_program(
    program: torch.export.ExportedProgram, clips: tuple[Tensor, ...], inputs: list[str], outputs: list[str],
    fixed: int | None, opset: int | None, file: Path,
) -> None:  # fmt: skip
    """A program that was exported before; its dynamic sizes are its own."""
    del fixed
    write_program(program, clips, inputs, outputs, opset, file, {})


def write_program(
    network: Any, clips: tuple[Tensor, ...], inputs: list[str], outputs: list[str], opset: int | None, file: Path,
    dynamic: Mapping[str, Any],
) -> None:  # fmt: skip
    """Writes with the exporter of today, which would silently turn an older operator set into 18."""
    if opset is not None and not 18 <= opset <= 23:
        raise Refusal(f"--opset {opset}: this exporter writes 18 to 23; choose one of these")
    beside = weight_bytes(network) > SINGLE_FILE
    with exporting("the network"):
        program = torch.onnx.export(
            network, clips, dynamo=True, opset_version=opset or OPSET, input_names=inputs, output_names=outputs,
            external_data=False, verbose=False, **dynamic,
        )  # fmt: skip
        program.save(str(file), external_data=beside)


def weight_bytes(network: Any) -> int:
    """Bytes of a network's weights."""
    state = network.state_dict  # a method of a module, a value of an exported program
    tensors = (state if isinstance(state, Mapping) else state()).values()
    return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, Tensor))


def export_script(
    network: torch.jit.ScriptModule, clips: tuple[Tensor, ...], inputs: list[str], outputs: list[str],
    fixed: int | None, opset: int | None, file: Path,
) -> None:  # fmt: skip
    """Through the older exporter, the only one that takes TorchScript."""
    if opset is not None and not 9 <= opset <= OPSET:
        raise Refusal(f"--opset {opset}: this exporter writes 9 to {OPSET}; choose one of these")
    dynamic = None if fixed else {name: {0: "batch"} for name in (*inputs, *outputs)}
    with exporting("the TorchScript"):
        torch.onnx.export(
            network, clips, str(file), dynamo=False, opset_version=opset or OPSET, input_names=inputs,
            output_names=outputs, dynamic_axes=dynamic,
        )  # fmt: skip


# ------------------------------------------------------------------------------------------------------ cleaning


def clean(file: Path) -> onnx.ModelProto:
    """Takes stack traces, local paths and doc strings out of a model, and refuses one that trains.

    Raises:
        Refusal: If batch norm or dropout was written in training mode.
    """
    model = onnx.load(file, load_external_data=False)
    del model.metadata_props[:]
    model.doc_string = ""
    for function in model.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        clean_nodes(function.node)
    clean_graph(model.graph)
    refuse_training(model.graph)
    file.write_bytes(model.SerializeToString())
    return model


def clean_graph(graph: onnx.GraphProto) -> None:
    """The same of a graph and the graphs in its nodes."""
    for part in (graph, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    clean_nodes(graph.node)


def clean_nodes(nodes: Sequence[onnx.NodeProto]) -> None:
    """The same of nodes."""
    for node in nodes:
        node.doc_string = ""
        del node.metadata_props[:]
        for attribute in node.attribute:
            attribute.doc_string = ""
            if attribute.type == onnx.AttributeProto.GRAPH:
                clean_graph(attribute.g)
            elif attribute.type == onnx.AttributeProto.TENSOR:
                attribute.t.doc_string = ""


def refuse_training(graph: onnx.GraphProto) -> None:
    """Refuses batch norm whose statistics are those of the clip: by its flag, or computed in front of it.

    Raises:
        Refusal: If there is one.
    """
    moving = {port.name for port in graph.input} - {t.name for t in graph.initializer}
    for node in graph.node:
        if any(name in moving for name in node.input):
            moving.update(node.output)
        if node.op_type == "BatchNormalization" and (
            any(a.name == "training_mode" and a.i for a in node.attribute) or node.input[3] in moving
        ):
            raise Refusal(
                f"batch norm {node.name!r} is in training mode whatever the module's; call model.eval() first"
            )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
