# Every target sets up .venv first if need be. Variables: PYTHON, VENV, ARGS; JOBS, how many processes run tests.
VENV ?= .venv
PYTHON ?=
ARGS ?=
JOBS ?= 2
BIN := $(VENV)/bin
# uv compiles nothing when it installs: if Python may not keep what it compiles, every process does that work again.
unexport PYTHONDONTWRITEBYTECODE
PACKAGES := partitioner policies nodes orchestrator simulations isthmus

.PHONY: help setup develop demo test check format bench lock clean

help:
	@echo "make demo     split a real model over three workers on this machine"
	@echo "make test     every test (ARGS='-k name' for some)"
	@echo "make check    ruff, mypy --strict, import-linter"
	@echo "make bench    every figure the README prints (ARGS=--quick for rough ones)"
	@echo "make format   ruff format and safe fixes"
	@echo "make lock     constraints.txt anew from pyproject.toml"
	@echo "make clean    remove .venv, caches and build outputs"

setup:
	@PYTHON="$(PYTHON)" sh scripts/bootstrap.sh "$(VENV)"

# What tests, checks and benchmarks need beside: all engines and the tools.
develop:
	@PYTHON="$(PYTHON)" sh scripts/bootstrap.sh "$(VENV)" develop

demo: setup
	@$(BIN)/isthmus demo $(ARGS)

# Most tests in JOBS processes, each file in one; then by themselves those that need the machine. 5: none was chosen.
test: develop
	@status=5; for part in "together -n $(JOBS) --dist loadfile --no-loadscope-reorder" alone; do \
	    $(BIN)/python -m pytest --part $$part $(ARGS); \
	    case $$? in 0) test $$status = 1 || status=0;; 1) status=1;; 5) ;; *) exit 2;; esac; \
	done; exit $$status

check: develop
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(PACKAGES) scripts
	$(BIN)/lint-imports

format: develop
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Each file that can be run answers one question; a figure that misses its target does not stop the others.
bench: develop
	@failed=; for file in $$(grep -l '__main__' benchmarks/*.py); do \
	    echo "== $$file"; $(BIN)/python $$file $(ARGS) || failed="$$failed $$file"; \
	done; test -z "$$failed" || { echo "failed:$$failed" >&2; exit 1; }

lock: develop
	$(BIN)/../bootstrap/bin/uv pip compile --universal --python-version 3.11 --upgrade -q \
	    --no-header --no-annotate --no-emit-index-url -o constraints.txt pyproject.toml \
	    --extra cpu --extra gpu --extra openvino --extra tvm --extra mnn --extra tensorrt-rtx --extra onnxruntime-openvino --extra tune --extra zoo --extra gateway --extra security --extra otel --extra simulate --extra jobs --extra pipelines --extra bench --extra dev

clean:
	rm -rf "$(VENV)" build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
