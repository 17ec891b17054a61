# Everything that a person types. Each target says what it is doing and how long it takes.
.DEFAULT_GOAL := help
SHELL := /bin/bash
export HOST

# A failed recipe makes GNU make exit 2. Asked a question (-q) it passes a recipe's 1 on, and says nothing below the line that tells what is
# wrong; a line with + runs all the same. What the recipe starts must not see that flag.
ifeq ($(MAKECMDGOALS),up)
ifeq (,$(findstring n,$(firstword -$(MAKEFLAGS))))
MAKEFLAGS += -q
ALWAYS := +
endif
endif

.PHONY: help up down test robustness differential check generate conformance bench host-up host-down
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: ## build, get a host cluster (HOST=local|kind|existing), install Tenantry, create the virtual cluster demo
	$(ALWAYS)@env -u MAKEFLAGS -u MFLAGS e2e/host/up

down: ## stop and remove exactly what make up made
	@e2e/host/down

test: ## all tests; the end-to-end ones on the host cluster of make up
	@e2e/test

differential: ## the same requests to the host's API server and to demo, compared: ONLY=subject or subject/text
	@e2e/differential/play "$(ONLY)"

robustness: ## disturb a server under load and check what its clients saw: MINUTES=10 STORE=embedded|etcd SEED=number
	@e2e/robustness/run $$(( $(or $(MINUTES),10) * 60 )) "$(or $(STORE),embedded)" $(if $(SEED),--seed $(SEED))

check: ## format, lints, documentation, licences, chart, generated files
	@e2e/check

generate: ## write generated files anew from their sources
	@apimachinery/generate/run.sh

conformance: ## run a tier of the Kubernetes conformance suite: TIER=A|B|C|D TARGET=tenant|host PROCS=4
	@e2e/conformance/run "$(TIER)" "$(or $(TARGET),tenant)"

bench: ## measure beside the stock servers, 15 minutes: ONLY=store,api,density QUICK=1 ARGS="-puts 100000" (ARGS=-h lists them)
	@e2e/bench/run "$(ONLY)" $(ARGS)

host-up: ## start only the host cluster
	@e2e/host/host-up

host-down: ## stop and remove the host cluster
	@e2e/host/host-down
