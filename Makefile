# Two commands from a fresh machine with Python 3.11+ and make:  make demo   make test
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One torch thread a process: stacked runs use the machine by processes (see docs/scale.md).
export OMP_NUM_THREADS := 1

.PHONY: demo test lint reference clean

demo: $(VENV)/ready
	$(BIN)/toybed run entropy_law --store build/demo.sqlite --report report.html

test: $(VENV)/ready lint
	$(BIN)/pytest -n auto -q

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test]"
	touch $@

reference: $(VENV)/ready
	$(BIN)/python -m toybed.reference build/reference

clean:
	rm -rf $(VENV) build report.html
