# One command for each thing a person or a machine does with this tree.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := benchmarks/.peers
QUANTIZERS := benchmarks/.quantizers
MUTANTS := benchmarks/.mutants
ATHERIS := tests/hostile/.atheris
PIP_QUIET := --quiet --disable-pip-version-check --no-input
export OMP_NUM_THREADS ?= 1

.PHONY: help setup demo test cover faults soak fuzz mutants check docs papers evidence smoke screens bench bench-peers bench-quantizers clean

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(STAMP)  ## make .venv from the pinned constraints (again only when they change)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_QUIET) -c constraints.txt -e '.[text,image,parquet,serve,dev]' lightgbm
	touch $@

demo: setup  ## the main job on real data, under 90 s after set-up
	$(BIN)/smidgen demo

test: setup  ## all tests
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

# Python 3.11 spins for ever where a traced thread holds a lock while a signal waits for the main thread, hence the one left out.
cover: setup  ## how much of the library the tests reach, branch by branch (half an hour)
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --cov=smidgen --cov-report=json:build/coverage.json -k "not ctrl_c_at_any_moment"
	$(BIN)/coverage report --skip-covered --sort=cover

fuzz: setup $(ATHERIS)/.installed  ## hostile input: each reader guided by coverage (SECONDS=60 each), then the tests' own, 20 times as much as on every push
	$(BIN)/python tests/hostile/fuzz.py --seconds $(or $(SECONDS),60)
	SMIDGEN_FUZZ=20 timeout 1800 $(BIN)/python -m pytest -q -n 2 --dist loadfile tests/hostile

$(ATHERIS)/.installed: tests/hostile/fuzz.txt
	$(BIN)/python -m pip install $(PIP_QUIET) --no-deps --upgrade --target $(ATHERIS) -r $<
	touch $@

faults: setup  ## kills, failing disks, lost power, many processes: SECONDS of them, 600 unless given; the figures are shown
	SMIDGEN_FAULTS=$(or $(SECONDS),600) $(BIN)/python -m pytest -q -o timeout=3600 -p no:randomly tests/faults

soak: setup  ## a person's day at random: fits, kills, removals beside a page that stays open; SECONDS of it, 3600 unless given (SEED=0)
	$(BIN)/python tests/faults/soak.py --seconds $(or $(SECONDS),3600) --seed $(or $(SEED),0)

mutants: setup $(MUTANTS)/.installed  ## do the tests notice? COUNT=200 new mutants of each of kit, budget and studies (SEED=0, MINUTES=60 for each)
	$(BIN)/python benchmarks/mutants.py run --count $(or $(COUNT),200) --seed $(or $(SEED),0) --minutes $(or $(MINUTES),60)

$(MUTANTS)/.installed: benchmarks/peers/mutants.txt
	$(BIN)/python -m pip install $(PIP_QUIET) --no-deps --upgrade --target $(MUTANTS) -r $<
	touch $@

check: setup docs  ## style, types, import levels, docs and benchmark tables
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/python benchmarks/show.py --check
	$(BIN)/smidgen papers check
	$(BIN)/python -m smidgen.papers.page docs/papers.md --check
	$(BIN)/python -m pytest -q tests/test_layers.py tests/test_imports.py

papers: setup  ## docs/papers.md and the vectors of the search, made anew from cards and evidence
	$(BIN)/python -m smidgen.papers.page docs/papers.md
	$(BIN)/python -m smidgen.papers.find

evidence: setup  ## measure each claim that has no evidence or is out of date (minutes each, from a clean tree; goes on where it stopped)
	$(BIN)/smidgen papers run --all
	$(BIN)/python -m smidgen.papers.page docs/papers.md

smoke: setup  ## every claim at its smallest: seconds
	$(BIN)/smidgen papers run --all --scale smoke

screens: setup  ## the pictures of the page in docs/pictures, made by its test (needs chromium)
	SMIDGEN_SCREENSHOTS=docs/pictures $(BIN)/python -m pytest -q tests/web/test_browser.py

docs: setup  ## the documentation, into site/, with the reference from the docstrings; a dead link is an error
	$(BIN)/python -m smidgen.web.reference docs/reference
	$(BIN)/zensical build --strict --clean -f mkdocs.yml

bench: setup  ## the comparisons with other tools: measure what is missing (hours), then rewrite the tables of docs/benchmarks.md
	$(BIN)/python benchmarks/startup.py run
	$(BIN)/python benchmarks/tables.py run $(if $(wildcard $(PEERS)/bin/python),,--tools smidgen,logistic)
	$(BIN)/python benchmarks/texts.py run
	$(BIN)/python benchmarks/coverage.py run
	$(BIN)/python benchmarks/show.py

bench-peers: $(PEERS)/.installed  ## the environment of AutoGluon, FLAML and SetFit (gigabytes)

$(PEERS)/.installed: benchmarks/peers/requirements.txt
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install $(PIP_QUIET) -r benchmarks/peers/requirements.txt
	$(PEERS)/bin/python -m pip freeze --exclude pip | sed -E 's/ @ .*//; s/\+cpu$$//' > benchmarks/peers/versions.txt
	touch $@

bench-quantizers: $(QUANTIZERS)/.installed  ## the environment of bitsandbytes, HQQ, quanto and torchao (gigabytes)

$(QUANTIZERS)/.installed: benchmarks/peers/quantizers.txt
	test -x $(QUANTIZERS)/bin/python || $(PYTHON) -m venv $(QUANTIZERS)
	$(QUANTIZERS)/bin/python -m pip install $(PIP_QUIET) -r benchmarks/peers/quantizers.txt
	touch $@

clean:  ## remove what was made here, environments included
	rm -rf $(VENV) $(PEERS) $(QUANTIZERS) $(MUTANTS) $(ATHERIS) site docs/reference dist build .pytest_cache .ruff_cache .hypothesis
