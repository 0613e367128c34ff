#!/usr/bin/env bash
# Installs what make e2e needs beyond make test: by apt-get, where the machine has none, Docker and the parts of a
# Kubernetes that are not built (etcd, containerd, runc), and in .cache/roots the roots of the images that tasks run in. No
# image is pulled:
#
#   python.tar   Debian with python3 and nothing else, made by debootstrap
#   empty.tar    nothing at all
#
# It needs root, as containers do.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly suite=bookworm
say() { printf 'e2e-setup: %s\n' "$*" >&2; }

missing=()
command -v dockerd >/dev/null || missing+=(docker.io)
command -v debootstrap >/dev/null || missing+=(debootstrap)
command -v etcd >/dev/null || missing+=(etcd-server)
for program in containerd ctr runc; do
	command -v "$program" >/dev/null || { missing+=(containerd runc); break; }
done
if [ ${#missing[@]} -gt 0 ]; then
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		say "missing: ${missing[*]}; install them, then run this again as root"
		exit 1
	fi
	say "installing ${missing[*]} by apt-get"
	(apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}") >&2
fi

roots=$PWD/.cache/roots
mkdir -p "$roots"
if [ ! -f "$roots/python.tar" ]; then
	say "making .cache/roots/python.tar (a minute or two)"
	# The mirror that apt-get uses here, if it is one of Debian's.
	mirror=$(apt-get indextargets --format '$(SITE) $(RELEASE)' 2>/dev/null | awk -v s="$suite" '$2 == s { print $1; exit }')
	rm -rf "$roots/python"
	debootstrap --variant=minbase --include=python3 "$suite" "$roots/python" ${mirror:+"$mirror"} >"$roots/log" 2>&1 || {
		tail -20 "$roots/log" >&2
		exit 1
	}
	tar -C "$roots/python" --exclude=./var/cache/apt --exclude=./var/lib/apt/lists --exclude=./dev -cf "$roots/python.part" .
	mv "$roots/python.part" "$roots/python.tar"
	rm -rf "$roots/python"
fi
[ -f "$roots/empty.tar" ] || tar -cf "$roots/empty.tar" -T /dev/null
