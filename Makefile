# Two commands: `make demo` and `make test`. Everything they need they set up themselves.
.DEFAULT_GOAL := help
SHELL := /bin/sh
# Compiled once, not at every start of every process of the demo and the tests.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8080
CAMERAS ?= 4
# Most of these tests wait for something; those in the browser and in the lab measure, and so run alone.
PARALLEL ?= -n 3 --dist loadfile
DETACH ?= 0

.PHONY: help
help: ## Show what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 20

.PHONY: setup
setup: $(VENV)/.ready ui/dist/.ready ## Make .venv and build the UI

$(VENV)/.ready: requirements.lock pyproject.toml
	@sh scripts/make_venv.sh $(PYTHON) $(VENV)
	@touch $@

ui/dist/.ready: $(VENV)/.ready $(shell find ui -type f -not -path '*/node_modules/*' -not -path '*/dist/*' 2>/dev/null)
	@$(BIN)/python scripts/build_ui.py
	@touch $@

.PHONY: demo
demo: setup ## Run S3, four simulated cameras and the server; prints one URL and a password
	@exec $(BIN)/python -m load_tests.demo start --port $(PORT) --cameras $(CAMERAS) $(if $(filter 1,$(DETACH)),--detach)

.PHONY: demo-stop
demo-stop: ## Stop a detached demo
	@$(BIN)/python -m load_tests.demo stop

.PHONY: test
test: setup test-tools ## Run every test
	$(BIN)/python -m pytest tests/browser
	$(BIN)/python -m pytest tests/lab
	$(BIN)/python -m pytest $(PARALLEL) tests/unit tests/fuzz tests/integration tests/peers

.PHONY: test-tools
test-tools: $(VENV)/.ready
	@sh scripts/install_test_tools.sh

.PHONY: test-unit
test-unit: $(VENV)/.ready ## Run the unit tests: no socket, no waiting
	$(BIN)/python -m pytest tests/unit

.PHONY: test-integration
test-integration: setup test-tools ## Run the tests against real S3, cameras and peers
	$(BIN)/python -m pytest $(PARALLEL) tests/integration tests/peers

.PHONY: test-lab
test-lab: setup test-tools ## Run the tests over bad links and beside hostile viewers (as root)
	$(BIN)/python -m pytest tests/lab

.PHONY: test-browser
test-browser: setup test-tools ## Run the tests in Chromium
	$(BIN)/python -m pytest tests/browser

.PHONY: lint
lint: $(VENV)/.ready ## Style, import rules, licences
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_licences.py

.PHONY: types
types: $(VENV)/.ready ## Static types
	$(BIN)/mypy

.PHONY: bench
bench: setup ## Measure what docs/figures.md quotes
	$(BIN)/python -m load_tests ingest --cameras 100 --seconds 30 --runs 3 --against ffmpeg --json
	$(BIN)/python -m load_tests ingest --cameras 100 --seconds 30 --runs 3 --unwatched --json
	$(BIN)/python -m load_tests ingest --cameras 100 --seconds 5 --no-cache --json
	$(BIN)/python -m load_tests ingest --cameras 300 --seconds 30 --one-core --json
	$(BIN)/python -m load_tests record --cameras 60 --seconds 30 --against ffmpeg --json
	$(BIN)/python -m load_tests fanout --viewers 200 --seconds 15 --runs 5 --against libsrtp,janus,aiortc --json
	$(BIN)/python -m load_tests fanout --viewers 200 --seconds 15 --runs 5 --audio --json
	$(BIN)/python -m load_tests fanout --viewers 100 --seconds 15 --joins 40 --json
	$(BIN)/python -m load_tests joins --count 10000 --json
	$(BIN)/python -m load_tests rtsp --readers 100 --seconds 10 --runs 5 --json
	$(BIN)/python -m load_tests timelines --rows 10000000 --json
	$(BIN)/python -m load_tests hls --viewers 500 --seconds 20 --runs 3 --against origin --json

.PHONY: lock
lock: $(VENV)/.ready ## Pin dependencies anew
	$(BIN)/uv pip compile -q --universal --group dev pyproject.toml --no-emit-index-url --generate-hashes -o requirements.lock

.PHONY: clean
clean: ## Remove what was built, keep the demo's data
	rm -rf $(VENV) ui/dist ui/node_modules .cache
