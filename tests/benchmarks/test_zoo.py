"""The zoo's clips are what they claim, and its networks read them as well as the index says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from benchmarks.zoo import catalogue
from benchmarks.zoo.catalogue import ALL, Entry, classes_of, draw, draw_mixed, entries
from benchmarks.zoo.families import FAMILIES, LIMIT, two_movers

SMALL = [e for e in entries() if np.prod(e.shape) <= 8 * 16 * 16]
SAMPLE = [e for index, e in enumerate(SMALL) if index % 4 in {0, 3}]  # each kind once, its seeds in turn
LARGE = [e for e in entries(role="choose") if np.prod(e.shape) > 8 * 16 * 16]


def logits(path: Path, clips: np.ndarray) -> np.ndarray:
    """Logits ``(N, classes)``, clip by clip where the file takes only one."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    parts = [clips] if isinstance(session.get_inputs()[0].shape[0], str) else np.split(clips, len(clips))
    return np.concatenate([session.run(["logits"], {"clip": part})[0] for part in parts])


# ------------------------------------------------------------------------------------------------- clips


@pytest.mark.parametrize("name", ALL)
def test_equal_seeds_give_equal_clips_and_others_do_not(name: str) -> None:
    one, same, other = (ALL[name].draw(np.random.default_rng(seed), 5) for seed in (3, 3, 4))
    for field in ("clips", "labels", "masks"):
        assert np.array_equal(getattr(one, field), getattr(same, field))
    assert not np.array_equal(one.clips, other.clips)


@pytest.mark.parametrize("name", ALL)
def test_a_batch_has_the_promised_form(name: str) -> None:
    family = ALL[name]
    batch = family.draw(np.random.default_rng(0), 200)
    assert batch.clips.shape == (200, 3, *family.shape)
    assert batch.masks.shape == (200, *family.shape)
    assert batch.clips.dtype == np.float32
    assert batch.masks.dtype == bool
    assert set(batch.labels.tolist()) == set(range(len(family.classes)))
    assert abs(float(batch.clips.mean())) < 0.1
    assert 0.5 < float(batch.clips.std()) < 1.2
    assert float(np.abs(batch.clips).max()) <= LIMIT
    assert batch.masks.reshape(200, -1).any(axis=1).all()


@pytest.mark.parametrize("name", ALL)
def test_only_masked_pixels_tell_the_classes_apart(name: str) -> None:
    """One generator, two classes: the clips differ where either mask is, and at its rim."""
    inside, outside = 0.0, 0.0
    for seed in range(12):
        one, other = (ALL[name].draw_one(np.random.default_rng(seed), label) for label in (0, 1))
        change = np.abs(one.clips - other.clips)[0].max(axis=0)
        mask = (one.masks | other.masks)[0]
        inside += float(change[mask].mean())
        outside += float(change[~mask].mean())
    assert inside > 8 * outside


@pytest.mark.parametrize("label", range(4))
@pytest.mark.parametrize("shape", [(8, 16, 16), (12, 40, 40), (20, 24, 32)])
def test_the_mask_of_a_direction_moves_that_way(label: int, shape: tuple[int, int, int]) -> None:
    mask = FAMILIES["direction"].draw_one(np.random.default_rng(label), label, shape).masks[0]
    first, last = (np.argwhere(frame).mean(axis=0)[::-1] for frame in (mask[0], mask[-1]))
    heading = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)][label])
    assert 0.3 < float((last - first) @ heading) / min(shape[1:]) < 0.6
    assert abs(float((last - first) @ heading[::-1])) <= 1


def test_the_events_of_an_order_come_in_that_order() -> None:
    for label, signs in ((0, (1, -1)), (1, (-1, 1))):
        for seed in range(8):
            batch = FAMILIES["order"].draw_one(np.random.default_rng(seed), label, (24, 32, 32))
            clip, mask = batch.clips[0].mean(axis=0), batch.masks[0]
            around = clip.mean()
            seen = np.flatnonzero(mask.any(axis=(1, 2)))
            levels = [float(clip[t][mask[t]].mean() - around) for t in (seen[0], seen[-1])]
            assert tuple(np.sign(levels)) == signs


