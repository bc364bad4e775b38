#!/usr/bin/env bash
# Builds the operator's image of this machine's architecture and pushes it; prints its digest.
#   BASE=image@sha256:… scripts/release/image.sh REPOSITORY VERSION REVISION
# DRY_RUN=1 prints the command instead of running it.
set -euo pipefail
cd "$(dirname "$0")/../.."
repository=${1:?give the repository, such as ghcr.io/peon-operator/peon-operator}
version=${2:?give the version}
revision=${3:?give the commit}
# A tag may be another image tomorrow.
[[ ${BASE:-} =~ @sha256:[0-9a-f]{64}$ ]] || { echo "BASE must name the base image by digest (@sha256:…)" >&2; exit 1; }

if [ -n "${DRY_RUN:-}" ]; then
    folder=FOLDER
else
    folder=$(dirname "$(scripts/release/build.sh peon-operator)")
fi
# The times in the image are those of the commit, so that the same program on the same base is the same image.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
metadata=$(mktemp)
trap 'rm -f "$metadata"' EXIT
command=(docker buildx build
    --file Dockerfile
    --build-arg "BASE=$BASE"
    --label "org.opencontainers.image.title=peon-operator"
    --label "org.opencontainers.image.description=Runs Apache Druid ingestion tasks as Kubernetes pods"
    --label "org.opencontainers.image.source=https://github.com/peon-operator/peon-operator"
    --label "org.opencontainers.image.licenses=Apache-2.0"
    --label "org.opencontainers.image.version=$version"
    --label "org.opencontainers.image.revision=$revision"
    --label "org.opencontainers.image.base.name=${BASE%@*}"
    --label "org.opencontainers.image.base.digest=${BASE#*@}"
    --provenance=false
    --metadata-file "$metadata"
    --output "type=image,name=$repository,push-by-digest=true,name-canonical=true,push=true,rewrite-timestamp=true"
    "$folder")
if [ -n "${DRY_RUN:-}" ]; then
    printf '%q ' "${command[@]}"
    echo
    exit 0
fi
"${command[@]}" >&2
jq --raw-output '."containerimage.digest"' "$metadata"
