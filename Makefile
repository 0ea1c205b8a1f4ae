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

# What starts a Ray of its own comes last, and alone: two on two cores would wait for one another.
test: check-code
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/serve --ignore tests/demo
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/serve tests/demo

clean:
	rm -rf .venv build *.egg-info outputs .greenlight
