# Two commands matter: `make demo` and `make test`. Both work on a bare machine with Python >= 3.11, git and make.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready

# Without compiled modules each start of a process costs four seconds instead of one.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test soak fuzz check bench lock clean

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@echo "Setting up .venv from requirements.lock (once; about half a minute) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==0.13.9"
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: setup
	@$(BIN)/privguard demo $(ARGS)

test: setup
	@$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

# The long forms: sixteen writers killed at random over 100,000 entries on both engines, among others; an hour.
soak: setup
	@$(BIN)/python -m pytest -m slow --timeout 3600 $(ARGS)

# Nightly: atheris looks for bytes that a reader of proofs, notes or bundles neither takes nor refuses; ten
# minutes a reader (ARGS="--seconds 60 note").
fuzz: setup
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r tests/fuzz/requirements.lock
	@$(BIN)/python -m tests.fuzz $(ARGS)

check: setup
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/privguard policy test policies/*_test.yaml

bench: setup
	@$(BIN)/python -m benchmarks $(ARGS)

# Writes the locks: hashed requirements, no index lines.
LOCKED := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet
lock:
	@test -x $(BIN)/uv || $(MAKE) setup
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev $(LOCKED) --output-file requirements.lock
	$(BIN)/uv pip compile --group fuzz $(LOCKED) --output-file tests/fuzz/requirements.lock
	$(BIN)/uv pip compile --group engines --no-deps $(LOCKED) --output-file tests/engines/requirements.lock
	$(BIN)/uv pip compile --group engines-build --no-deps $(LOCKED) --output-file tests/engines/build.lock

clean:
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
