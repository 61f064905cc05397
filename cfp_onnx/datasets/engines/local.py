"""The local engine: worker processes decode ahead, this process explains."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from cfp_onnx.clips.manifest import Row
from cfp_onnx.datasets.work import Decoded, Decoding, decode

AHEAD = 2
"""Clips that each worker has decoded or in hand before they are asked for."""


def decoded(decoding: Decoding, places: Sequence[tuple[str, Row]], workers: int) -> Iterator[Decoded]:
    """The clips, decoded, in their order; only so many are in memory as workers keep busy with.

    Args:
        decoding: How they are read.
        places: Where they lie, with their rows.
        workers: Processes that decode; 0 to decode here.
    """
    if workers < 1:
        for place, row in places:
            yield decode(decoding, place, row)
        return
    rest = deque(places)
    pool = _pool(workers)
    waiting: deque[tuple[str, Row, Future[Decoded]]] = deque()
    try:
        while rest or waiting:
            while rest and len(waiting) < AHEAD * workers:
                place, row = rest.popleft()
                waiting.append((place, row, pool.submit(decode, decoding, place, row)))
            place, row, future = waiting.popleft()
            try:
                yield future.result()
            except BrokenProcessPool:  # a worker died; which clip it was is seen by reading each alone
                pool.shutdown(wait=False, cancel_futures=True)
                yield _alone(decoding, place, row)
                again = [(p, r) for p, r, _ in waiting]
                waiting.clear()
                pool = _pool(workers)
                rest.extendleft(reversed(again))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _alone(decoding: Decoding, place: str, row: Row) -> Decoded:
    """Reads a clip in a process of its own, which may die of it."""
    pool = _pool(1)
    try:
        return pool.submit(decode, decoding, place, row).result()
    except BrokenProcessPool:
        return Decoded(row, None, f"{place} ended the process that read it; leave it out, or convert it")
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


__all__ = ["AHEAD", "decoded"]
