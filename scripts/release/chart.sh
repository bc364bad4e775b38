#!/usr/bin/env bash
# Packs the chart, and pushes it to a registry unless that is `none`.
#   scripts/release/chart.sh oci://REGISTRY/FOLDER|none FOLDER
set -euo pipefail
cd "$(dirname "$0")/../.."
registry=${1:?give the registry, or none}
folder=${2:?give a folder for the archive}
helm=${HELM:-helm}
"$helm" lint --strict charts/peon-operator
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$helm" package charts/peon-operator --destination "$work"
# Packed again: Helm writes the time into the archive.
archive=$(basename "$work"/peon-operator-*.tgz)
mkdir -p "$folder"
tar -C "$work" -mxzf "$work/$archive"
(cd "$work" && find peon-operator -type f | LC_ALL=C sort |
    tar --owner=0 --group=0 --numeric-owner --mode=0644 --mtime=@0 -T - -cf - | gzip -n) >"$folder/$archive"
if [ "$registry" != none ]; then
    "$helm" push "$folder"/peon-operator-*.tgz "$registry"
fi
