"""PyTorch to ONNX: ``convert.py REQUEST.json OUTDIR`` leaves a model, a probe and a report in OUTDIR.

A module or an exported program goes through the exporter that traces with ``torch.export``; a TorchScript file,
which that one refuses, through the older one. The probe holds what PyTorch itself computed, before any export.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import io
import json
import logging
import re
import sys
import warnings
import zipfile
import zlib
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
FLOATS = {getattr(onnx.TensorProto, name) for name in ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16")}

SAFE = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""Types of numbers by their names in safetensors files."""

SINGLE_FILE = 2**31 - 2**22
"""Bytes of weights from which on they go into a file beside the model."""

MIXING = 1e-3
"""Largest relative difference of a clip's outputs, alone and beside another clip, that is rounding."""

WRAPPERS = {"DataParallel": "module", "DistributedDataParallel": "module", "OptimizedModule": "_orig_mod"}
"""Classes that hold the module that is meant, and its name there."""

CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "network", "module")
"""Keys under which checkpoints keep the weights, or the module itself."""


class Refusal(Exception):  # noqa: N818 - not an error of ours: the source cannot be used
    """One sentence that says what cannot be used and what to do."""


class Unexported(Refusal):
    """The exporter failed."""


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
    file = out / "model.onnx"
    export(source, clips, list(shapes), request["opset"], file)
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
    return pickled(path, request)


def zip_members(path: Path) -> list[str]:
    """Names in a zip archive; none where it is no archive. A file's suffix says nothing.

    Raises:
        Refusal: If it is cut off, or a member is not what was written; PyTorch itself does not look.
    """
    with path.open("rb") as stream:
        if stream.read(2) != b"PK":
            return []
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.CRC:  # 0 where it was saved without sums
                    with archive.open(member) as stream:
                        while stream.read(1 << 22):
                            pass
            return archive.namelist()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise Refusal(f"{path}: the file is cut off or damaged ({error}); copy or download it again") from error


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
    source = from_module(network, f"built-in network {name}", request)
    if request["weights"] is None:
        source.notes.append(f"no --weights were given: they are random, of seed {request['seed']}")
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
    except (Exception, SystemExit) as error:  # a script may end the program while it is imported
        alone = "relative import" in str(error)
        advice = "name it by its packages, as package.module:factory" if alone else "see where it is imported"
        raise Refusal(f"{text}: cannot be made ({type(error).__name__}: {error}); {advice}") from error
    if isinstance(made, torch.jit.ScriptModule):
        return scripted(made, "TorchScript from code")
    if not isinstance(made, nn.Module):
        raise Refusal(f"{text}: gives a {type(made).__name__}, not a torch.nn.Module; name what makes the network")
    return from_module(made, "nn.Module from code", request)


def import_from(where: str, folder: Path) -> Any:
    """A module by its name, or by its file."""
    file = (folder / where).absolute()
    if not where.endswith(".py"):
        return importlib.import_module(where)
    place, names = file.parent, [file.stem]
    while (place / "__init__.py").is_file():  # relative imports want the packages that it lies in
        place, names = place.parent, [place.name, *names]
    sys.path.insert(0, str(place))
    if len(names) > 1:
        sys.path.insert(0, str(file.parent))
        return importlib.import_module(".".join(names))
    name = file.stem if file.stem not in sys.modules else f"{file.stem}_of_the_source"  # it may be called as a library
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module in {where}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def pickled(path: Path, request: Mapping[str, Any]) -> Source:
    """A module that was saved whole.

    Raises:
        Refusal: If it is a state_dict, or a pickle that may not be loaded, or no module.
    """
    value = load_file(path, allowed=request["allow_pickle"])
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


