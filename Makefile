# make demo, make test, make bench, make lint: each makes its own virtual environment and builds what it needs.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ZOO ?= ../shared/zoo

# The demo's input; a hub name or a folder for TOKENIZER.
TRACES ?= examples/sample_traces.jsonl
TOKENIZER ?= examples/tokenizer
HINT_PLACEMENT ?= before_turn
HINT_ROLE ?= system
LAYOUT ?= aligned
# With older versions of transformers, in small environments on top of VENV: what depends on how templates are rendered,
# and processors.
COMPAT := oldest newest4 early5
COMPAT_TESTS ?= tests/render/test_identity_zoo.py tests/distillation/test_sentinels_zoo.py tests/render/test_traced_str.py tests/encode/test_encoder.py tests/media
# With verl, which wants a transformers of its own.
VERL_TESTS ?= tests/trainers/test_verl_library.py tests/trainers/test_verl_agent_loop.py
# With ms-swift, which wants older versions of transformers and TRL.
SWIFT_TESTS ?= tests/trainers/test_swift_library.py
# More for pytest, e.g. ARGS=--all for every case of the slow sweeps.
ARGS ?=
# Processes that tests run in, each with the files that it takes; 0: all in one.
WORKERS ?= 2

SOURCES := $(shell find rust python -name '*.rs' -o -name '*.toml' -o -name '*.py' -o -name '*.pyi') \
	Cargo.toml Cargo.lock pyproject.toml README.md

.DEFAULT_GOAL := help
.PHONY: help demo train-demo experiment test test-rust test-python test-compat $(COMPAT:%=test-compat-%) test-verl test-swift bench bench-encode attack screenshots docs docs-serve docs-version licences lint format wheel sdist wheel-test clean

help:  ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.built  ## collate TRACES with TOKENIZER and show whose each token is
	@$(BIN)/python examples/demo.py --traces "$(TRACES)" --tokenizer "$(TOKENIZER)" \
		--hint-placement "$(HINT_PLACEMENT)" --hint-role "$(HINT_ROLE)" --layout "$(LAYOUT)"

train-demo: $(VENV)/.built  ## distil a small student from a teacher that sees hints; a picture of it in train_demo.png
	@$(BIN)/python examples/train_demo.py $(ARGS)

experiment: $(VENV)/.built  ## small models trained in several ways on the same recordings, ten seeds; ARGS="--seeds 0,1", "--help"
	@$(BIN)/python -m experiments $(ARGS)

test: test-rust test-python  ## all tests

test-rust:
	cargo test --workspace --locked

test-python: $(VENV)/.built
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

test-compat: $(COMPAT:%=test-compat-%)  ## COMPAT_TESTS with the oldest transformers declared, the newest 4.x and an early 5

$(COMPAT:%=test-compat-%): test-compat-%: $(VENV)-compat/%/.installed $(VENV)/.built
	@$(<D)/bin/python -c "import transformers as t, tokenizers as k, jinja2 as j; \
		print(f'transformers {t.__version__}, tokenizers {k.__version__}, jinja2 {j.__version__}')"
	$(<D)/bin/python -m pytest $(COMPAT_TESTS) $(ARGS)

test-verl: $(VENV)-compat/verl/.installed $(VENV)/.built  ## VERL_TESTS with verl itself
	$(<D)/bin/python -m pytest $(VERL_TESTS) $(ARGS)

test-swift: $(VENV)-compat/swift/.installed $(VENV)/.built  ## SWIFT_TESTS with ms-swift itself
	$(<D)/bin/python -m pytest $(SWIFT_TESTS) $(ARGS)

bench: $(VENV)/.built  ## against prefix delta and transformers, ratios of paired runs
	$(BIN)/python benches/run.py $(ARGS)

bench-encode: $(VENV)/.built  ## chatspan encode on 20,000 rows: rows a second, memory
	$(BIN)/python benches/encode_files.py $(ARGS)

attack: $(VENV)/.built  ## seeded fuzzers for ten minutes; ARGS="--minutes 60 --seed 7", "--only forks"
	$(BIN)/python tools/attack $(ARGS)

screenshots: $(VENV)/.built  ## the pictures in docs/images, with Chromium; ARGS names some of them
	$(BIN)/python tools/screenshots.py $(ARGS)

docs: $(VENV)/.built  ## the documentation as a site, in site/
	$(BIN)/python tools/check_docs.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/python tools/check_site.py site

docs-serve: $(VENV)/.installed  ## the same on a local port, anew after each change
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

docs-version: $(VENV)/.installed  ## the site as a version beside the others, on the local branch gh-pages
	PATH="$(abspath $(BIN)):$$PATH" NO_MKDOCS_2_WARNING=1 $(BIN)/mike deploy --config-file mkdocs.versions.yml --update-aliases \
		"$$(sed -n 's/^version = "\([0-9]*\.[0-9]*\)\..*/\1/p' Cargo.toml)" latest
	$(BIN)/mike set-default --config-file mkdocs.versions.yml latest

licences:  ## THIRD_PARTY_LICENSES.md, of the crates in Cargo.lock
	$(PYTHON) tools/licences.py

lint: $(VENV)/.built  ## formatting, clippy, ruff, types, the order of rooms, workflows and forms
	cargo fmt --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/licences.py --check
	$(BIN)/python tools/addresses.py --check
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[0-9]*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml

format: $(VENV)/.installed  ## format everything
	cargo fmt
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# ARGS for older systems, with ziglang installed: --zig --compatibility manylinux2014
wheel: $(VENV)/.installed  ## a wheel for every Python from 3.10 on, in target/wheels
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/maturin build --release --locked $(ARGS)

sdist: $(VENV)/.installed  ## the sources, in target/wheels
	$(BIN)/maturin sdist

wheel-test: $(VENV)/.installed  ## the quick start of the docs with the wheel alone, for which pip installs all that it needs
	rm -rf target/wheel-test
	$(BIN)/maturin sdist --out target/wheel-test
	$(BIN)/maturin build --release --locked --out target/wheel-test
	$(BIN)/twine check --strict target/wheel-test/*
	$(BIN)/python tools/wheel_test.py target/wheel-test

clean:  ## what was built
	rm -rf target site $(VENV) $(VENV)-compat

# The dependencies of the package and of its development, as pyproject.toml names them.
$(VENV)/.installed: pyproject.toml tools/requirements.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $$($(BIN)/python tools/requirements.py)
	touch $@

$(VENV)/.built: $(VENV)/.installed $(SOURCES)
	PIP_QUIET=1 VIRTUAL_ENV="$(abspath $(VENV))" $(BIN)/maturin develop --release --locked --quiet
	touch $@

# Older versions on top of VENV, whose torch and built package they use.
$(COMPAT:%=$(VENV)-compat/%/.installed) $(VENV)-compat/verl/.installed $(VENV)-compat/swift/.installed: $(VENV)-compat/%/.installed: $(VENV)/.installed pyproject.toml tools/compat_env.py | $(VENV)/.built
	$(BIN)/python tools/compat_env.py $* $(@D)
	touch $@
