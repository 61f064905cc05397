"""What PyTorch saved: archives, pickles of tensors or of anything, safetensors; and a module filled from them."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from contract import Refusal, first_line, refuse_other_weights
from torch import Tensor, nn

SAFE = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""Types of numbers by their names in safetensors files."""

CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "network", "module")
"""Keys under which checkpoints keep the weights, or the module itself."""


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
    except Exception as error:  # PyTorch raises anything
        if not allowed:
            raise Refusal(
                f"{path}: holds more than tensors, or is damaged; add --allow-pickle if you trust where it is from, "
                "since a pickle can run any code"
            ) from error
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # PyTorch and the user's classes raise anything
        said = first_line(error)
        raise Refusal(f"{path}: cannot be loaded ({type(error).__name__}: {said}); is its code importable?") from error


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
    refuse_other_weights(path, own, state, what="name", optional=counters)
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
