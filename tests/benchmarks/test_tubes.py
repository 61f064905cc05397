"""The benchmark of tubes measures what it says: masks that are known, maps that no network made, tables of both."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from benchmarks.demo_model import DEMO
from benchmarks.tubes import maps, scenes
from benchmarks.tubes.__main__ import main
from benchmarks.tubes.measures import energy, pointing, share
from benchmarks.tubes.tables import Judged, markdown
from benchmarks.zoo.catalogue import entries


def test_energy_is_one_by_chance_and_the_inverse_of_the_area_at_best(rng: np.random.Generator) -> None:
    mask = rng.uniform(size=(4, 5, 6)) < 0.2
    assert energy(np.ones(mask.shape), mask) == pytest.approx(1)
    assert energy(mask.astype(float), mask) == pytest.approx(1 / mask.mean())
    assert energy((~mask).astype(float), mask) == 0
    spoiled = np.where(mask, 2.0, -7.0)
    assert energy(spoiled, mask) == pytest.approx(1 / mask.mean())
    assert np.isnan(energy(np.zeros(mask.shape), mask))
    assert np.isnan(energy(np.ones(mask.shape), np.zeros_like(mask)))


def test_share_is_half_by_chance_and_forgets_what_lies_outside_both() -> None:
    own, other = np.zeros((2, 4, 4), bool), np.zeros((2, 4, 4), bool)
    own[:, :2], other[:, 3] = True, True
    tube = np.full((2, 4, 4), 5.0)
    tube[own], tube[other] = 3.0, 2.0
    assert share(tube, own, other) == pytest.approx(3 * 16 / (3 * 16 + 2 * 8))
    assert share(tube, own, own) == 0.5
    assert np.isnan(share(-tube, own, other))


def test_pointing_asks_where_the_strongest_place_is() -> None:
    mask = np.zeros((1, 2, 2), bool)
    mask[0, 0, 0] = True
    assert pointing(np.array([[[3.0, 2], [1, 0]]]), mask) == 1
    assert pointing(np.array([[[2.0, 3], [1, 0]]]), mask) == 0
    assert pointing(np.array([[[3.0, 3], [1, 0]]]), mask) == 0.5
    assert np.isnan(pointing(np.ones((1, 2, 2)), mask))


def test_the_difference_of_frames_needs_no_network() -> None:
    frames = np.zeros((3, 2, 2, 3), np.uint8)
    frames[1, 0, 0] = (1, 2, 250)
    found = maps.difference(frames)
    assert found[:, 0, 0].tolist() == [253, 253, 253]
    assert found[:, 1].max() == 0


def test_edges_lie_where_colours_change_within_a_frame() -> None:
    frames = np.zeros((2, 4, 6, 3))
    frames[0, :, 3:] = 2.0
    found = maps.edges(frames)
    assert found[0].tolist() == [[0, 0, 3, 3, 0, 0]] * 4
    assert found[1].max() == 0
    signal = np.array([0.0, 0, 5, 5]).reshape(1, 1, 4, 1)
    assert maps.edges(signal).reshape(-1).tolist() == [0, 2.5, 2.5, 0]


def test_of_two_movers_each_is_asked_for_and_masks_do_not_meet() -> None:
    (entry,) = entries(role="choose", kinds=["resnet"])
    found = list(scenes.of_zoo(entry, 4))
    assert [s.what for s in found] == ["apart"] * 8 + ["crossing"] * 4 + ["single"] * 4
    for one, two in zip(found[0:12:2], found[1:12:2], strict=True):
        np.testing.assert_array_equal(one.clip, two.clip)
        np.testing.assert_array_equal(one.mask, two.other)
        assert one.label != two.label
        assert not (one.mask & two.mask).any()
        met = (one.mask.any(axis=0) & two.mask.any(axis=0)).any()
        assert met == (one.what == "crossing")
    for scene in found:
        assert scene.frames.shape == (*scene.mask.shape, 3)
        np.testing.assert_array_equal(scene.frames[..., 1], scene.clip[0, 1])


def test_random_weights_are_as_large_and_say_nothing_of_the_old(tmp_path: Path) -> None:
    copy = maps.randomised(DEMO, tmp_path, seed=3)
    before, after = (
        {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer} for path in (DEMO, copy)
    )
    changed = [k for k, v in before.items() if v.ndim > 1]
    assert len(changed) > 5
    for name, value in before.items():
        if name in changed and value.size > 1000:
            assert after[name].std() == pytest.approx(value.std(), rel=0.1)
            assert abs(np.corrcoef(value.reshape(-1), after[name].reshape(-1))[0, 1]) < 0.15
        elif name not in changed:
            np.testing.assert_array_equal(value, after[name])


def test_the_zoo_is_judged_map_by_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, page = tmp_path / "tubes.json", tmp_path / "tubes.md"
    arguments = ["--kinds", "x3d", "--role", "choose", "--pairs", "3", "--json", str(path), "--markdown", str(page)]
    assert main(arguments) == 0
    (found,) = json.loads(path.read_text())
    assert (found["name"], found["kind"], found["role"]) == ("x3d-0", "x3d", "choose")
    figures = found["figures"]
    assert {maps.TUBE, *maps.HELD, maps.RANDOM, maps.DIFFERENCE, maps.EDGES, maps.BLANK} <= set(figures)
    assert {len(v["apart"]) for v in figures.values()} == {6}
    assert {len(v["crossing"]) for v in figures.values()} == {2}
    assert {len(v["energy"]) for v in figures.values()} == {3}
    assert np.mean(figures[maps.TUBE]["apart"]) > 0.9
    assert figures[maps.BLANK]["energy"] == pytest.approx([1, 1, 1])
    printed = capsys.readouterr().out
    assert printed == page.read_text()
    assert "depth 1 " not in printed


def test_a_map_without_any_mass_counts_as_chance() -> None:
    scene = scenes.Scene("apart", np.zeros(1), 0, np.ones((1, 1, 2), bool), np.ones((1, 1, 2), bool))
    one = Judged("a", "a", "table")
    one.note(maps.TUBE, np.zeros((1, 1, 2)), scene)
    assert one.figures[maps.TUBE]["apart"] == [0.5]
    row = next(line for line in markdown([one]).splitlines() if line.startswith("| a |"))
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["a", "0.500 ± 0.000", "-", "- (-)", "-", "-"]
