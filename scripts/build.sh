#!/bin/sh
# Builds static binaries: bin/mf and bin/mf-task for this machine or, with "all", six platforms into dist/.
set -eu
cd "$(dirname "$0")/.."
version=$(git describe --tags --always --dirty 2>/dev/null || echo dev)
flags="-s -w -X main.version=$version"
build() { # os arch folder suffix
	for name in mf mf-task; do
		CGO_ENABLED=0 GOOS=$1 GOARCH=$2 go build -trimpath -ldflags "$flags" -o "$3/$name$4" "./cmd/$name"
	done
}
if [ "${1:-}" = all ]; then
	for os in linux darwin windows; do
		for arch in amd64 arm64; do
			suffix=; [ $os = windows ] && suffix=.exe
			build $os $arch "dist/$os-$arch" "$suffix"
			echo "dist/$os-$arch"
		done
	done
else
	build "$(go env GOOS)" "$(go env GOARCH)" bin ""
	echo "bin/mf $version"
fi
