# One line a target; `make help` lists them. Settings: DESTDIR, PREFIX, PURGE=1 (uninstall), FUZZTIME, TESTFLAGS.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
PREFIX ?= /usr/local
FUZZTIME ?= 30s
RUN = env DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' PURGE='$(PURGE)' bash
TOOL = go tool -modfile=tools/go.mod

.PHONY: help build test chaos-leader demo bench lint fuzz install uninstall clean
help:      ; @sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile ## this list
build:     ; CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/nightporter ./cmd/nightporter ## the static binary, bin/nightporter
test:      ; go vet ./... && go run ./internal/testall $(TESTFLAGS) ## vet, and all tests with -race; lists what could not run
chaos-leader: ; NIGHTPORTER_LEADER_STOPS=200 go test -race -count=1 -v -timeout=30m -run TestALeaderThatStops ./chaos/scenarios ## 200 leaders stopped under a probe of 200 Hz, about 6 minutes
demo: build ; bin/nightporter demo ## the whole story on four hosts in network namespaces, in under a minute
bench: build ; bin/nightporter lab bench --out bin/bench.json ## how fast, how small: the tables, and all samples in bin/bench.json
lint:      ; go vet ./... && $(TOOL) staticcheck ./... && test -z "$$($(TOOL) gofumpt -l . | tee /dev/stderr)" ## staticcheck and gofumpt
fuzz:      ; go run ./internal/fuzzall -fuzztime $(FUZZTIME) ## every fuzz target for FUZZTIME
install: build ; $(RUN) packaging/install ## binary, unit, completions and example into $(DESTDIR) and $(PREFIX)
uninstall: ; $(RUN) packaging/uninstall ## removes all of that; PURGE=1 also configuration, secret and state
clean:     ; rm -rf bin ## what build made
