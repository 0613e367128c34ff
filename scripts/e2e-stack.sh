#!/bin/sh
# The Kubernetes and Argo Workflows that make e2e runs on: build, up, down, status, load, image, namespace, restart. See e2e/README.md.
set -eu
cd "$(dirname "$0")/.."
[ "${1:-}" != up ] || bash scripts/e2e-setup.sh
# Built first: "go run" would end with 1 whatever the program ends with.
mkdir -p .cache/e2e/bin
go -C e2e build -o ../.cache/e2e/bin/stack ./cmd/stack
exec .cache/e2e/bin/stack "$@"
