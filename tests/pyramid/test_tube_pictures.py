"""Pictures, films and arrays of tubes, and the names of their files."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from pyramids import picture

from cfp_onnx.pyramid import drawings, tube_pictures
from cfp_onnx.pyramid.drawings import Drawing
from cfp_onnx.pyramid.media import Media
from cfp_onnx.pyramid.tubes import Tube, Tubes

PAIRS = [(kind, unit) for kind in ("activation", "relevance") for unit in ("kernel", "layer", "depth")]


def _film_length(path):
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


@pytest.fixture(scope="module")
def drawn(shallow, tmp_path_factory):
    """A folder with one tube of each kind and unit at each depth."""
    folder = tmp_path_factory.mktemp("drawn")
    shallow.save(folder, drawings=[Drawing(kind, unit, 1) for kind, unit in PAIRS], animation="none")
    assert len(list((folder / "tubes").glob("*.npz"))) == 2 * len(PAIRS)
    return folder / "tubes"


def _unit(stem):
    return "kernel" if "_kernel" in stem else "layer" if stem.count("_") > 1 else "depth"


@pytest.mark.parametrize(("kind", "unit"), PAIRS)
def test_every_kind_of_every_unit_is_drawn_and_kept_as_an_array(shallow, drawn, kind, unit):
    stems = [f.stem for f in sorted(drawn.glob(f"*_{kind}.npz")) if _unit(f.stem) == unit]
    assert [s.split("_")[0] for s in stems] == ["depth1", "depth2"]
    for stem in stems:
        picture(drawn / f"{stem}.png")
        picture(drawn / f"{stem}_stack.png")
        with np.load(drawn / f"{stem}.npz") as found:
            assert sorted(found.files) == ["high", "low", "tube"]
            values, low, high = found["tube"], float(found["low"]), float(found["high"])
        assert values.shape == (16, 40, 40)
        assert values.dtype == np.float32
        assert low == 0.0
        depth = int(stem.split("_")[0].removeprefix("depth"))
        assert high == shallow.tubes.scale(kind, depth).high
        if unit == "depth" and kind == "relevance":
            np.testing.assert_array_equal(values, shallow.class_tube(depth, signed=True))
        elif unit == "layer" and kind == "relevance":
            (layer,) = [x for x in shallow.layers if x.depth == depth]
            np.testing.assert_array_equal(values, shallow.tube(layer.name))
        elif unit == "kernel":
            strongest = shallow.kernels(depth)[0]
            np.testing.assert_array_equal(values, shallow.tube(strongest.layer, strongest.kernel, kind=kind))
        else:
            (layer,) = [x for x in shallow.layers if x.depth == depth]
            chosen = shallow.kernels(depth)
            shares = np.array([k.relevance for k in chosen]) / max(layer.relevance)
            each = np.stack([shallow.tube(k.layer, k.kernel) for k in chosen])
            expected = np.tensordot(shares, each, 1) / shares.sum()
            np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("suffix", ["gif", "mp4"])
def test_films_have_a_picture_for_every_frame(shallow, tmp_path, suffix):
    few = replace(shallow, tubes=replace(shallow.tubes, items=shallow.tubes.of("relevance", "depth")[:1]))
    few.save(tmp_path, drawings=[Drawing("relevance", "depth", 1)], animation=suffix)
    (film,) = (tmp_path / "tubes").glob(f"*.{suffix}")
    assert film.stem == "depth1_relevance"
    assert _film_length(film) == 16


def test_deep_networks_have_an_overview_of_so_many_depths():
    centres = tuple(np.arange(n, dtype=float) for n in (2, 4, 4))
    values = np.arange(32, dtype=np.float32).reshape(2, 4, 4)
    items = tuple(Tube("relevance", d, None, None, values, centres) for d in range(1, 152))
    frames = np.zeros((2, 40, 40, 3), np.uint8)
    sheet = tube_pictures.TubePictures(
        Tubes((2, 40, 40), items), Media("video", (2, 40, 40), frames), "class 1", "none"
    )
    assert sheet.levels(tube_pictures.OVERVIEW_DEPTHS).shape[0] < 4000
    kept = drawings.evenly_spaced([t.depth for t in items], tube_pictures.OVERVIEW_DEPTHS)
    assert (kept[0], kept[-1], len(kept)) == (1, 151, 16)


HOSTILE = [
    "../../etc/passwd", "/net/layer1/conv", "net/layer1/conv", "net.layer1.conv", "a b", "a-b", "CON", "", ".", "..",
    "x" * 300, "x" * 301, "\udcff", "ü", "名前", "a\x00b", "a\nb", "-", "--", "a_kernel1", "a", "a-0123abcd", "a:b",
]  # fmt: skip


def test_names_of_files_are_safe_and_differ():
    tubes = [
        Tube("activation", d, layer, k, np.zeros(1), ()) for layer in HOSTILE for k in (None, 1, 11) for d in (1, 2)
    ]
    tubes += [Tube("relevance", d, None, None, np.zeros(1), ()) for d in (1, 2)]
    stems = [tube_pictures.file_stem(t) for t in tubes]
    assert len(set(stems)) == len(stems)
    for stem in stems:
        assert set(stem) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
        assert len(stem) < 120
    assert tube_pictures.file_stem(tubes[0]) == tube_pictures.file_stem(replace(tubes[0]))
