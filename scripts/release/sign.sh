#!/usr/bin/env bash
# Signs an image with the identity of the workflow that runs this, and attests its SBOM.
#   scripts/release/sign.sh REPOSITORY@DIGEST SBOM
set -euo pipefail
image=${1:?give the image by digest}
sbom=${2:?give the SBOM, CycloneDX JSON}
[[ $image =~ @sha256:[0-9a-f]{64}$ ]] || { echo "$image is not named by digest: a tag may be another image tomorrow" >&2; exit 1; }
[ -s "$sbom" ] || { echo "$sbom is missing: run scripts/release/sbom.sh" >&2; exit 1; }
cosign sign --yes "$image"
cosign attest --yes --type cyclonedx --predicate "$sbom" "$image"
