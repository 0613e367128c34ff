#!/bin/sh
# Formatting and static checks.
set -eu
cd "$(dirname "$0")/.."
unformatted=$(git ls-files '*.go' | xargs gofmt -l)
if [ -n "$unformatted" ]; then
	echo "not formatted (run gofmt -w):" >&2
	echo "$unformatted" >&2
	exit 1
fi
go vet ./...
go tool -modfile=tools/go.mod golangci-lint run ./...
(cd tools/image && go vet ./... && go tool -modfile=../go.mod golangci-lint run ./...)
# Not e2e/tools: what Kubernetes and Argo are made of is compiled by make e2e alone.
(cd e2e && go vet -tags e2e ./... && go tool -modfile=../tools/go.mod golangci-lint run ./...)
.cache/venv-tools/bin/ruff check sdk/python sdk/python_tests
.cache/venv-tools/bin/ruff format --check sdk/python
