"""How this machine's CPU multiplies eight-bit numbers."""

from __future__ import annotations

import functools
from pathlib import Path


@functools.cache
def sums_are_cut_off() -> bool:
    """Whether sums of products of uint8 and int8 are cut off at 16 bits: x86 without VNNI, as far as it can be seen.

    onnxruntime's documentation says so of AVX2 and AVX512; files with int8 weights drift further there.
    """
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return "avx2" in flags and "vnni" not in flags
