"""Numbered frames, the files that clips are read from, and inputs of networks that take them."""

from __future__ import annotations

import sqlite3

import cv2
import numpy as np
import pytest

from cfp_onnx.clips.load import load_clip
from cfp_onnx.clips.spec import InputSpec

VIDEO = InputSpec("clip", (1, 3, 4, 32, 32), "float32", 1)
IMAGE = InputSpec("image", (1, 3, 32, 32), "float32", 1)
OPEN = InputSpec("clip", (None, 3, None, None, None), "float32", 1)


def numbered(count, height=32, width=32):
    """Frames whose grey value is four times their number."""
    return np.stack([np.full((height, width, 3), 4 * i, np.uint8) for i in range(count)])


def numbers(clip):
    return [round(float(frame.mean()) / 4) for frame in clip.frames]


def write_video(path, frames, codec):
    size = (frames.shape[2], frames.shape[1])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10, size)
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame[..., ::-1].copy())
    writer.release()
    return path


def write_folder(path, frames, name="frame_{}.png", first=1):
    path.mkdir()
    for i, frame in enumerate(frames, first):
        cv2.imwrite(str(path / name.format(i)), frame[..., ::-1].copy())
    return path


def write_database(path, frames, ids, table="Images"):
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE {table} (ObjId, frames BLOB)")
        for key, frame in zip(ids, frames, strict=True):
            blob = cv2.imencode(".jpg", frame[..., ::-1].copy())[1].tobytes()
            connection.execute(f"INSERT INTO {table} VALUES (?, ?)", (key, blob))
    connection.close()
    return path


def refused(error, words, source, inputs=(VIDEO,), **options):
    with pytest.raises(error) as caught:
        load_clip(source, list(inputs), **options)
    message = str(caught.value)
    assert words in message
    assert "\n" not in message


def planted():
    """Four frames of red 200, green 100, blue 50."""
    return np.broadcast_to(np.array([200, 100, 50], np.uint8), (4, 32, 32, 3))


def values(*shape):
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)
