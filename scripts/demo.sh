#!/bin/sh
# The main job on two flows: run, fail, fix, resume, compile for every target.
set -eu
cd "$(dirname "$0")/.."
mf=$PWD/bin/mf
out=$PWD/.cache/demo
# The folder .mf keeps the demo's runs apart from any made above it.
rm -rf "$out" && mkdir -p "$out/.mf" && cp testdata/demo/* "$out" && cd "$out"
say() { printf '\n== %s\n' "$*"; }
show() { printf '$ mf %s\n' "$*"; "$mf" "$@"; }

say "a YAML flow with steps in sh, awk and Python"
show run words.yaml --smallest 3
if [ "$("$mf" dump Words/latest/total --json | tr -d ' \n' | grep -c '"long_words":9')" != 1 ]; then
	echo "the words were counted wrong" >&2
	exit 1
fi
say "a Python flow with a mistake in it"
if show run scores.py; then
	echo "the demo's mistake went unnoticed" >&2
	exit 1
fi
say "the mistake is mended, and the run resumed: start is not run again"
sed -i.bak 's/wordz/words/; /The mistake that/d' scores.py
show resume scores.py
say "what ran here"
show runs
show dump ScoresFlow/latest/end
for flow in scores.py words.yaml; do
	for target in argo step-functions airflow; do
		say "$flow for $target"
		show compile "$flow" --target "$target" -o "${flow%.*}-$target"
	done
done
say "everything is in $out"
