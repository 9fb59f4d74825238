# Thin lines over uv; `make help` lists them.
PYTHON ?= python3
UV_VERSION := 0.13.9
UV := .tools/bin/uv
RUN := $(UV) run --frozen --no-sync
DATA_DIR ?= data
HOST ?= 127.0.0.1
PORT ?= 8000
export UV_PYTHON_DOWNLOADS := never

.PHONY: help run demo test check fmt bench docs prove
.DEFAULT_GOAL := help

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

run: .venv/.ready ## Start the service on 127.0.0.1:8000 with everything embedded
	@exec .venv/bin/sentinel serve --host $(HOST) --port $(PORT) --data-dir $(DATA_DIR)

demo: .venv/.ready ## Watch it at work for half a minute: people, three attacks, and what is done about them
	@exec .venv/bin/sentinel demo

test: .venv/.ready ## Install what the tests need and run all of them
	@scripts/install_test_programs strace:strace promtool:prometheus amtool:prometheus-alertmanager nginx:nginx-light wrk:wrk redis-server:redis-server "/usr/lib/postgresql/*/bin/initdb:postgresql"
	$(RUN) pytest -n auto --dist worksteal

check: .venv/.ready ## Lint, types, import layers, format: what a commit must pass
	@scripts/install_test_programs promtool:prometheus amtool:prometheus-alertmanager
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) lint-imports
	promtool check rules config/prometheus/security_rules.yml
	amtool check-config config/alertmanager/alertmanager.yml

fmt: .venv/.ready ## Format the code and mend what can be mended
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

bench: .venv/.ready ## Measure: scanner, engine, ingestion, event to refusal; LOG="log labels" is read beside its peers
	$(RUN) python benchmarks/run_all.py $(LOG)

prove: .venv/.ready ## The long forms of fault, API and alert tests, and a table of them (half an hour); LOG=sshd.log is a stream
	@scripts/install_test_programs strace:strace promtool:prometheus amtool:prometheus-alertmanager redis-server:redis-server "/usr/lib/postgresql/*/bin/initdb:postgresql"
	SENTINEL_PROVE=1 SENTINEL_PROVE_LOG=$(LOG) $(RUN) pytest tests/faults tests/functional/test_openapi.py tests/functional/test_attacks_on_us.py tests/deploy/test_delivery.py

docs: .venv/.ready ## Run every example in the documents
	$(RUN) pytest tests/test_docs.py

# uv goes into a folder of its own: that needs pip, and neither root nor a working ensurepip.
$(UV):
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --target .tools "uv==$(UV_VERSION)"

.venv/.ready: $(UV) pyproject.toml uv.lock
	@$(UV) sync --frozen --quiet --all-extras --compile-bytecode --python $(PYTHON)
	@.venv/bin/python -m compileall -q src
	@touch $@
