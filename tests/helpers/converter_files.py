"""Files that all converters share, imported from where they are."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from converter_runs import CONVERTERS


def shared(name: str) -> ModuleType:
    """A file that all converters share."""
    sys.path.insert(0, str(CONVERTERS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(CONVERTERS))


contract, repairs = shared("contract"), shared("repairs")
