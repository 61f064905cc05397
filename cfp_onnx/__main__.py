"""``python -m cfp_onnx``: the same as the command ``cfp-onnx``."""

from __future__ import annotations

import sys

from cfp_onnx.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
