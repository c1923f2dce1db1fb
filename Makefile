# Everything a contributor or a user runs. `make serve` and `make test` are the README's two commands.

PYTHON ?= python3
VENV ?= .venv
UV_VERSION := 0.13.9
BIN := $(VENV)/bin
UV := $(BIN)/uv
INSTALL := $(UV) pip install --quiet --python $(BIN)/python

.PHONY: serve demo test lint types contracts check format lock proto docs train exports \
	bench-serving bench-index faults soak perf-modes gpu-check clean

serve: $(VENV)/.serve  ## start on the shipped models: CPU only, no torch, no Triton
	$(BIN)/kokeshi serve

demo: $(VENV)/.serve  ## fill the collection `digits` of a running server from real scans
	$(BIN)/kokeshi index create digits --model digits_mrl --if-missing
	$(BIN)/kokeshi index add digits docs/demo/digits.zip --replace

test: $(VENV)/.dev  ## the whole test suite
	$(BIN)/pytest

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

contracts: $(VENV)/.dev
	$(BIN)/lint-imports

check: lint types contracts test  ## what CI runs

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Universal locks: serving; exporting added to it; tuning and development added to both.
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command "make lock"
lock: $(UV)
	$(LOCK) pyproject.toml --extra cpu -o requirements/serve.txt
	$(LOCK) pyproject.toml --extra cpu --extra export \
		-c requirements/serve.txt -o requirements/export.txt
	$(LOCK) pyproject.toml --extra cpu --extra export --extra tune \
		--extra milvus --extra qdrant --extra parquet --group dev \
		-c requirements/export.txt -o requirements/dev.txt
	$(LOCK_TRITON)

# What `kokeshi triton install` installs; the wheel's own demands are an old tritonclient's.
TRITON := server/kokeshi/engines/triton/requirements
LOCK_TRITON = { echo "\# made by: make lock"; echo nvidia-pytriton==0.7.0 | $(LOCK) --no-header --no-deps - ; \
	$(LOCK) --no-header $(TRITON).in; } > $(TRITON).new && mv $(TRITON).new $(TRITON).txt

proto: $(VENV)/.dev  ## regenerate server/kokeshi/v1
	proto/generate.sh

docs: $(VENV)/.dev  ## regenerate the pages that are made from the code
	$(BIN)/python -m kokeshi.cli.docs

train: $(VENV)/.dev  ## train, measure and export the shipped models
	$(BIN)/python -m kokeshi_plugins.digits.train

exports: $(VENV)/.dev  ## export every variant, and write docs/benchmarks/exports.md
	$(BIN)/python benchmarks/exports.py

BENCH := build/bench
bench-serving: $(VENV)/.dev  ## serving against its peers, each in an environment of its own
	$(BIN)/kokeshi triton install
	$(BIN)/python benchmarks/serving/jpeg.py --folder $(BENCH)
	$(BIN)/python benchmarks/serving/tensor.py --folder $(BENCH)
	$(BIN)/python benchmarks/serving/through.py --folder $(BENCH)

soak: $(VENV)/.dev  ## half an hour of mixed load with loads, unloads and swaps
	$(BIN)/python benchmarks/serving/soak.py --folder $(BENCH)

bench-index: $(VENV)/.dev  ## collections against FAISS and other stores, in one run
	$(BIN)/python benchmarks/index/all.py --page docs/benchmarks/index.md

faults: $(VENV)/.dev  ## everything that can befall a collection, in full; writes docs/benchmarks/faults.md
	$(BIN)/python benchmarks/index/faults.py --report docs/benchmarks/faults.md

perf-modes: $(VENV)/.dev  ## every load mode of NVIDIA's perf_analyzer
	$(BIN)/python benchmarks/serving/modes.py --folder $(BENCH)

gpu-check: $(VENV)/.dev  ## everything that needs a GPU; writes docs/benchmarks/gpu.md
	$(BIN)/python benchmarks/gpu_check.py

$(UV):
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(VENV)/.serve: requirements/serve.txt pyproject.toml | $(UV)
	$(INSTALL) --require-hashes -r requirements/serve.txt
	$(INSTALL) --no-deps -e .
	touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(UV)
	$(INSTALL) --require-hashes -r requirements/dev.txt
	$(INSTALL) --no-deps -e . -e docs/example_plugin
	touch $@ $(VENV)/.serve

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
