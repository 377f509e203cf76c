# Two commands on a fresh machine: `make demo` and `make test`. Both make the virtual environment they need.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test test-all check format bench constraints clean

# New versions go bad under live traffic, and the machine pulls the brake; without a terminal it ends by itself.
demo: $(STAMP)
	@if [ -t 1 ]; then $(BIN)/pointsman demo; else $(BIN)/pointsman demo --once; fi

# All that needs only Python and what pip brings (and Debian's redis-server, where it is).
test: $(STAMP)
	$(BIN)/python -m pytest -m "not full"

# Also what needs Node, a browser, a second litellm, a model or minutes; a missing tool is a skip that names it.
test-all: $(STAMP)
	$(BIN)/python -m pytest -rs

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Ratios measured in one run; prints tables, asserts nothing.
bench: $(STAMP)
	$(BIN)/python -m tests.bench

# The exact versions for development and CI. Written anew when dependencies change.
constraints: $(STAMP)
	$(BIN)/python -m pip install --quiet uv
	echo '# Exact versions for development and CI, on every platform. Made by `make constraints`.' > constraints.new
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links pyproject.toml >> constraints.new
	mv constraints.new constraints.txt

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
