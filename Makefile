.PHONY: help test start stop build check bench clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  %-8s %s\n", $$1, $$2}' Makefile

test: ## install, check, build, and run every test; ARGS="…" goes to vitest
	@./scripts/test.sh $(ARGS)

start: ## start the gateway in the background and print what to try
	@./scripts/start.sh

stop: ## stop it
	@./scripts/start.sh --stop

build: ## compile to dist/
	@npm run --silent build

check: ## types, style, import plan, unused code
	@npm run --silent check

bench: ## measure against references on this machine
	@npm run --silent bench

clean: ## delete what was built and installed; the data folder stays
	@rm -rf dist coverage node_modules
