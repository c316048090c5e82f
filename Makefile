# Everything runs from one virtual environment, .venv, and downloads stay in .cache:
# `make clean` takes both away. The same steps without make are in docs/install.md.

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
OPEN ?= 1
# Without pip's cache, which would keep gigabytes of torch a second time, and after `make clean`.
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --no-cache-dir \
	-c requirements/constraints.txt
# Tests wait for servers and processes for half of their time: two files at once, each whole.
SIDE_BY_SIDE := -n 2 --dist loadfile
INSTALLED_FROM := pyproject.toml requirements/constraints.txt \
	$(wildcard labextension/*.json labextension/yarn.lock labextension/src/*)

export NPU_JUPYTER_DATA ?= $(CURDIR)/.cache/npu-jupyter
# Programs of the environment, its Node among them, come before the machine's.
export PATH := $(BIN):$(PATH)

.PHONY: demo test test-fast lint bench lock clean

demo: $(VENV)/.demo
	jupyter npu demo $(if $(filter 0,$(OPEN)),--no-browser)

test: $(VENV)/.test
	python tests/prepare.py
	python -m pytest $(SIDE_BY_SIDE)

test-fast: $(VENV)/.test
	python -m pytest $(SIDE_BY_SIDE) -m "not slow"

lint: $(VENV)/.test
	ruff check .
	ruff format --check .
	mypy --strict
	cd labextension && jlpm install && jlpm check

bench: $(VENV)/.bench
	python benchmarks/run.py

# What the tests ran with, for the next install. torch and what comes with it stay open:
# a machine's torch may be the CPU, CUDA or XPU build, and torchvision must match it.
lock: $(VENV)/.test
	{ sed -n '/^#/p' requirements/constraints.txt; \
	  python -m pip freeze --exclude-editable --exclude pip --exclude setuptools \
	  | grep -vE '^(torch|torchvision|triton|nvidia-.*|cuda-.*)=='; } > requirements/constraints.new
	mv requirements/constraints.new requirements/constraints.txt
	touch $(VENV)/.demo $(VENV)/.test

clean:
	rm -rf $(VENV) .cache build dist labextension/lib labextension/node_modules \
	  labextension/tsconfig.tsbuildinfo npu_jupyter/labextension tests/e2e/js/node_modules

$(VENV)/pyvenv.cfg:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found. Name it: make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(INSTALLED_FROM) | $(VENV)/pyvenv.cfg
	rm -rf npu_jupyter/labextension
	$(INSTALL) -e '.[demo]'
	touch $@

$(VENV)/.test: $(INSTALLED_FROM) | $(VENV)/pyvenv.cfg
	rm -rf npu_jupyter/labextension
	$(INSTALL) -e '.[test]'
	touch $(VENV)/.demo $@

# TRL's trainer too, which `make bench` compares with.
$(VENV)/.bench: $(INSTALLED_FROM) | $(VENV)/pyvenv.cfg
	rm -rf npu_jupyter/labextension
	$(INSTALL) -e '.[bench]'
	touch $(VENV)/.demo $(VENV)/.test $@
