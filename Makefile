# Two commands on a fresh machine: `make demo` and `make test`. Both make the virtual environment they need.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test test-all check format bench constraints clean

# New versions go bad under live traffic, and the machine pulls the brake; without a terminal it ends by itself.
demo: $(STAMP)
	@if [ -t 1 ]; then $(BIN)/pointsman demo; else $(BIN)/pointsman demo --once; fi

# Tests start hundreds of processes; each would compile all that it imports anew.
test test-all: export PYTHONDONTWRITEBYTECODE =

# All that needs only Python and what pip brings (and Debian's redis-server, where it is).
# Two at a time: most of them wait for processes of their own, which keep the other core busy.
test: $(STAMP)
	$(BIN)/python -m pytest -m "not full" -n 2 --dist loadgroup

# Also what needs Node, a browser, a second litellm, a model or minutes; a missing tool is a skip that names it.
test-all: $(STAMP)
	$(BIN)/python -m pytest -rs --hypothesis-profile=full

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
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --extra retrieval --extra demo \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml >> constraints.new
	mv constraints.new constraints.txt

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
