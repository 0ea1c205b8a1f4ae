# Two commands do everything: `make demo` and `make test`. Both make .venv when it is missing.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo serve test check-code install install-dev clean

install: .venv/installed
install-dev: .venv/installed-dev

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/installed-dev: .venv/bin/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@ .venv/installed

demo: install
	$(BIN)/greenlight demo

serve: install
	$(BIN)/serve run --address local serve_app/profiles/demo.yaml

check-code: install-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: check-code
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

clean:
	rm -rf .venv build *.egg-info outputs .greenlight
