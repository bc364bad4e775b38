#!/usr/bin/env bash
# Packs the chart, and pushes it to a registry unless that is `none`.
#   scripts/release/chart.sh oci://REGISTRY/FOLDER|none FOLDER
set -euo pipefail
cd "$(dirname "$0")/../.."
registry=${1:?give the registry, or none}
folder=${2:?give a folder for the archive}
helm=${HELM:-helm}
"$helm" lint --strict charts/peon-operator
"$helm" package charts/peon-operator --destination "$folder"
if [ "$registry" != none ]; then
    "$helm" push "$folder"/peon-operator-*.tgz "$registry"
fi