def load_file(path: Path, *, allowed: bool) -> Any:
    """What torch saved: tensors only, or anything where that is allowed.

    Raises:
        Refusal: If the file is damaged, or loading it could run code.
    """
    if not path.is_file():
        raise Refusal(f"{path}: no such file")
    with path.open("rb") as stream:
        head = stream.read(9)
    if head[8:] == b"{" and (named := safetensors(path)) is not None:
        return named
    if head[:2] == b"PK" and not any(name.endswith("data.pkl") for name in zip_members(path)):
        raise Refusal(f"{path}: an archive, but none of torch.save; give the file that it wrote")
    if head[:2] != b"PK" and head[:1] != b"\x80":
        raise Refusal(f"{path}: no file of PyTorch, or a damaged one; give another")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if not allowed:
            raise Refusal(
                f"{path}: holds more than tensors, or is damaged; add --allow-pickle if you trust where it is from, "
                "since a pickle can run any code"
            ) from error
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        said = str(error).strip().partition("\n")[0]
        raise Refusal(f"{path}: cannot be loaded ({type(error).__name__}: {said}); is its code importable?") from error


def listed(network: nn.Module) -> Callable[..., Any]:
    """A network of one parameter that is given several inputs, as one list."""

    def call(*clips: Tensor) -> Any:
        try:
            return network(list(clips))
        except (TypeError, AttributeError) as error:
            raise Refusal(
                f"the network has one parameter and takes no list of {len(clips)} inputs; give one --input-shape"
            ) from error

    return call


