"""Array files that hold Python objects or are cut off."""

from __future__ import annotations

import os

import numpy as np
from clip_files import refused, values

from cfp_onnx.errors import ClipError


def test_pickles_and_short_arrays_are_refused(tmp_path):
    np.save(tmp_path / "pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    refused(ClipError, "is no NumPy array", tmp_path / "pickle.npy")
    np.savez(tmp_path / "pickle.npz", clip=np.array([{}], dtype=object))
    refused(ClipError, "is no NumPy archive", tmp_path / "pickle.npz")
    np.save(tmp_path / "short.npy", values(1, 3, 4, 32, 32))
    os.truncate(tmp_path / "short.npy", 1000)
    refused(ClipError, "is no NumPy array", tmp_path / "short.npy")
