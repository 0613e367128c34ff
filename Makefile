# Targets, one line each: make help
.PHONY: check build image test demo lint golden fuzz bench e2e e2e-up e2e-down help cross race setup
check: lint test ## lint and test (the default)
build: ; @sh scripts/build.sh ## bin/mf and bin/mf-task, static
image: ; @sh scripts/image.sh ## the task image for linux/amd64 and linux/arm64 into dist/; scripts/image.sh push REF pushes it
test: setup ; @sh scripts/test.sh ## all tests, with the real engines' own checks; installs what they need
demo: build ; @sh scripts/demo.sh ## the main job on two flows: run, fail, fix, resume, compile
lint: setup ; @sh scripts/lint.sh ## gofmt, vet, golangci-lint, ruff
golden: ; @UPDATE_GOLDEN=1 go test ./compiler/... ./backends/... ./diag/... ./cmd/... ./docs/... ## rewrite the golden files
fuzz: ; @sh scripts/fuzz.sh ## each fuzz test for 20 seconds
bench: build setup ; @sh scripts/bench.sh ## ratios against Metaflow, in one run
e2e: build setup ; @sh scripts/e2e.sh ## with the real Metaflow, on a real Argo, in real containers, and with servers that die; needs root
e2e-up: setup ; @sh scripts/e2e-stack.sh up ## a Kubernetes with Argo Workflows on this machine, left up; needs root
e2e-down: ; @sh scripts/e2e-stack.sh down ## take it down and remove all that it wrote
cross: ; @sh scripts/build.sh all ## six platforms into dist/
race: ; @go test -race ./runtime/... ./datastore/... ./metadata/... ## the race detector, where goroutines meet
setup: ; @bash scripts/test-setup.sh ## install what the tests need into .cache/
help: ; @sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1: \2/p' Makefile ## this list
