#!/bin/sh
# Builds static binaries: bin/mf and bin/mf-task for this machine; with "all" for six platforms into dist/; with "image"
# those that the task image holds, mf-task for Linux, into dist/.
set -eu
cd "$(dirname "$0")/.."
version=$(git describe --tags --always --dirty 2>/dev/null || echo dev)
flags="-s -w -X main.version=$version"
build() { # os arch folder suffix name...
	os=$1 arch=$2 folder=$3 suffix=$4
	shift 4
	for name; do
		CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath -ldflags "$flags" -o "$folder/$name$suffix" "./cmd/$name"
	done
}
case ${1:-} in
all)
	for os in linux darwin windows; do
		for arch in amd64 arm64; do
			suffix=; [ $os = windows ] && suffix=.exe
			build $os $arch "dist/$os-$arch" "$suffix" mf mf-task
			echo "dist/$os-$arch"
		done
	done
	;;
image)
	for arch in amd64 arm64; do
		build linux $arch "dist/linux-$arch" "" mf-task
	done
	;;
*)
	build "$(go env GOOS)" "$(go env GOARCH)" bin "" mf mf-task
	echo "bin/mf $version"
	;;
esac
