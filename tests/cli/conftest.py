"""What the tests of the command line share: a network, clips, a call in this process."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_net import CLIP, TINY, save, tiny_weights

from cfp_onnx.cli.main import main


@pytest.fixture
def tiny(tmp_path, rng):
    return save(tmp_path / "tiny.onnx", TINY, tiny_weights(rng))


@pytest.fixture
def clip(tmp_path, rng):
    file = tmp_path / "clip.npy"
    np.save(file, rng.standard_normal(CLIP).astype(np.float32))
    return file


@pytest.fixture
def frames(tmp_path, rng):
    file = tmp_path / "frames.npy"
    np.save(file, rng.integers(0, 256, (6, 10, 12, 3)).astype(np.uint8))
    return file


@pytest.fixture
def call(capsys):
    """Runs a command in this process: exit code, stdout, stderr."""

    def run(*argv):
        code = main([str(a) for a in argv])
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


@pytest.fixture
def refuses(call):
    """A failure: exit code 2, one line on stderr that holds the words, nothing on stdout."""

    def run(*argv, says, code=2):
        got, out, err = call(*argv)
        assert got == code, err
        assert out == ""
        assert err.startswith("cfp-onnx: error: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        assert "Traceback" not in err
        assert "--debug" not in err, f"an unforeseen failure: {err}"
        assert says in err, err
        return err

    return run
