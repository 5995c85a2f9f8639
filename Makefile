# Everything a fresh clone needs: `make demo` and `make test` set up .venv where it is missing.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OUT ?= demo-out
BENCH_ENVS := .bench-envs
PEERS_ENVS := .peers-envs

SANAFE := .venv-sanafe

.PHONY: setup demo test test-slow conformance lint bench bench-envs check-sanafe check-sanafe-table peers-envs check-peers peers-table check-lava-dl clean

setup: $(READY)

# constraints.txt pins what was tested together; torch is the CPU build where the machine offers one.
# lava-nc refuses Python 3.11 in its metadata only, so it is installed by name, without its dependencies,
# which the extra `lava` brings.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,lava,onnx,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python lava-nc==0.10.0
	touch $@

demo: setup
	rm -rf $(OUT)
	$(BIN)/spikegraph demo --out $(OUT)

test: setup
	$(BIN)/python -m pytest

test-slow: setup
	$(BIN)/python -m pytest -m slow --hypothesis-profile=explore

# Networks and recordings of other projects, fetched through pip into .conformance (docs/conformance.md).
conformance: setup
	$(BIN)/python -m pytest tests/conformance -m conformance

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The peers that `make bench` compares with, each in an environment of its own: some ten minutes the first time.
bench-envs: setup
	$(BIN)/python tests/benchmarks/peers/install.py $(BENCH_ENVS) tests/benchmarks/peers/requirements

bench: setup bench-envs
	$(BIN)/python -m pytest tests/benchmarks -o python_files="bench_*.py" --benchmark-columns=median,iqr,rounds

# SANA-FE counts and charges the same networks (docs/cost.md). It is licensed under the GPL, and runs in an environment
# and a process of its own.
$(SANAFE)/.ready:
	$(PYTHON) -m venv $(SANAFE)
	$(SANAFE)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt sanafe==2.2.9 numpy
	touch $@

check-sanafe: setup $(SANAFE)/.ready
	SANAFE_PYTHON=$(SANAFE)/bin/python $(BIN)/python -m pytest tests/crosscheck -m peers

check-sanafe-table: setup $(SANAFE)/.ready
	SANAFE_PYTHON=$(SANAFE)/bin/python PYTHONPATH=tests $(BIN)/python tests/crosscheck/table.py $(GRAPH) $(ARGS)

# The frameworks whose networks come in as NIR, each in an environment of its own: some five minutes the first time.
# Networks are trained there, exported by the framework, and compared here spike by spike (docs/nir.md).
peers-envs: setup
	$(BIN)/python tests/benchmarks/peers/install.py $(PEERS_ENVS) tests/frameworks/requirements

check-peers: setup peers-envs
	$(BIN)/python -m pytest tests/frameworks -m peers

peers-table: setup peers-envs
	PYTHONPATH=tests $(BIN)/python tests/frameworks/table.py

# What we write as .net files, in lava-dl's own reader (docs/netx.md).
check-lava-dl: setup
	$(BIN)/python tests/benchmarks/peers/install.py $(PEERS_ENVS) tests/lava_dl/requirements
	$(BIN)/python -m pytest tests/lava_dl -m peers

clean:
	rm -rf $(VENV) $(SANAFE) $(BENCH_ENVS) $(PEERS_ENVS) $(OUT) build dist
