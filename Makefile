# `make help` lists the targets.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && exit; done; echo python3)
BIN := .venv/bin
USERS ?= 10000
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help env demo dev test test-clients test-browser screenshots check format bench bench-queues build constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

env: ## make the virtual environment in .venv
	@$(PYTHON) tools/environment.py

demo: env ## run the main job to its end over USERS users (10000), and check the result by SQL
	@$(BIN)/python -m governance.demo --users $(USERS) $(ARGS)

dev: env ## keep service, queue server and schedules running; Ctrl-C stops them
	@$(BIN)/python -m governance.seed --users $(USERS) --if-empty
	@$(BIN)/headrace dev $(ARGS)

test: env ## run all tests, on two cores
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-clients: env ## try Google's Node clients and gcloud on the queue server, where this machine has them
	@$(BIN)/python -m pytest -rs tests/clients/node_clients.py tests/clients/gcloud_commands.py $(ARGS)

test-browser: env ## try the console in a real Chromium; where there is none, CI=1 fails and all else skips
	@if $(BIN)/python -m tools.chromium; then \
		$(BIN)/python -m pytest -rs tests/browser/pages.py tests/browser/actions.py tests/browser/queue_server.py \
			tests/browser/queues.py tests/browser/tasks.py $(ARGS); \
	else test -z "$(CI)"; fi

screenshots: env ## take the pictures of the console in docs/images
	@$(BIN)/python -m tools.screenshots

check: env ## linters, formatting, types, direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/headrace check

format: env ## format the code and mend what ruff can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: env ## measure, and print each figure beside its bar
	@$(BIN)/python -m bench $(ARGS)

bench-queues: env ## measure the queue server alone, with sink and raw clients
	@$(BIN)/python -m bench.queues $(ARGS)

build: env ## build the wheel, which holds headrace alone
	@$(BIN)/python -m build --wheel

constraints: env ## write the installed versions to constraints.txt
	@(echo '# The versions that were tried together. Regenerate with: make constraints'; \
	$(BIN)/python -m pip freeze --exclude-editable | sort -f) > constraints.tmp && mv constraints.tmp constraints.txt

clean: ## remove the environment, caches and local data
	rm -rf .venv .headrace build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