def safetensors(path: Path) -> dict[str, Tensor] | None:
    """Weights from a safetensors file; None where it is none, or is cut."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    try:
        entries = json.loads(data[8:start])
        entries.pop("__metadata__", None)
        return {
            name: torch.frombuffer(
                bytearray(data[start:][slice(*entry["data_offsets"])]), dtype=SAFE[entry["dtype"]]
            ).reshape(entry["shape"])
            for name, entry in entries.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError):
        return None


def from_module(network: nn.Module, kind: str, request: Mapping[str, Any]) -> Source:
    """A module in evaluation mode, float32 on the CPU, with the weights that were asked for.

    Raises:
        Refusal: If it has no weights to read, keeps them as integers, or cannot take those of a file.
    """
    notes: list[str] = []
    shapes = input_shapes(request)
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
    call = network if nested(network, list(shapes)) is not None else listed(network)
    source = Source(call, kind, lambda *a: export_module(network, *a), "torch.onnx (torch.export)", notes=notes)
    if call is not network:
        notes.append("the network takes its inputs as one list, in the order of --input-shape")
    if any(map(nn.parameter.is_lazy, tensors)):
        run(call, [torch.zeros(sizes) for sizes in shapes.values()])  # its weights get their sizes
    if request["weights"] is not None:
        load_weights(network, Path(request["weights"]), notes, allowed=request["allow_pickle"])
    return source


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
    own = network.state_dict()
    sets = states(state) if isinstance(state, Mapping) else {}
    fitting = {name: s for name, s in sets.items() if any(k.removeprefix(foreign_prefix(s, own)) in own for k in s)}
    if len(fitting) > 1:
        raise Refusal(f"{path}: holds several sets of weights ({', '.join(fitting)}); save the one that is meant alone")
    if not sets:
        raise Refusal(f"{path}: holds no state_dict; give the file of the network's weights")
    name, state = next(iter((fitting or sets).items()))
    if name:
        notes.append(f"the weights were taken from {name!r} in the file")
    prefix = foreign_prefix(state, own)
    if prefix:
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
        notes.append(f"the prefix {prefix!r} was taken off the names of the weights")
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


def states(value: Mapping[Any, Any], name: str = "") -> dict[str, Mapping[str, Tensor]]:
    """The sets of weights in a checkpoint, however deep, by the keys that lead there."""
    if all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items()):
        return {name: value}
    inner = {f"{name}.{key}".lstrip("."): part for key, part in value.items() if isinstance(part, Mapping) and part}
    return {k: s for key, part in inner.items() for k, s in states(part, key).items()}


def foreign_prefix(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """What stands before every name in a checkpoint, put there by what the network was in when it was saved."""
    prefix = ""
    while state and not any(key.startswith(prefix) and key.removeprefix(prefix) in own for key in state):
        first = {key.removeprefix(prefix).partition(".")[:2] for key in state}
        if len(first) > 1 or "" in next(iter(first)):
            return ""
        prefix += "".join(first.pop())
    return prefix


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
        self.source, self.shapes, self.seed = source, shapes, request["seed"]
        rng = np.random.default_rng(self.seed)
        batches = (self.fixed,) * 3 if self.fixed else (1, 1, 2)
        self.inputs = [self.random(rng, batch, offset) for batch, offset in zip(batches, (0.0, 0.5, 0.0), strict=True)]
        self.outputs = [self.run(clip) for clip in self.inputs[:2]]
        if self.fixed is None:
            self.try_two()
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
        first, second = (run(self.source.network, clip) for _ in range(2))
        if not any(t.is_floating_point() for t in first) or any(t.is_complex() for t in first):
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
            for a, b in zip(map(Tensor.double, ours), map(Tensor.double, theirs), strict=True)
        )

    def try_two(self) -> None:
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
            self.fix_at_one("the network does not take two clips at once")
            return
        for k, alone in enumerate(self.outputs):
            if not self.close([t[k : k + 1] for t in together], alone):
                raise Refusal(
                    "a clip's outputs change with the clip beside it: batch norm is in training mode, or clips are "
                    "mixed; call model.eval() before it is saved, or give --batch 1 if that is meant"
                )
        self.outputs.append(self.run(self.inputs[2]))

    def fix_at_one(self, why: str) -> None:
        """Leaves batches of one clip only."""
        self.fixed = 1
        self.source.notes.append(f"the batch is fixed at 1: {why}")
        self.inputs[2] = self.random(np.random.default_rng(self.seed + 1), 1, -0.5)
        self.outputs[2:] = [self.run(self.inputs[2])]

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
            plain = [t.float() if t.is_floating_point() else t for t in outputs]
            named = sorted(zip(self.output_names, plain, strict=True), key=lambda pair: not pair[1].is_floating_point())
            out.update({f"output_{k}_{n}": t.numpy() for n, t in named})
        return out


def run(network: Callable[..., Any], clip: Sequence[Tensor]) -> list[Tensor]:
    """A network's tensors on one clip.

    Raises:
        Refusal: If it fails.
    """
    try:
        with torch.no_grad():
            return flat(network(*clip))
    except Refusal:
        raise
    except Exception as error:
        sizes = ", ".join(str(tuple(t.shape)) for t in clip)
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = lines[-1] if lines else type(error).__name__
        advice = (
            "it computes in another float than float32 by itself; take its casts out, or save it after .float()"
            if re.search(r"scalar type|should be the same|same dtype", said)
            else "check --input-shape, and the network's own code"
        )
        raise Refusal(f"the network does not take an input of {sizes} ({said}); {advice}") from error


def flat(value: Any) -> list[Tensor]:
    """Tensors of nested tuples, lists and dicts, in the exporter's order."""
    return [leaf.detach() for leaf in torch.utils._pytree.tree_leaves(value) if isinstance(leaf, Tensor)]  # noqa: SLF001 - as the exporter itself flattens


# ------------------------------------------------------------------------------------------------------ export


def export(source: Source, clips: Clips, inputs: list[str], opset: int | None, file: Path) -> None:
    """Writes the model: for any batch where that can be, else for one clip.

    Raises:
        Refusal: If it cannot be exported for one clip either; for the first reason.
    """
    free = clips.fixed is None
    try:
        write(source, clips, inputs, opset, file)
    except Unexported as reason:
        if not free:
            raise
        clips.fix_at_one("the exporter does not get through the network where it may vary")
        with contextlib.suppress(Refusal):
            write(source, clips, inputs, opset, file)
            return
        raise reason from reason.__cause__


