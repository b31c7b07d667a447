# make demo | test | test-slow | bench | lint | notebooks | docs
#
# Each target makes .venv when it is missing or when pyproject.toml or constraints.txt is newer;
# nothing else is needed than python3 (3.11 or later) and make. Another Python: make PYTHON=...

PYTHON ?= python3
# Parallel test workers; each imports torch and transformer_lens (about 0.5 GB).
JOBS ?= 2

BIN := .venv/bin
, := ,
RUN_TESTS = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

.PHONY: demo test test-slow bench lint notebooks docs
.DEFAULT_GOAL := test

# $(call install,EXTRAS): make the virtual environment if needed and install into it.
define install
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and \
	  "mo_interp needs Python 3.11 or later, and $(PYTHON) is %d.%d; try: make PYTHON=python3.12" % v[:2])'
	@test -x $(BIN)/python || { echo "making .venv"; $(PYTHON) -m venv .venv || { \
	  rm -rf .venv; echo "python3 -m venv failed; on Debian and Ubuntu: apt install python3-venv"; exit 1; }; }
	@echo "installing mo_interp[$(1)] into .venv (2 GB at first, some minutes)"
	@start=$$(date +%s); $(BIN)/python -m pip install -q --disable-pip-version-check \
	  -c constraints.txt -e '.[$(1)]' && echo "installed in $$(( $$(date +%s) - start )) s"
	@touch $@
endef

# $(call timed,WHAT,COMMAND): say what runs, run it, say how long it took, keep its exit status.
define timed
	@echo "$(1)"; start=$$(date +%s); status=0; $(2) || status=$$?; \
	  echo "$@: $$(( $$(date +%s) - start )) s"; exit $$status
endef

.venv/.installed: pyproject.toml constraints.txt
	$(call install,dev$(,)export)

.venv/.installed-notebooks: .venv/.installed
	$(call install,dev$(,)export$(,)notebooks)

demo: .venv/.installed
	$(call timed,growing$(,) finding and cutting out the lie of quirky_user,$(BIN)/mo-interp run quirky_user)
	@ls -td "$(CURDIR)"/runs/quirky_user-*/report.html | head -n 1

test: .venv/.installed
	$(call timed,running the tests that are not slow,$(RUN_TESTS) -m "not slow")

test-slow: .venv/.installed
	$(call timed,running the slow tests,$(RUN_TESTS) -m slow --timeout 1800)

bench: .venv/.installed
	$(call timed,measuring speed against the peers,for script in benchmarks/bench_*.py; do \
	  echo "$$script"; OMP_NUM_THREADS=1 $(BIN)/python "$$script" || exit 1; done)

lint: .venv/.installed
	$(call timed,ruff and pyright,$(BIN)/ruff check . && $(BIN)/pyright)

notebooks: .venv/.installed-notebooks
	$(BIN)/jupyter lab notebooks

docs: .venv/.installed
	$(call timed,building docs/ into site/,OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -q -W --keep-going -b html docs site)
	@echo "$(CURDIR)/site/index.html"
