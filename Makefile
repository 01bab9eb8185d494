# make run    installs what is needed, trains the quick-start study, writes its page
# make test   installs what is needed, runs the tests
# make lint   installs what is needed, runs ruff and mypy
# make notebooks installs what is needed, executes the notebooks that changed and keeps
#             their outputs
# make checks installs torch and keras too, compares every norm and optimizer with them
# make bench  installs torch and keras too, measures against them
# make guard  the same, but two minutes of it, and fails if a ratio fell by a fifth, or if
#             the baseline has none of the rows
# make docs   installs torch and keras too, writes the tables of README.md and docs/, and
#             docs/claims.md, docs/results.md and the plot of docs/numerics.md
# make site   installs Sphinx too, builds the site of docs/ and the docstrings: build/site
# JAX=cuda13 (or cuda12, tpu) installs jax for that accelerator; the default is the CPU
PYTHON ?= python3
VENV ?= .venv
JAX ?= cpu
EXTRAS ?= dev
WORKDIR ?= runs/quickstart

extras = $(EXTRAS)$(if $(filter-out cpu,$(JAX)),$(comma)$(JAX))
comma := ,
installed = $(VENV)/installed-$(subst $(comma),-,$(extras))

.PHONY: run test lint notebooks checks bench guard docs site clean
.PHONY: build-site with-peers-checks with-peers-bench with-peers-guard
.PHONY: with-peers-docs
run: $(installed)
	$(VENV)/bin/python launch.py --config=configs/quickstart.py --workdir=$(WORKDIR)

test: $(installed)
	$(VENV)/bin/python -m pytest $(TESTS)

lint: $(installed)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

site:
	$(MAKE) EXTRAS=$(EXTRAS)$(if $(findstring docs,$(EXTRAS)),,$(comma)docs) build-site

build-site: $(installed)
	JAX_PLATFORMS=cpu $(VENV)/bin/python -m sphinx --quiet --fail-on-warning --keep-going \
	  --fresh-env --doctree-dir build/doctrees docs build/site

notebooks: $(installed)
	$(VENV)/bin/python notebooks/execute.py

# the peers are installed for these four
checks bench guard docs:
	$(MAKE) EXTRAS=dev,torch,keras with-peers-$@

with-peers-checks: $(installed)
	$(VENV)/bin/python -m normjax.checks

with-peers-bench: $(installed)
	$(VENV)/bin/python -m benchmarks.training
	$(VENV)/bin/python -m benchmarks.optimizers

with-peers-guard: $(installed)
	$(VENV)/bin/python -m benchmarks.training --short --against benchmarks/baseline.json

with-peers-docs: $(installed)
	$(VENV)/bin/python -m normjax.checks --write docs
	$(VENV)/bin/python -m tests.mutants --write docs
	$(VENV)/bin/python -m benchmarks.variance --write docs
	$(VENV)/bin/python -m normjax.audit docs/results/* --write docs/claims.md
	$(VENV)/bin/python -m normjax.report docs/results/optimizers --out=docs/example.html
	$(VENV)/bin/python -m docs.generate

clean:
	rm -rf $(VENV) build *.egg-info

$(installed): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "python: $$($(PYTHON) --version 2>&1) found, normjax needs at least 3.11;" \
	  "name another with make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[$(extras)]'
	@touch $@
