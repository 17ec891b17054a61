# Everything that a person types. Each target says what it does and how long it takes.
.DEFAULT_GOAL := help
SHELL := /bin/bash

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: host-up
host-up: ## start only the host cluster (HOST=local|kind|existing; default: kind where Docker answers, else local)
	@e2e/host/host-up

.PHONY: host-down
host-down: ## stop and remove the host cluster
	@e2e/host/host-down
