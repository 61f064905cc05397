#!/usr/bin/env bash
# Tests every converter in this folder: check_all.sh [FOLDER]
#
# Makes one environment per framework, as `cfp-onnx convert` does, in FOLDER (.venvs in the checkout, which git ignores),
# or takes the one that is there, and runs the tests marked `converters` with them. PYTHON names an interpreter that has
# cfp-onnx and its dev extra; .venv is taken where it is there.
#
# PyTorch: on Linux pip brings the CUDA build, some gigabytes, unless its settings name an index of CPU builds
# (pip config, PIP_INDEX_URL); with uv, UV_TORCH_BACKEND=cpu does that. An environment of your own is taken where
# CFP_TORCH_PYTHON names its interpreter; so for each framework.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=${1:-.venvs}
python=${PYTHON:-}
if [ -z "$python" ]; then
  python=python3
  [ ! -x .venv/bin/python ] || python=.venv/bin/python
fi
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

for requirements in converters/*/requirements.txt; do
  converter=$(dirname "$requirements")
  framework=$(basename "$converter")
  variable=CFP_$(printf '%s' "$framework" | tr '[:lower:]' '[:upper:]')_PYTHON
  if [ -z "${!variable:-}" ]; then
    echo "environment for $framework"
    interpreter=$(CFP_ONNX_CACHE="$folder" PYTHONPATH=. "$python" -c '
import sys
from pathlib import Path
from cfp_onnx.conversion.environments import environment
from cfp_onnx.errors import CfpError
try:
    print(environment(sys.argv[1], Path(sys.argv[2])))
except CfpError as error:
    sys.exit(str(error))
' "$framework" "$converter")
    export "$variable=$interpreter"
  fi
  echo "$variable=${!variable}"
done

PYTHONPATH=. "$python" -m pytest -q -m converters
