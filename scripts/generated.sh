#!/usr/bin/env bash
# Fails when a generated file is not what the types say.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/crds" "$work/charts/peon-operator/files/crds"
cargo build --quiet --bin generate
program=$(realpath "${CARGO_TARGET_DIR:-target}/debug/generate")
(cd "$work" && "$program")
for folder in crds charts/peon-operator/files/crds; do
    diff -r "$folder" "$work/$folder" || { echo "run make generate" >&2; exit 1; }
done
# README.md is written by hand.
diff -r --exclude=README.md docs/api "$work/docs/api" || { echo "run make generate" >&2; exit 1; }
