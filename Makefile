# Everything a fresh clone needs: `make demo` and `make test` set up .venv where it is missing.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OUT ?= demo-out

.PHONY: setup demo test test-slow lint bench clean

setup: $(READY)

# constraints.txt pins what was tested together; torch is the CPU build where the machine offers one.
# lava-nc refuses Python 3.11 in its metadata only, so it is installed by name, without its dependencies,
# which the extra `lava` brings.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,lava,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python lava-nc==0.10.0
	touch $@

demo: setup
	rm -rf $(OUT)
	$(BIN)/spikegraph demo --out $(OUT)

test: setup
	$(BIN)/python -m pytest

test-slow: setup
	$(BIN)/python -m pytest -m slow --hypothesis-profile=explore

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m pytest tests/benchmarks -o python_files="bench_*.py" --benchmark-columns=median,iqr,rounds

clean:
	rm -rf $(VENV) $(OUT) build dist
