"""The stand-in for a converter as fixtures."""

from __future__ import annotations

import json

import pytest
from fake_converter import CONVERTER, network

from cfp_onnx.conversion import call as conversion


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A converter in a folder of its own, as the one of torch."""
    folder = tmp_path / "converters" / "torch"
    folder.mkdir(parents=True)
    (folder / "convert.py").write_text(CONVERTER, "utf-8")
    (folder / "requirements.txt").write_text("fake==1.0\n", "utf-8")
    monkeypatch.setattr(conversion, "converter", lambda framework: folder)
    monkeypatch.setenv("CFP_ONNX_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def order(tmp_path, rng, fake):
    """Writes what the stand-in shall do, as the source to convert."""
    (tmp_path / "said").mkdir()
    model = network(tmp_path / "net.onnx", rng)

    def write(**options):
        source = tmp_path / "source.net"
        log = tmp_path / "said" / "log.json"
        source.write_text(json.dumps({"model": str(model), "log": str(log), **options}), "utf-8")
        return source

    return write
