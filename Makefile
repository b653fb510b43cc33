# Each target sets up what it needs, says what it does, and can be run again. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Debian packages, npm packages and Go tools that are missing
	@tools/setup

guests: ## the tiny and the Debian test guest, built once per machine
	@tools/setup packages
	@test/guests/build tiny
	@test/guests/build debian

check: ## fast: format, lint, types, unit tests
	@tools/setup npm
	@npm run -s check

test: ## everything CI runs
	@tools/test

.PHONY: help setup guests check test
