"""What the clips of a class have in common, against networks and numbers whose answer is known."""

from __future__ import annotations

import dataset_net
import numpy as np
import pytest

import cfp_onnx as cfp
from cfp_onnx.datasets.aggregate import correlations, enough, ordered, shares, standard_error, statistics
from cfp_onnx.datasets.run import Run
from cfp_onnx.errors import UsageError


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("set")
    made = cfp.dataset(
        dataset_net.saved(folder), dataset_net.data_set(folder / "data", 24), folder / "run", workers=0, device="cpu",
        class_step="contribution",
    )  # fmt: skip
    return made.run


def test_the_planted_kernel_comes_first_in_the_contrast(run: Run) -> None:
    found = run.class_pyramid("run", against="walk")
    last = found.layers[0]
    assert last.contrast is not None
    assert int(np.argmax(last.contrast.score)) == dataset_net.PLANTED
    assert float(last.contrast.difference[dataset_net.PLANTED]) > 0
    back = run.class_pyramid("walk", against="run").layers[0].contrast
    assert int(np.argmin(back.score)) == dataset_net.PLANTED


def test_a_class_is_told_with_its_clips_and_answers(run: Run) -> None:
    found = run.class_pyramid("walk")
    assert (found.clips, found.groups, found.index, found.against) == (24, 2, 1, None)
    assert sum(found.predicted.values()) == 24
    assert found.correct == found.predicted.get("walk", 0)
    rows = run.clips()
    for which in ("correct", "wrong"):
        clips = [r for r in rows if r.label == 1 and (r.predicted == 1) == (which == "correct")]
        if clips:
            assert run.class_pyramid("walk", clips=which).clips == len(clips)
    assert [x.depth for x in found.layers] == [1, 2]


def test_the_clips_that_excite_a_kernel_most(run: Run) -> None:
    found = run.class_pyramid("run").layers[0]
    number = next(n for n, x in enumerate(run.header.layers) if x.name == found.name)
    rows, relevance, activation = run.values(number)
    mine = [n for n, r in enumerate(rows) if r.label == 2]
    best = mine[int(np.argmax(relevance[mine, dataset_net.PLANTED]))]
    assert found.relevant.ids[dataset_net.PLANTED][0] == rows[best].id
    busiest = mine[int(np.argmax(activation[mine, dataset_net.PLANTED]))]
    assert found.active.ids[dataset_net.PLANTED][0] == rows[busiest].id


def test_a_table_of_all_classes(run: Run) -> None:
    pytest.importorskip("pandas")
    table = run.to_frame()
    assert len(table) == 3 * (6 + 8)
    one = table[(table["class"] == "run") & (table["depth"] == 1)]
    np.testing.assert_allclose(one["share"], run.class_pyramid("run").layers[0].kernels.share)


def test_similar_classes_lie_together(run: Run) -> None:
    found = run.similarity(2)
    assert sorted(found.names) == sorted(dataset_net.CLASSES)
    np.testing.assert_allclose(np.diag(found.value), 1.0)
    np.testing.assert_allclose(found.value, found.value.T)
    with pytest.raises(UsageError, match="it has 1 to 2"):
        run.similarity(7)


def test_what_there_is_not_is_refused(run: Run) -> None:
    with pytest.raises(UsageError, match="no class 'swim'"):
        run.class_pyramid("swim")
    with pytest.raises(UsageError, match="against itself"):
        run.class_pyramid("run", against=2)
    with pytest.raises(UsageError, match="no output 'z'"):
        run.class_pyramid("run", output="z")
    assert run.class_pyramid("RUN").name == "run"


def test_unused_kernels_are_chosen_in_no_clip(run: Run) -> None:
    for name, kernels in run.unused().items():
        number = next(n for n, x in enumerate(run.header.layers) if x.name == name)
        _, relevance, _ = run.values(number)
        v = np.maximum(relevance, 0) / np.maximum(relevance, 0).max(axis=1, keepdims=True)
        used = {int(k) for k in np.flatnonzero((v >= 0.6).any(axis=0))}
        assert set(kernels) == set(range(relevance.shape[1])) - used


def test_one_group_that_carries_a_class_is_seen(run: Run) -> None:
    layer = run.class_pyramid("run").layers[0].name
    found = run.by_group("run", layer)
    assert sorted(found) == ["P0", "P1"]
    assert sum(x.clips for x in found.values()) == 24


def test_statistics_by_hand() -> None:
    relevance = np.array([[1.0, 0.5, -2.0], [3.0, 0.0, 1.0], [0.0, 0.0, 0.0], [2.0, -1.0, 1.5]])
    found = statistics(relevance, None, [None] * 4)
    np.testing.assert_allclose(found.mean, [1.5, -0.125, 0.125])
    np.testing.assert_allclose(found.share, [(0.5 + 1 + 0 + 1) / 4, (0.25 - 0.5) / 4, (-1 + 1 / 3 + 0.75) / 4])
    np.testing.assert_allclose(found.frequency, [0.75, 0.0, 0.25])
    np.testing.assert_allclose(found.agreement, [0.75, 0.25, 0.5])
    np.testing.assert_allclose(found.error, shares(relevance).std(axis=0, ddof=1) / 2)


def test_groups_widen_an_interval_that_clips_alone_would_hide() -> None:
    rng = np.random.default_rng(0)
    person = np.repeat(rng.standard_normal(6), 20)
    values = (person + 0.1 * rng.standard_normal(120))[:, None]
    apart, together = standard_error(values, [None] * 120), standard_error(values, [str(p) for p in person])
    assert together[0] > 3 * apart[0]
    assert together[0] == pytest.approx(person.reshape(6, 20)[:, 0].std(ddof=1) / np.sqrt(6), rel=0.15)
    assert np.isnan(standard_error(values, ["one"] * 120)).all()


def test_similarity_and_its_order() -> None:
    base = np.array([[1, 2, 3, 4, 5, 6, 7, 8], [8, 7, 6, 5, 4, 3, 2, 1]], np.float64)
    noise = np.random.default_rng(0).standard_normal((3, 2, 8)) * 0.3
    rows = np.concatenate([base + n for n in noise])  # a b a b a b
    value = correlations(rows)
    assert value[0, 2] > 0.9
    assert value[0, 1] < -0.9
    kinds = [int(k) % 2 for k in ordered(value)]
    assert kinds in ([0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0])


def test_more_clips_tell_more() -> None:
    rng = np.random.default_rng(0)
    share = np.linspace(0, 1, 20) + rng.standard_normal((300, 20))
    curve = enough(share)
    assert [n for n, _ in curve] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert curve[-1][1] == pytest.approx(1.0)
    assert curve[0][1] < curve[4][1] < curve[7][1]
