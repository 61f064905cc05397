"""The engine on Ray Data, on a cluster of two nodes on this machine: the same numbers, also when a worker is killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dataset_net
import numpy as np
import pytest

import cfp_onnx as cfp
from cfp_onnx.datasets.run import Run

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    made.add_node(num_cpus=2)
    helpers = str(Path(__file__).resolve().parents[1] / "helpers")
    ray.init(
        address=made.address, log_to_driver=False, logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join([helpers, str(Path(__file__).resolve().parents[2])])}},
    )  # fmt: skip
    assert len([n for n in ray.nodes() if n["Alive"]]) == 2
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("set")
    return dataset_net.saved(folder), dataset_net.data_set(folder / "data", 40)


def same(one: Run, other: Run) -> None:
    """The same clips, and numbers that differ by rounding alone."""
    for n in range(len(one.header.layers)):
        (rows, a, b), (others, c, d) = one.values(n), other.values(n)
        assert [r.key for r in rows] == [r.key for r in others]
        np.testing.assert_allclose(a, c, rtol=1e-4, atol=1e-5 * np.abs(a).max())
        np.testing.assert_allclose(b, d, rtol=1e-5, atol=1e-6)


def test_it_gives_what_the_local_engine_gives(cluster: Any, files: tuple[Path, Path], tmp_path: Path) -> None:
    local = cfp.dataset(*files, tmp_path / "local", workers=0, device="cpu").run
    found = cfp.dataset(*files, tmp_path / "ray", engine="ray", workers=2, device="cpu", batch=4)
    assert (found.explained, found.failures) == (120, ())
    same(local, found.run)
    assert cfp.dataset(*files, tmp_path / "ray", engine="ray", workers=2, device="cpu", batch=4).explained == 0


def test_a_killed_worker_loses_and_doubles_nothing(cluster: Any, files: tuple[Path, Path], tmp_path: Path) -> None:
    local = cfp.dataset(*files, tmp_path / "local", workers=0, device="cpu").run
    out, killed = tmp_path / "ray", []

    def kill() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not killed:
            if len(list((out / "parts").glob("*.parquet"))) >= 2:
                for process in Path("/proc").glob("[0-9]*"):
                    try:
                        command = (process / "cmdline").read_bytes()
                    except OSError:
                        continue
                    if (command.startswith(b"ray::") and b"Actor" in command) or b"MapWorker" in command:
                        os.kill(int(process.name), signal.SIGKILL)
                        killed.append(process.name)
                        return
            time.sleep(0.02)

    killer = threading.Thread(target=kill)
    killer.start()
    found = cfp.dataset(*files, out, engine="ray", workers=2, device="cpu", batch=1)
    killer.join()
    assert killed
    assert found.failures == ()
    same(local, found.run)
