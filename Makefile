# `make repro` and `make test` each work as the first command on a fresh clone: python3 (>= 3.11), make, git.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready

# Stages and tests call `wyk`, `papermill` and `python` of this environment, without activating it.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Two processes on two cores; more threads inside each would only wait for one another.
export OMP_NUM_THREADS ?= 1

.PHONY: env data repro figures test test-browser test-long lint docs lab bench bench-long bench-peer lock clean

env: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "wyk needs Python 3.11 or newer; choose one with: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --no-compile -r requirements.lock
	@# pip would compile on one core; what some packages have for other Pythons does not compile
	$(VENV)/bin/python -m compileall -qq -j 2 $(VENV)/lib || true
	$(VENV)/bin/python -m pip install --quiet --no-deps -e .
	@touch $@

# Downloads the third-party data sets, or copies them: make data FROM=folder
data: env
	python -m wyk.files.downloads $(if $(FROM),--from "$(FROM)"); \
		status=$$?; dvc commit --quiet --force data.dvc && exit $$status

# The `quick` experiment, from data to figures. Other experiments: .venv/bin/dvc repro --glob '*@NAME*'
# It gives the same bytes on every x86-64 processor since about 2009 (x86-64-v2): no library uses newer instructions.
repro: export ATEN_CPU_CAPABILITY := default
repro: export MKL_CBWR := COMPATIBLE
repro: export ONEDNN_MAX_CPU_ISA := SSE41
repro: export OPENBLAS_CORETYPE := Nehalem
repro: export NPY_DISABLE_CPU_FEATURES := X86_V3 X86_V4 AVX512_ICL AVX512_SPR
repro: export GLIBC_TUNABLES := glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX512F
repro: env
	dvc repro --glob '*@quick*'

# Every figure and table of `biternary_7k` again, from what is in git and the store: minutes, no third-party data
figures: env
	dvc pull --allow-missing
	dvc repro --force --single-item --glob '[0-9]*@biternary_7k'

lint: env
	ruff check .
	ruff format --check .
	nbstripout --verify notebooks/*.ipynb

test: lint
	python -m pytest -n 2 --dist loadgroup

# Notebooks in JupyterLab, run in headless Chromium, after make repro; screenshots in runs/browser/
test-browser: env
	python -m pytest -m "browser and not long" --durations=0 --durations-min=1 tests/test_browser.py

# The documentation in runs/docs/html; any warning, such as a broken link, is an error
docs: env
	rm -rf runs/docs
	python docs/pages.py runs/docs/source
	sphinx-build -W --keep-going -q -c docs runs/docs/source runs/docs/html
	@echo "open runs/docs/html/index.html"

# The reliability campaign: how long its open-ended parts take, and the seed of what they draw
MINUTES ?= 8
SEED ?= 0

test-long: env
	MINUTES=$(MINUTES) SEED=$(SEED) python -m pytest -m "long and not browser" --durations=0 --durations-min=60 tests
	python -m pytest -m browser tests/test_browser.py

lab: env
	jupyter lab notebooks

bench: env
	set -e; for bench in $(filter-out %/bench_peer.py,$(wildcard tests/benchmarks/bench_*.py)); do \
		echo "== $$bench"; python "$$bench"; done

# 10,000 crystals: representations beside pyXtal's, and those of another program judged: 20 minutes
bench-long: env
	python tests/benchmarks/agreement.py
	python tests/benchmarks/tolerance.py
	python tests/benchmarks/judge.py

# Ours beside the authors' release, which gets an environment of its own (Python 3.12, about 6 GB): 30 minutes
PEER := runs/benchmarks/peer/venv
PEER_PYTHON ?= python3.12

bench-peer: env $(PEER)/.ready
	python tests/benchmarks/bench_peer.py

# where pyenv decides what python3.12 is
$(PEER)/.ready: export PYENV_VERSION ?= 3.12
$(PEER)/.ready: tests/benchmarks/peer/requirements.txt
	@$(PEER_PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' || \
		{ echo "the release needs Python 3.12; name it with: make bench-peer PEER_PYTHON=..." >&2; exit 1; }
	$(PEER_PYTHON) -m venv $(PEER)
	$(PEER)/bin/python -m pip install --quiet -r $<
	@touch $@

# requirements.lock again, from the direct dependencies in pyproject.toml and nothing else
lock:
	set -e; clean=$$(mktemp -d); trap 'rm -rf "$$clean"' EXIT; \
	$(PYTHON) -m venv "$$clean"; \
	"$$clean/bin/python" -m pip install --quiet ".[dev]"; \
	"$$clean/bin/python" -m pip freeze --all --exclude pip --exclude wyk | sed 's/+.*//' > "$$clean/lock"; \
	mv "$$clean/lock" requirements.lock

# The environment and caches; results in runs/ and figures/ stay
clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find wyk tests -name __pycache__ -type d -prune -exec rm -rf {} +