def write(source: Source, clips: Clips, inputs: list[str], opset: int | None, file: Path) -> None:
    """Writes the model for the batch of the clips.

    Raises:
        Refusal: If it cannot be exported.
    """
    source.export(clips.examples(), inputs, clips.output_names, clips.fixed, opset, file)
    ports = onnx.load(file, load_external_data=False).graph.input
    if clips.fixed is None and any(port.type.tensor_type.shape.dim[0].HasField("dim_value") for port in ports):
        raise Unexported(f"the network cannot be exported for more batches than one of {len(clips.examples()[0])}")


@contextlib.contextmanager
def exporting(what: str) -> Iterator[None]:
    """The exporter's prints go nowhere, and its failure becomes one sentence."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    except Exception as error:
        raise Unexported(f"{what} cannot be exported: {root_cause(error)}") from error


def root_cause(error: BaseException) -> str:
    """The first words of the error that started it, or what it means where it is known."""
    while error.__cause__ is not None:
        error = error.__cause__
    said = str(error)
    for pattern, meaning in CAUSES.items():
        if found := re.search(pattern, f"{type(error).__name__}: {said}"):
            return meaning.format(*found.groups())
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"[:400]


CAUSES = {
    r"GuardOnDataDependentSymNode(?s:.*)File \"([^\"]+)\", line (\d+)": "{0}, line {1}: the code decides by the values "
    "of a clip (an if, .item(), a size), and a file has one course only; write that with tensors, as torch.where does",
    r"GuardOnDataDependentSymNode": "the code decides by the values of a clip (an if, .item(), a size), and a file has "
    "one course only; write that with tensors, as torch.where does",
    r"No ONNX function found for <OpOverload\(op='([\w.]+)'": "ONNX has no operator for {0} as it is used there; write "
    "that part with other layers",
    r"numpy\(\) is not supported for tensor subclasses": "the code makes a tensor of a clip's sizes by "
    "torch.Tensor(..), which cannot be traced; write torch.zeros(..) or x.new_zeros(..)",
}
"""What an exporter's errors mean, by a pattern of their text."""


def export_module(
    network: nn.Module, clips: tuple[Tensor, ...], inputs: list[str], outputs: list[str], fixed: int | None,
    opset: int | None, file: Path,
) -> None:  # fmt: skip
    """Through ``torch.export``."""
    batch: Any = {0: torch.export.Dim("batch", min=1)}
    sizes = nested(network, [batch] * len(clips))
    dynamic = {} if fixed else {"dynamic_shapes": sizes if sizes is not None else ([batch] * len(clips),)}
    write_program(network, (list(clips),) if sizes is None else clips, inputs, outputs, opset, file, dynamic)


def nested(network: nn.Module, values: list[Any]) -> tuple[Any, ...] | None:
    """One value per input, those of ``*clips`` in a tuple, as parameters have them; None where they are one list."""
    try:
        places = [p.kind for p in inspect.signature(network.forward).parameters.values()]
    except (TypeError, ValueError):  # a function that Python did not write says nothing
        return tuple(values)
    star = places.index(inspect.Parameter.VAR_POSITIONAL) if inspect.Parameter.VAR_POSITIONAL in places else len(values)
    if len(places) == 1 < len(values) and star:
        return None
    return (*values[:star], *([tuple(values[star:])] if star < len(values) else []))


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
    outputs = sorted(model.graph.output, key=lambda port: port.type.tensor_type.elem_type not in FLOATS)
    del model.graph.output[:]
    model.graph.output.extend(outputs)  # the first is the one to explain, and no place of a class
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
                f"batch norm {node.name!r} takes the clip's own statistics, by training mode or since it keeps none "
                "(track_running_stats=False); call model.eval(), or give it running statistics"
            )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