@pytest.mark.parametrize(("first", "second", "crossing"), [(0, 1, False), (0, 2, False), (1, 3, True), (2, 0, True)])
def test_two_movers_never_overlap(first: int, second: int, crossing: bool) -> None:
    for seed in range(5):
        clip, one, other = two_movers(np.random.default_rng(seed), first, second, crossing=crossing)
        assert clip.shape == (1, 3, 8, 16, 16)
        assert one.any(axis=(1, 2)).all()
        assert other.any(axis=(1, 2)).all()
        assert not (one & other).any()
        assert bool((one.any(axis=0) & other.any(axis=0)).any()) == crossing


@pytest.mark.parametrize(("first", "second", "crossing"), [(1, 1, False), (0, 1, True), (3, 2, True)])
def test_movers_that_cannot_be_are_refused(first: int, second: int, crossing: bool) -> None:
    with pytest.raises(ValueError, match="movers"):
        two_movers(np.random.default_rng(0), first, second, crossing=crossing)


def test_mixed_clips_have_all_classes_alike() -> None:
    families = ("direction", "look")
    _, labels = draw_mixed(families, np.random.default_rng(0), 700, (8, 16, 16))
    counts = np.bincount(labels)
    assert len(counts) == len(classes_of(families)) == 7
    assert counts.min() > 60


# ---------------------------------------------------------------------------------------------- networks


def test_index_and_files_agree() -> None:
    found = {path.name for path in catalogue.WEIGHTS.iterdir()}
    assert found == {entry.path.name for entry in entries()}
    assert sum(entry.path.stat().st_size for entry in entries()) < 4_000_000
    for entry in entries():
        assert entry.classes == classes_of(entry.families)
        assert entry.role == ("choose", "table")[entry.seed]
        assert len(entry.families) > 1
        assert len(entry.shape) < 3 or "direction" in entry.families


def test_no_kind_is_only_reported() -> None:
    choose, table = ([e.kind for e in entries(role=role)] for role in ("choose", "table"))
    assert set(table) <= set(choose)


def test_the_table_of_the_readme_is_the_index() -> None:
    assert catalogue.table() in catalogue.INDEX.with_name("README.md").read_text("utf-8")


@pytest.mark.parametrize("wrong", [{"role": "train"}, {"kinds": ["resnet", "alexnet"]}])
def test_unknown_entries_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no "):
        entries(**wrong)


@pytest.mark.parametrize("entry", [*SAMPLE, *LARGE], ids=lambda e: f"{e.kind}-{e.seed}")
def test_a_network_is_as_accurate_as_the_index_says(entry: Entry, tmp_path: Path) -> None:
    count = 100 if entry in SMALL else 24
    rng, right = np.random.default_rng(7), 0.0
    path = entry.write(tmp_path)
    for family in entry.families:
        share = len(ALL[family].classes) / len(entry.classes)
        batch = draw(entry, family, rng, round(count * share))
        right += share * float((logits(path, batch.clips).argmax(axis=1) == batch.labels).mean())
    share = min(entry.accuracy, 0.98)
    assert right > share - 3 * float(np.sqrt(share * (1 - share) / count))


@pytest.mark.parametrize("entry", SMALL[::5], ids=lambda e: f"{e.kind}-{e.seed}")
def test_what_is_written_is_an_ordinary_file_that_computes_what_is_stored(entry: Entry, tmp_path: Path) -> None:
    path = entry.write(tmp_path)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert onnx.TensorProto.FLOAT16 not in {t.data_type for t in model.graph.initializer}
    clips = draw(entry, entry.families[0], np.random.default_rng(0), 4).clips
    assert np.allclose(logits(path, clips), logits(entry.path, clips), atol=1e-5)


def test_a_family_that_a_network_does_not_know_is_refused() -> None:
    entry = entries(kinds=["resnet"])[0]
    with pytest.raises(ValueError, match="'chirp_1d'"):
        draw(entry, "chirp_1d", np.random.default_rng(0), 1)
