#!/bin/sh
# Makes the image that carries /mf-task, for linux/amd64 and linux/arm64, without a container engine:
#
#   scripts/image.sh            dist/mf-task-image.tar (an archive) and dist/mf-task-image/ (a layout)
#   scripts/image.sh push REF   the same, and pushes it to a registry, with the credentials of docker login
#
# IMAGE is the name that the archive carries. The same commit gives the same bytes.
set -eu
cd "$(dirname "$0")/.."
top=$PWD
version=$(git describe --tags --always --dirty 2>/dev/null || echo dev)
ref=${IMAGE:-ghcr.io/mf-run/mf-task:$version}
if [ "${1:-}" = push ]; then
	ref=${2:?"usage: scripts/image.sh push REF"}
fi
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH
sh scripts/build.sh image
go -C tools/image run . build -ref "$ref" -platform linux/amd64,linux/arm64 \
	-o "$top/dist/mf-task-image.tar" -o "$top/dist/mf-task-image" \
	-file "$top/dist/linux-{arch}/mf-task:/mf-task" -dir /tmp:1777 -entrypoint /mf-task -user 65532:65532 -workdir /tmp \
	-label org.opencontainers.image.title=mf-task -label "org.opencontainers.image.version=$version" \
	-label org.opencontainers.image.licenses=Apache-2.0
echo "dist/mf-task-image.tar"
if [ "${1:-}" = push ]; then
	go -C tools/image run . push -from "$top/dist/mf-task-image" "$ref"
fi
