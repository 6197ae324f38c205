# `make help` lists the targets. Settings: DESTDIR, PREFIX, PURGE=1 (uninstall), FUZZTIME, TESTFLAGS, SEEDS, SEED and DIR (sim), ARCHES (deb), RUNS and DURATION (chaos).
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
PREFIX ?= /usr/local
FUZZTIME ?= 30s
SEED ?= 1
RUNS ?= 20
DURATION ?= 1m
SEEDS ?= 1000
ARCHES ?= amd64 arm64 armhf
# The architecture of 32 bits whose programs this machine runs.
NARROW ?= $(if $(filter arm64,$(shell go env GOHOSTARCH)),arm,386)
PURE = ./api ./cluster ./config ./fsm ./health ./idle ./lease ./metrics ./setup ./wake
RUN = env DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' PURGE='$(PURGE)' bash
TOOL = go tool -modfile=tools/go.mod

.PHONY: help build man deb deb-test test test-32 mutants sim sim-replay chaos chaos-leader demo bench lint fuzz vm-test install uninstall clean
help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile
build: ## the static binary, bin/nightporter
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/nightporter ./cmd/nightporter
man: build ## the manual pages, in bin/man
	rm -rf bin/man && bin/nightporter man bin/man
deb: build ## packages for Debian and Ubuntu, in bin/deb: amd64, arm64, armhf; needs dpkg-deb
	VERSION='$(VERSION)' packaging/deb/build bin/deb $(ARCHES)
deb-test: build ## the arm64 and armhf packages in Debians of theirs, under qemu-user; root, debootstrap and qemu-user-static
	VERSION=v0.2 COMPRESS=none packaging/deb/build bin/deb-test/old arm64 armhf
	VERSION=v0.3 COMPRESS=none packaging/deb/build bin/deb-test/new arm64 armhf
	packaging/deb/try bin/deb-test arm64 armhf
test: ## vet, and all tests with -race; lists what could not run
	go vet ./... && go vet -tags vm ./identity ./chaos/vm && $(MAKE) test-32 && go run ./internal/testall $(TESTFLAGS)
test-32: ## the same program where an int has 32 bits, as on ARMv7: vet of everything, and the tests of what decides and encodes; part of test
	GOARCH=$(NARROW) CGO_ENABLED=0 go vet ./...
	GOARCH=$(NARROW) CGO_ENABLED=0 go test -short -count=1 -skip 'SmallWorlds|HasTeeth|HaveTeeth|Replay|TheFirstRelease' $(PURE)
	GOARCH=$(NARROW) CGO_ENABLED=0 go test -short -count=1 -run 'TestOwnConnections|TestASuspendShutsTheFence|TestPins' ./identity
sim: ## SEEDS random schedules of the whole cluster in virtual time, from seed SEED on; failures are kept in bin/sim
	go run ./internal/sim/campaign -seed $(SEED) -seeds $(SEEDS)
chaos: build ## RUNS chaos runs of DURATION with five hosts, from seed SEED on; their folders are in bin/chaos
	@mkdir -p bin/chaos; for s in $$(seq $(SEED) $$(($(SEED) + $(RUNS) - 1))); do \
	bin/nightporter chaos run --hosts 5 --duration $(DURATION) --seed $$s --dir bin/chaos/seed-$$s; done; bin/nightporter chaos list bin/chaos
sim-replay: ## judges the failure in DIR again and runs its schedule again
	go run ./internal/sim/campaign -replay '$(DIR)'
chaos-leader: ## 200 leaders stopped under a probe of 200 Hz, about 6 minutes
	NIGHTPORTER_LEADER_STOPS=200 go test -race -count=1 -v -timeout=30m -run TestALeaderThatStops ./chaos/scenarios
demo: build ## the whole story on four hosts in network namespaces, in under a minute
	bin/nightporter demo
bench: build ## how fast, how small: the tables, and all samples in bin/bench.json
	bin/nightporter lab bench --out bin/bench.json
mutants: ## every mistake of internal/mutant must be found by random runs, a quarter of an hour
	go run ./internal/mutants -dir bin/mutants
lint: ## staticcheck and gofumpt
	go vet ./... && $(TOOL) staticcheck ./... && test -z "$$($(TOOL) gofumpt -l . | tee /dev/stderr)"
vm-test: build ## real suspends in QEMU: the exact fence, whole hosts with systemd that sleep and are woken, and the tutorial as it is written; root, and a Debian host
	nice -n 15 chaos/vm/build-image bin/vm
	identity/fetch-kernel bin/vm
	cd identity && NIGHTPORTER_VM_KERNEL=$(CURDIR)/bin/vm CGO_ENABLED=0 nice -n 15 go test -count=1 -tags vm -run TestInAMachine -v .
	cd chaos/vm && NIGHTPORTER_VM_SYSTEM=$(CURDIR)/bin/vm/system CGO_ENABLED=0 nice -n 15 go test -count=1 -tags vm -timeout 120m -v .
fuzz: ## every fuzz target for FUZZTIME
	go run ./internal/fuzzall -fuzztime $(FUZZTIME)
install: build ## binary, unit, completions and example into $(DESTDIR) and $(PREFIX)
	$(RUN) packaging/install
uninstall: ## removes all of that; PURGE=1 also configuration, secret and state
	$(RUN) packaging/uninstall
clean: ## what build made
	rm -rf bin
