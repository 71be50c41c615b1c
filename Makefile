# The whole workflow. `make run` needs Python >= 3.11 and nothing else; `make test` installs what it needs.
.DEFAULT_GOAL := help
.PHONY: help run test check format bench bench-queries bench-scale bench-stalls bench-guard bench-profile soak clients lock openapi clean
PYTHON ?=
export PYTHON
ARGS ?=
JOBS ?= 2

help:            ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { sub(/ +$$/, "", $$1); printf "  make %-13s %s\n", $$1, $$2 }' Makefile

run:             ## Farebox on http://127.0.0.1:8080 with everything built in (ARGS="--port 8088")
	@scripts/environment run
	@exec .venv/bin/farebox dev $(ARGS)

test:            ## the whole suite (ARGS="-k ledger", JOBS=2)
	@scripts/test-tools
	@scripts/environment dev
	@.venv/bin/python -m pytest --numprocesses $(JOBS) --dist loadfile $(ARGS)

check:           ## ruff and mypy
	@scripts/environment dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format:          ## ruff, changing files
	@scripts/environment dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench:           ## the figures of README, beside nginx in the same run (ARGS=--peers: beside gateways of others too)
	@scripts/environment dev
	@.venv/bin/python -m bench $(ARGS)

bench-queries:   ## searches and summaries over 10 million usage records (13 GB in bench/.cache, a quarter of an hour the first time)
	@scripts/environment dev
	@.venv/bin/python -m bench.queries $(ARGS)

bench-scale:     ## what a call costs against accounts, keys, open holds, partitions and unread events
	@scripts/environment dev
	@.venv/bin/python -m bench.scale $(ARGS)

bench-stalls:    ## the longest time that a worker's event loop is blocked, under all that might block it
	@scripts/environment dev
	@.venv/bin/python -m bench.stalls $(ARGS)

bench-guard:     ## has a call become dearer? CPU beside nginx's, functions a call, and what is stored (half a minute)
	@scripts/environment dev
	@.venv/bin/python -m bench.guard $(ARGS)

bench-profile:   ## where the CPU of a small call goes, function by function (a minute)
	@scripts/environment dev
	@.venv/bin/python -m bench.profile $(ARGS)

soak:            ## the long tests: model sequences, hammer, random kills, fuzzing (hours; FAREBOX_FUZZ_RUNS=100000 for less)
	@scripts/environment dev
	@FAREBOX_SOAK=1 .venv/bin/python -m pytest -m soak --timeout 7200 $(ARGS)

clients:         ## frameworks and coding agents of others, in environments of their own (minutes, and 1.8 GB of disk)
	@scripts/environment dev
	@FAREBOX_SOAK=1 .venv/bin/python -m pytest -m soak tests/end_to_end/test_clients_agents.py tests/end_to_end/test_clients_frameworks.py $(ARGS)

lock:            ## both lock files from pyproject.toml
	@scripts/environment dev
	@scripts/lock $(ARGS)

openapi:         ## proxy/admin/openapi.yaml and the reference page, from the endpoints
	@scripts/environment dev
	@PYTHONPATH=. .venv/bin/python scripts/openapi

clean:           ## what can be made again (not farebox-data)
	rm -rf .venv dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
