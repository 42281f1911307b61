# The tools of the project, each in one word. All but `help` and `clean` first see to .venv: it is
# made by $(PYTHON), made anew for a $(PYTHON) of another version, and updated when pyproject.toml
# or constraints.txt has changed.

PYTHON ?= python3
VERSION = $(shell $(PYTHON) -SEc 'import platform; print(platform.python_version())' 2>/dev/null || echo none)

# ACCEL=cuda or ACCEL=tpu: JAX for it is installed, and nothing runs elsewhere in silence.
ACCEL ?= $(if $(filter gpu-check,$(MAKECMDGOALS)),$(if $(TINY)$(NOENV),,cuda))
READY := .venv/ready$(ACCEL:%=-%)
ifneq ($(ACCEL),)
export JAX_PLATFORMS := $(ACCEL),cpu
endif

# Where the C library is glibc: memory in large pages. Training frees and takes some 60 MB at every
# step, and without this spends a fifth of its time on page faults. Ignored elsewhere.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

.PHONY: help experiment experiments notebooks docs test test-fast test-strict stress lint format typecheck bench bench-peers gpu-check clean
.PHONY: named accelerator

help:  ## this list (the default)
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/\1 \2/p' Makefile | \
	while read -r target what; do printf 'make %-12s %s\n' "$$target" "$$what"; done

experiment: named accelerator $(READY)  ## run one: NAME=digits_fractal ARGS="--preset paper" ACCEL=cuda (ARGS=--help: all flags)
	@exec .venv/bin/python -m experiments $(NAME) $(ARGS)

named:
	@test -n "$(NAME)" || { echo 'error: which experiment? make experiment NAME=..., with a name' \
	'that `make experiments` lists' >&2; exit 2; }

# Asked of the driver, since to ask JAX some gigabytes must have been installed.
accelerator:
	@case "$(ACCEL)" in \
	'') ;; \
	cuda) nvidia-smi -L >/dev/null 2>&1 || test -e /dev/nvidiactl || { \
	echo 'error: ACCEL=cuda: this machine has no NVIDIA driver; leave ACCEL out for the CPU' >&2; \
	exit 2; } ;; \
	tpu) ls /dev/accel0 /dev/vfio/0 2>/dev/null | grep -q . || { \
	echo 'error: ACCEL=tpu: this machine has no TPU; leave ACCEL out for the CPU' >&2; exit 2; } ;; \
	*) echo 'error: ACCEL=$(ACCEL): there are cuda and tpu' >&2; exit 2 ;; \
	esac

experiments: $(READY)  ## the names of the experiments and what they are about
	@.venv/bin/python -m experiments --list

notebooks: $(READY)  ## run notebooks/*.py and write what comes out (ARGS=quickstart: one of them)
	.venv/bin/python -m notebooks $(ARGS)

docs: export NO_MKDOCS_2_WARNING := 1
docs: $(READY)  ## build the site in site/, strictly, from docs/, docstrings and notebooks
	@.venv/bin/mkdocs build --quiet --strict $(ARGS)
	@echo 'site/index.html'

# Two workers with a thread each; where each may use both cores, the tests take half as long again.
# Most of their time they compile: without LLVM's optimisation they take a third less.
TEST_FLAGS = --xla_cpu_multi_thread_eigen=false --xla_backend_optimization_level=0
test test-fast test-strict stress: export XLA_FLAGS ?= $(TEST_FLAGS)

test: $(READY)  ## all tests, on two cores (ARGS="-k topology": some of them)
	.venv/bin/python -m pytest -n 2 --dist loadfile $(ARGS)

test-fast: $(READY)  ## the tests that take no more than a few seconds each
	.venv/bin/python -m pytest -n 2 --dist loadfile -m "not slow" $(ARGS)

# Slices, for the checks slow everything down: that for leaks, which compiles all anew, the most.
MATHS = tests/metrics tests/priors tests/likelihoods tests/predictions
STRICT = .venv/bin/python -m pytest -n 2 --dist loadfile -m "not slow" $(ARGS)
test-strict: $(READY)  ## slices of the tests in 64 bits, stopping at each NaN, looking for leaked tracers
	JAX_ENABLE_X64=1 $(STRICT) tests/ops tests/posterior $(MATHS)
	JAX_DEBUG_NANS=1 $(STRICT) tests/ops $(MATHS)
	JAX_CHECK_TRACER_LEAKS=1 $(STRICT) tests/priors tests/likelihoods tests/predictions

stress: export JFRACTAL_STRESS = all
stress: $(READY)  ## runs killed at 42 moments and interrupted must end as if they were not; gpu-check in small
	.venv/bin/python -m pytest tests/experiments/test_stress.py tests/experiments/test_interrupted.py tests/benchmarks $(ARGS)

lint: $(READY)  ## style, imports and formatting, changing nothing
	.venv/bin/ruff check
	.venv/bin/ruff format --check

format: $(READY)  ## put imports and formatting in order
	.venv/bin/ruff check --select I --fix
	.venv/bin/ruff format

typecheck: $(READY)  ## types, with pyright
	.venv/bin/pyright --pythonpath .venv/bin/python

bench: $(READY)  ## what jfractal costs (ARGS="mc_predict --json FILE": one row, and a file)
	.venv/bin/python -m benchmarks $(ARGS)

PEERS = torch==2.13.0 pytorchcv==0.0.74 bayesian-torch==0.5.0 blitz-bayesian-pytorch==0.2.8 laplace-torch==0.3

bench-peers:  ## jfractal beside libraries of PyTorch, in .venv-peers
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install -qq -c constraints.txt -e '.[experiments]' $(PEERS)
	@# Nobody needs it, but it is imported where it is found, and not every build fits that of torch.
	@.venv-peers/bin/python -c 'import torchvision' 2>/dev/null || \
	.venv-peers/bin/python -m pip uninstall -qq -y torchvision
	.venv-peers/bin/python -m benchmarks --peers $(ARGS)

# NOENV=1: with the packages that $(PYTHON) has already.
CHECK = $(if $(NOENV),$(PYTHON),.venv/bin/python)
gpu-check: export HF_HUB_OFFLINE := 1
gpu-check: accelerator $(if $(NOENV),,$(READY))  ## what a GPU does with jfractal, below 8 minutes (TINY=1: tried on a CPU)
	@$(CHECK) -m benchmarks.gpu $(if $(TINY),--tiny --json runs/gpu-tiny.json) $(ARGS)

clean:  ## remove .venv, builds and caches; runs/ stays
	rm -rf .venv .venv-peers build dist site .pytest_cache .ruff_cache .hypothesis .jax_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Expanded twice, so that only a target which needs .venv waits for the interpreter's version.
.SECONDEXPANSION:
.venv/ready .venv/ready-cuda .venv/ready-tpu: pyproject.toml constraints.txt .venv/python-$$(VERSION)
	@echo 'installing jfractal and its tools into .venv (some minutes, only when they change)' >&2
	@.venv/bin/python -m pip install -qq -c constraints.txt -e '.[dev$(ACCEL:%=,%)]'
	@touch $@

.venv/python-%:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo 'error: PYTHON=$(PYTHON) is no Python 3.11 or newer (version: $*);' \
	'name one: make PYTHON=python3.12 ...' >&2; exit 2; }
	@$(PYTHON) -m venv --clear .venv
	@touch $@
