"""Trees are for people: readable at 100 columns, limited, honest about gaps, safe on a terminal."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from cfp_onnx.pyramid.headers import CoverageHeader, InputHeader, ModelHeader, RunHeader, TargetHeader, TopClass
from cfp_onnx.pyramid.result import Pyramid
from cfp_onnx.pyramid.text import pyramid_tree
from cfp_onnx.pyramid.values import Edge, LayerResult, Link, LinkSource

FULL = CoverageHeader(channels=1.0, layers=1.0, operators_unknown=())


def layer(name, depth, relevance, *, family="plain", groups=1, shape=(3, 3, 3), op="Conv"):
    return LayerResult(
        name=name, op=op, weight=f"{name}.weight", nodes=(name,), kernels=len(relevance), channels=16,
        groups=groups, kernel_shape=shape, family=family, depth=depth, relevance=tuple(relevance),
    )  # fmt: skip


def result(**changes):
    conv = [4.0, -2.0, 3.9, 3.8, 3.7, 3.6, 3.5, 3.4]
    base = Pyramid(
        model=ModelHeader(file="/models/net.onnx", sha256="0" * 64, producer="tests 1", opset=17),
        input=InputHeader(file="c.mp4", sha256="1" * 64, shape=(1, 3, 16, 112, 112), layout="NCTHW"),
        run=RunHeader(
            rule="positional", class_step="contrast", theta=0.6, top_k=None, depth=3,
            provider="CPUExecutionProvider", onnxruntime="1.31", output_difference=0.0, undefined=0,
        ),
        target=TargetHeader(
            output="y", index=2, label="swim", score=5.5, top=(TopClass(2, "swim", 5.5), TopClass(0, "run", 1.0))
        ),
        coverage=FULL,
        layers=(
            layer("stem", 2, [0.5, 1.0]),
            layer("se", 1, [0.0] * 8, op="Gemm", family="dense", shape=()),
            layer("conv", 1, conv),
            layer("head", 0, [0.0, 0.0, 5.0], op="Gemm", family="dense", shape=()),
        ),
        levels={
            0: (("head", 2, 5.0),),
            1: tuple(("conv", k, conv[k]) for k in (0, 2, 3, 4, 5, 6, 7)),
            2: (("stem", 1, 1.0),),
        },
        edges=(
            Edge("head", 2, (Link(0, 2.0, (LinkSource("conv", 0, 1.0),)),)),
            Edge(
                "conv",
                0,
                (
                    Link(1, 2.0, (
                        LinkSource("stem", 1, 0.75), LinkSource(None, 2, 0.25, "shortcut"),
                        LinkSource("se", 1, 0.0, "gate"),
                    )),
                    *(Link(c, 1.5, (LinkSource("stem", 0, 1.0, "branch"),)) for c in range(2, 7)),
                ),
            ),
        ),
    )  # fmt: skip
    return replace(base, **changes)


def draw(pyramid, **options):
    stream = io.StringIO()
    Console(file=stream, width=100, highlight=False).print(pyramid_tree(pyramid, **options))
    return stream.getvalue()


def test_the_header_says_what_was_asked():
    text = draw(result())
    for part in (
        "net.onnx",
        "c.mp4",
        "1x3x16x112x112 NCTHW",
        "2 swim",
        "score 5.5",
        "0 run 1",
        "theta 0.6",
        "contrast",
    ):
        assert part in text
    assert "100 % of channels and layers" in text
    assert "INCOMPLETE" not in text


def test_strongest_kernels_their_feeders_and_the_one_against():
    text = draw(result())
    assert "7 of 8 kernels chosen" in text
    assert "kernel 0    +100 %" in text
    assert "... 2 more chosen" in text
    assert "against: kernel 1     -50 %" in text
    assert "channel 1  +100 %" in text
    assert "stem:1 (75 %)" in text
    assert "the input's channel 2 (25 % shortcut)" in text
    assert "se:1 (gate, held)" in text
    assert "channel 2  +75 %  from stem:0 (branch)" in text
    assert "... 3 more channels" in text
    assert "se  Gemm dense" not in text
    assert "8 kernels, held (gate)" in text


def asked(**changes):
    """The first line, where the run differs."""
    return draw(result(run=replace(result().run, **changes))).splitlines()[0].strip()


RIVALS = (TopClass(0, "run", 0.8), TopClass(3, None, 0.12))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"against": "mean", "rivals": ()}, "class 2 swim, rather than the mean of the others"),
        ({"against": "best", "rivals": RIVALS[:1]}, "class 2 swim, rather than 0 run"),
        ({"against": "run", "rivals": RIVALS[:1]}, "class 2 swim, rather than 0 run"),
        ({"against": "3", "rivals": RIVALS[1:]}, "class 2 swim, rather than 3"),
        ({"against": "rivals", "rivals": RIVALS}, "class 2 swim, rather than 0 run (80 %), 3 (12 %) and others"),
        ({"against": "rivals", "rivals": (TopClass(0, "run", 0.999),)}, "class 2 swim, rather than 0 run (100 %)"),
        ({"against": "rivals", "rivals": ()}, "class 2 swim, rather than the others as they compete"),
        ({"class_step": "contribution"}, "class 2 swim"),
    ],
)
def test_the_first_sentence_names_the_class_and_its_rival(changes, line):
    assert asked(holds=(), **changes) == line


def test_older_files_were_set_against_the_mean_of_the_others():
    assert asked() == "class 2 swim, rather than the mean of the others"
    assert asked(class_step="weights") == "class 2 swim"
    alone = replace(result().target, top=result().target.top[:1])
    assert draw(result(target=alone)).splitlines()[0].strip() == "class 2 swim"


@pytest.mark.parametrize(
    ("holds", "row", "source", "silent", "footer"),
    [
        (None, "norms, attention, gates", "(gate, held)", "held (gate)", "a normalisation, attention or a gate"),
        ((), "nothing", "(gate)", "nothing arrives, or nothing of it fires", None),
        (("gates",), "gates", "(gate, held)", "held (gate)", "a gate"),
        (("norms", "attention"), "norms, attention", "(gate)", "held, or nothing of it fires",
         "a normalisation or attention"),
    ],
)  # fmt: skip
def test_what_is_held_is_said_and_only_that(holds, row, source, silent, footer):
    text = draw(result(run=replace(result().run, holds=holds)))
    lines = text.splitlines()
    assert next(line for line in lines if line.startswith("holds")).split(maxsplit=1)[1].strip() == row
    assert f"se:1 {source}" in text
    assert f"8 kernels, {silent}" in text
    said = [line.strip() for line in lines if line.startswith("held: ")]
    assert said == ([] if footer is None else [f"held: it only steers {footer}, which the rule keeps fixed."])


def test_limits_are_kept():
    text = draw(result(), kernels=2, links=1)
    assert "... 5 more chosen" in text
    assert "... 5 more channels" in text
    assert "kernel 3 " not in text


def test_ranks_are_said_to_be_within_a_layer():
    assert "never compare numbers across layers" in draw(result())


@pytest.mark.parametrize(
    "coverage",
    [replace(FULL, channels=0.9999), replace(FULL, layers=0.5), replace(FULL, operators_unknown=("com.acme::Odd",))],
)
def test_a_gap_is_loud(coverage):
    text = " ".join(draw(result(coverage=coverage)).split())
    assert "INCOMPLETE" in text
    assert "100 % of channels and layers" not in text
    assert "100.0 % of channels, 100.0 % of layers" not in text or coverage.operators_unknown


def test_notes_about_the_run():
    run, target = result().run, result().target
    text = draw(result(run=replace(run, undefined=3, output_difference=0.5), target=replace(target, index=0)))
    assert "undefined for 3" in text
    assert "moved the outputs by 0.5" in text
    assert "the model itself answers 2 swim" in text


def test_a_layer_whose_kernels_are_all_against():
    lower = replace(result().layers[0], relevance=(-1.0, -4.0))
    text = draw(result(layers=(lower, *result().layers[1:]), levels={1: (), 2: ()}))
    assert "0 of 2 kernels chosen" in text
    assert "against: kernel 1    -100 %" in text


def test_lines_fit_and_names_are_harmless():
    name = "/very/long/" + "block/" * 10 + "conv\x1b[31m\n[red]:smile:"
    edge = Edge(name, 1, (Link(0, 1.0, tuple(LinkSource(name, k, 0.25) for k in range(4))),))
    text = draw(result(layers=(replace(result().layers[0], name=name),), levels={2: ((name, 1, 1.0),)}, edges=(edge,)))
    assert max(map(len, text.splitlines())) <= 100
    assert "\x1b" not in text
    joined = "".join(line.lstrip("│├└─ ") for line in text.splitlines())
    assert "conv\\x1b[31m\\n[red]:smile:" in joined
    assert "1 more" in text


def test_the_module_stands_beside_a_number():
    pyramid = result()
    stem = replace(pyramid.layers[0], name="node_Conv_7", weight="stem.conv.weight")
    text = draw(replace(pyramid, layers=(stem, *pyramid.layers[1:])))
    assert "node_Conv_7  stem.conv  Conv 3x3x3 plain" in text
    assert "conv  Conv 3x3x3 plain" in text
    assert "conv.weight" not in text
