# The commands of the README. Everything is installed into .venv; nothing else is touched.

# The first of these that is new enough.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null && echo $$name && break; done)
# One more package index, for PyTorch, e.g. https://download.pytorch.org/whl/cpu on CPU-only machines.
TORCH_INDEX ?=
# `no` installs the versions of constraints.txt without the hashes of requirements-lock.txt.
LOCKED ?= yes

BIN := .venv/bin
# Python compiles what it imports; pip would compile all, most of which nobody ever imports.
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-compile \
	--constraint constraints.txt
TORCH_OPTIONS := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: demo test faults nightly lock audit lint format bench gpu compat docs release clean

demo: .venv/installed
	$(BIN)/jagpt run quickstart

test: .venv/installed-test
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

faults: .venv/installed-test
	$(BIN)/python tests/faults/run.py --random 20

nightly: faults
	$(BIN)/python benchmarks/lost_machine.py
	HF_HUB_OFFLINE=1 HYPOTHESIS_PROFILE=nightly JAGPT_FLIPS=200 JAGPT_CUTS=50 JAGPT_BOMB=2000 \
		JAGPT_MUTATIONS=10000 JAGPT_REQUESTS=1 JAGPT_CLASSES=all JAGPT_COMPILER=inductor \
		$(BIN)/python -m pytest -n 2 --dist worksteal -o faulthandler_timeout=7200 tests/faults \
		tests/remote tests/export/test_runtimes.py tests/training/test_classes.py \
		tests/training/test_network.py

lock: .venv/installed
	$(BIN)/python tools/lock_dependencies.py

audit: .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.9'
	$(BIN)/python tools/audit_dependencies.py

lint: .venv/installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/build_sample.py --check
	$(BIN)/python tools/build_docs.py --check
	$(BIN)/python tools/check_phrases.py

format: .venv/installed-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/installed-test
	$(BIN)/python benchmarks/run_all.py

gpu: .venv/installed
	$(BIN)/python benchmarks/gpu.py --json gpu.json

compat: .venv/installed-test
	$(BIN)/python compat/run.py

release: .venv/bin/python
	$(BIN)/python tools/build_release.py $(TORCH_OPTIONS)

docs: .venv/installed-docs
	$(BIN)/python tools/build_docs.py
	$(BIN)/python tools/build_site.py

clean:
	rm -rf .venv

# Made again where its Python is gone or broken, or has no pip.
.venv/bin/python: $(shell { .venv/bin/python -c 'import pip'; } > /dev/null 2>&1 || echo again)
	@$(or $(PYTHON),python3) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'jagpt needs Python 3.11 or later; name one: make PYTHON=/path/to/python3.12 ...' >&2; exit 2; }
	$(PYTHON) -m venv --clear .venv

.PHONY: again

.venv/torch: .venv/bin/python constraints.txt requirements-lock.txt
	$(if $(filter-out no,$(LOCKED)),$(BIN)/python tools/install_locked.py $(TORCH_OPTIONS))
	$(PIP) $(TORCH_OPTIONS) torch
	touch $@

.venv/installed: .venv/torch pyproject.toml
	$(PIP) --editable '.[train]'
	touch $@

.venv/installed-test: .venv/torch pyproject.toml
	$(PIP) --editable '.[test]'
	touch $@ .venv/installed

.venv/installed-docs: .venv/torch pyproject.toml
	$(PIP) --editable '.[train,docs]'
	touch $@ .venv/installed

.venv/installed-lint: .venv/torch pyproject.toml
	$(PIP) --editable '.[test,lint]'
	touch $@ .venv/installed .venv/installed-test
