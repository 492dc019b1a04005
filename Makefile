# Two commands, each with all its set-up: `make convert` and `make test`.

# A distribution's Python is compiled by a profile of its own; one that pyenv compiled is
# not, unless it was told to (`--enable-optimizations`), and is slower.
PYTHON ?= $(or $(shell for python in /usr/bin/python3.11 python3.11; do \
	$$python -c 'import ensurepip, venv' 2>&- && echo $$python && break; done),python3.11)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# What one process compiled, the next need not: the tests start many.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: convert test lint bench clean

# The main job: a DeiT that timm trained on 1,437 real images becomes a SavedModel.
convert: $(INSTALLED)
	$(BIN)/python convert.py --checkpoint=examples/digits --out=out/digits --overwrite
	$(BIN)/python examples/digits/evaluate.py --bundle=out/digits

test: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m pytest --numprocesses=2 --dist=worksteal

bench: $(INSTALLED)
	$(BIN)/python benchmarks/conversion.py
	$(BIN)/python benchmarks/inference.py
	$(BIN)/python benchmarks/preprocessing.py
	$(BIN)/python benchmarks/training.py

# Runs again only when what is to be installed has changed.
$(INSTALLED): requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

clean:
	rm -rf $(VENV) out
