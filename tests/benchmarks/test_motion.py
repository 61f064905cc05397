"""The synthetic clips are what they claim, and the shipped classifier reads them."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest

from benchmarks.demo_model import DEMO, DEMO_CLIP
from benchmarks.motion.clips import (
    CLASSES,
    FRAMES,
    SIZE,
    TEST_SEED,
    MotionClip,
    batch,
    make_clip,
    make_two_movers,
)

TRAVELLERS = ("left", "right", "up", "down", "shake")


@pytest.fixture(scope="module")
def demo() -> onnx.ModelProto:
    return onnx.load(DEMO)


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(DEMO, providers=["CPUExecutionProvider"])


def classify(session: onnxruntime.InferenceSession, frames: np.ndarray) -> np.ndarray:
    """Logits ``(N, classes)`` of ``(N, T, H, W, 3) uint8`` frames, normalised as the training did."""
    clips = (frames.astype(np.float32) / 255 - 0.5) / 0.25
    return session.run(["logits"], {"clip": np.ascontiguousarray(clips.transpose(0, 4, 1, 2, 3))})[0]


def centres(clip: MotionClip) -> np.ndarray:
    """The mask's mean column and row in each frame, ``(T, 2)``."""
    return np.array([np.argwhere(frame).mean(0)[::-1] for frame in clip.mask])


@pytest.mark.parametrize("label", range(len(CLASSES)))
def test_equal_seeds_give_equal_clips_and_others_do_not(label: int) -> None:
    first, again, other = make_clip(5, label), make_clip(5, label), make_clip(6, label)
    assert np.array_equal(first.frames, again.frames)
    assert np.array_equal(first.mask, again.mask)
    assert not np.array_equal(first.frames, other.frames)


@pytest.mark.parametrize("label", range(len(CLASSES)))
def test_a_clip_has_the_promised_shapes_and_a_mask(label: int) -> None:
    clip = make_clip(11, label)
    assert clip.frames.shape == (FRAMES, SIZE, SIZE, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.mask.shape == (FRAMES, SIZE, SIZE)
    assert clip.mask.dtype == np.bool_
    assert clip.label == label
    seen = clip.mask.any((1, 2))
    assert seen.any()
    assert seen.all() != (CLASSES[label] == "blink")


@pytest.mark.parametrize("label", range(len(CLASSES)))
@pytest.mark.parametrize("seed", range(5))
def test_the_mask_covers_what_changes(seed: int, label: int) -> None:
    """Where there is no distractor, the largest change from frame to frame lies on the mover."""
    clip = next(clip for clip in (make_clip(100 * seed + k, label) for k in range(100)) if not clip.distractors)
    change = np.abs(np.diff(clip.frames.astype(int), axis=0)).sum((0, 3))
    swept = clip.mask.any(0)
    grown = swept.copy()  # the mover's border is blended, so a pixel beside the mask may change with it
    grown[1:] |= swept[:-1]
    grown[:-1] |= swept[1:]
    grown[:, 1:] |= grown[:, :-1].copy()
    grown[:, :-1] |= grown[:, 1:].copy()
    assert grown[np.unravel_index(change.argmax(), change.shape)]
    assert change[swept].mean() > change[~grown].mean()


@pytest.mark.parametrize("name", TRAVELLERS)
@pytest.mark.parametrize("seed", range(5))
def test_a_traveller_moves_as_its_class_says(name: str, seed: int) -> None:
    path = centres(make_clip(seed, CLASSES.index(name)))
    across, down = path[-1] - path[0]
    if name == "shake":
        steps = np.diff(path, axis=0)
        axis = int(np.ptp(path, axis=0).argmax())
        assert np.ptp(path[:, axis]) > 1
        assert np.count_nonzero(np.diff(np.sign(steps[:, axis]))) >= 4
    else:
        expected = {"left": -across, "right": across, "up": -down, "down": down}[name]
        assert expected > 6
        assert min(abs(across), abs(down)) < 0.5


@pytest.mark.parametrize("seed", range(5))
def test_size_and_turning_follow_the_class(seed: int) -> None:
    area = {name: make_clip(seed, CLASSES.index(name)).mask.sum((1, 2)) for name in CLASSES}
    assert area["grow"][-1] > 2 * area["grow"][0]
    assert area["shrink"][0] > 2 * area["shrink"][-1]
    for name in ("clockwise", "counter_clockwise"):
        assert np.ptp(area[name]) < 0.3 * area[name].mean()


def test_every_class_is_drawn() -> None:
    frames, labels = batch(range(100))
    assert frames.shape == (100, FRAMES, SIZE, SIZE, 3)
    assert set(labels) == set(range(len(CLASSES)))


def test_two_movers_differ_and_keep_to_their_halves() -> None:
    for seed in range(50):
        clip = make_two_movers(seed)
        assert np.array_equal(clip.frames, make_two_movers(seed).frames)
        assert clip.labels[0] != clip.labels[1]
        left, right = clip.masks
        assert left.any()
        assert right.any()
        assert not left[..., SIZE // 2 :].any()
        assert not right[..., : SIZE // 2].any()


def test_the_demo_model_classifies_held_out_clips(session: onnxruntime.InferenceSession) -> None:
    frames, labels = batch(range(TEST_SEED, TEST_SEED + 100))
    assert np.mean(classify(session, frames).argmax(1) == labels) >= 0.95


def test_the_demo_clip_is_classified_with_confidence(session: onnxruntime.InferenceSession) -> None:
    with np.load(DEMO_CLIP) as archive:
        frames = archive["frames"]
    assert frames.shape == (FRAMES, SIZE, SIZE, 3)
    assert frames.dtype == np.uint8
    logits = classify(session, frames[None])[0].astype(np.float64)
    chances = np.exp(logits - logits.max())
    assert CLASSES[int(logits.argmax())] == "right"
    assert chances.max() / chances.sum() > 0.9


def test_the_demo_model_is_small_and_says_how_to_use_it(demo: onnx.ModelProto) -> None:
    assert DEMO.stat().st_size < 1_000_000
    told = {entry.key: json.loads(entry.value) for entry in demo.metadata_props}
    assert told["cfp_onnx.labels"] == list(CLASSES)
    assert told["cfp_onnx.preprocess"] == {
        "frames": FRAMES,
        "stride": 1,
        "size": [SIZE, SIZE],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "layout": "NCTHW",
        "color": "RGB",
    }
    batch_axis = demo.graph.input[0].type.tensor_type.shape.dim[0]
    assert batch_axis.dim_param


def test_the_demo_model_holds_no_traces_of_its_source(demo: onnx.ModelProto) -> None:
    graph = demo.graph
    for part in (*graph.node, *graph.value_info, *graph.initializer, graph):
        assert not part.doc_string
        assert not part.metadata_props
    assert b".py" not in demo.SerializeToString()
