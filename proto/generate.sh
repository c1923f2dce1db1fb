#!/bin/sh -e
# Writes server/kokeshi/v1 (or the folder given) from proto/kokeshi/v1. The folder under proto/ is the
# Python package path, so the generated `from kokeshi.v1 import ...` works without patching.
cd "$(dirname "$0")/.."
out=${1:-server}
python=${PYTHON:-.venv/bin/python}
mkdir -p "$out/kokeshi/v1"
"$python" -m grpc_tools.protoc -Iproto \
  --python_out="$out" --pyi_out="$out" --grpc_python_out="$out" proto/kokeshi/v1/*.proto
