# `make run` sets everything up and transcribes a sample; `make test` sets everything up and runs all tests;
# `make test-fast` runs the tests without engines, shells and waiting. All can be interrupted and started again.

VENV := .venv
JUDGES := .venv-judges
FRAMEWORKS := .venv-frameworks
PYTHON ?= python3
BIN := $(VENV)/bin
FILE ?=
TESTS ?=
# Workers run whole test files, in the order of tests/conftest.py, which also sets the number of workers.
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder
# Debian packages for the tests: shells, a speech synthesizer, ffmpeg, a sound server, a tracer.
SYSTEM := bash chromium chromium-driver curl espeak-ng ffmpeg fish jq libasound2-plugins libportaudio2 mandoc pulseaudio pulseaudio-utils strace tmux zsh

# Where this is set, nothing compiled is kept: every test worker would rewrite the asserts of all test files.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-fast coverage collect check format completions sample bench pictures faults fuzz golden clean

run: $(VENV)/.run
	@$(BIN)/cartesia-cli transcribe $(if $(FILE),"$(FILE)",--sample) --word-timestamps

test: $(VENV)/.dev $(JUDGES)/.done $(FRAMEWORKS)/.done system
	@$(MAKE) --no-print-directory -j2 check collect
	@echo "-- tests, several files at a time; failed ones are run again alone"
	@$(BIN)/pytest $(PARALLEL) || $(BIN)/pytest --last-failed --last-failed-no-failures none

test-fast: $(VENV)/.dev
	@$(BIN)/pytest $(PARALLEL) -m "not engine and not shell and not waits" --hypothesis-profile fast

# The whole suite again, measured: takes some twice as long as `make test`.
coverage: $(VENV)/.dev $(JUDGES)/.done $(FRAMEWORKS)/.done system
	@rm -rf .coverage && mkdir .coverage
	@$(BIN)/coverage run -m pytest $(PARALLEL) $(TESTS); status=$$?; \
	$(BIN)/coverage combine --quiet && $(BIN)/coverage report && exit $$status

# Rewrites the asserts of changed test files once, beside mypy, instead of in each worker.
collect: $(VENV)/.dev
	@$(BIN)/pytest --collect-only -q > /dev/null || true

check: $(VENV)/.dev
	@echo "-- ruff, mypy, import-linter"
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo 2>&1 | tail -n +1

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

completions: $(VENV)/.dev
	@$(BIN)/python completions/generate.py
	@$(BIN)/python man/generate.py

sample: $(VENV)/.dev
	@$(BIN)/python -m tests.speech sample cartesia_cli/sample.wav

bench: $(VENV)/.dev $(JUDGES)/.done
	@status=0; for script in startup upload many journal kill_resume endpointing capture latency subtitles pacing live_engines engines languages live_text word_times player live local local_jobs lost_connections soak; do $(BIN)/python benchmarks/$$script.py || status=1; done; exit $$status

# Commit the pictures together with what they show.
pictures: $(VENV)/.dev
	@$(BIN)/python scripts/pictures.py

faults: $(VENV)/.dev
	@$(BIN)/python -m tests.faults

# Record the golden record again; commit the difference together with its cause.
golden: $(VENV)/.dev
	@$(BIN)/python -m tests.golden --update

fuzz: $(VENV)/.dev
	@$(BIN)/python benchmarks/fuzz.py

clean:
	rm -rf $(VENV) $(JUDGES) $(FRAMEWORKS)

# A marker file says that a step is complete; an interrupted step is repeated.
$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "-- installing cartesia-cli with its offline engine into $(VENV) (once, about 700 MB)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[local]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "-- installing cartesia-cli and the packages of its tests into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.run

$(JUDGES)/.done: tests/judges/requirements.txt
	@echo "-- installing the official SDKs into $(JUDGES), to test the local server with them"
	@sh scripts/venv.sh $(PYTHON) $(JUDGES)
	@$(JUDGES)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(FRAMEWORKS)/.done: tests/judges/frameworks.txt
	@echo "-- installing two frameworks for voice agents into $(FRAMEWORKS) (415 MB), to test the live server with them"
	@sh scripts/venv.sh $(PYTHON) $(FRAMEWORKS)
	@$(FRAMEWORKS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	@touch $@

$(VENV)/.made:
	@echo "-- creating a virtual environment in $(VENV)"
	@sh scripts/venv.sh $(PYTHON) $(VENV)
	@touch $@

.PHONY: system
system:
	@sh scripts/system.sh $(SYSTEM)
