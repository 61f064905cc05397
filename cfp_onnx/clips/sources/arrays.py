"""NumPy arrays, from memory and from .npy and .npz files."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

from cfp_onnx.clips.sources.opened import Arrays, Frames
from cfp_onnx.clips.sources.regular_file import BYTE_LIMIT
from cfp_onnx.errors import ClipError, LimitError
from cfp_onnx.values import Array

_UNREADABLE = (ValueError, OSError, EOFError, KeyError, OverflowError, MemoryError, NotImplementedError,
               RuntimeError, zipfile.BadZipFile, zlib.error)  # fmt: skip
"""What NumPy and zipfile raise for an archive that is damaged or encrypted, or whose headers are wrong."""


def open_arrays(arrays: Mapping[str, Array]) -> Arrays:
    """Takes arrays from memory, by name; the hash covers their names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return Arrays("array", digest.hexdigest(), arrays)


def open_npy(file: str, sha256: str) -> Arrays:
    """Reads a .npy file.

    Raises:
        ClipError: It is damaged, or holds Python objects.
    """
    try:  # Mapping fails, before anything is allocated, where the file is shorter than its header says.
        array = np.array(np.load(file, mmap_mode="r", allow_pickle=False))
    except _UNREADABLE as error:
        raise ClipError(f"{file} is no NumPy array that can be read ({error}); save it anew") from error
    return Arrays(file, sha256, {"": array})


def open_npz(file: str, sha256: str) -> Arrays:
    """Reads the arrays of a .npz file by their names.

    Raises:
        ClipError: It is damaged or encrypted, or holds something else than arrays.
        LimitError: It unpacks to more than `BYTE_LIMIT` bytes.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > BYTE_LIMIT:
            raise LimitError(f"{file} unpacks to {size} bytes, the limit is {BYTE_LIMIT}; pass a smaller clip")
        with np.load(file, allow_pickle=False) as arrays:
            loaded = {name: arrays[name] for name in arrays.files}
    except _UNREADABLE as error:
        raise ClipError(f"{file} is no NumPy archive that can be read ({error}); save it anew") from error
    if any(not isinstance(array, np.ndarray) for array in loaded.values()):
        raise ClipError(f"{file} holds entries that are no NumPy arrays; write it with numpy.savez")
    return Arrays(file, sha256, loaded)


def frames_of_array(array: Array, file: str) -> Frames:
    """Takes a uint8 array ``(T, H, W, C)`` as frames, or ``(H, W, C)`` as one picture."""
    frames = array if array.ndim > 3 else array[None]
    still, channels = array.ndim == 3, int(array.shape[-1])
    return Frames(file, "", len(frames), lambda wanted: (frames[i] for i in wanted), still=still, channels=channels)
