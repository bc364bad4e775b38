#!/usr/bin/env bash
# Makes one image of those of several architectures, and prints `digest=…` of it.
#   scripts/release/index.sh REPOSITORY VERSION FOLDER
# FOLDER has a file with a digest for each architecture: amd64 and arm64.
set -euo pipefail
repository=${1:?give the repository}
version=${2:?give the version}
folder=${3:?give the folder of the digests}
images=()
for arch in amd64 arm64; do
    [ -s "$folder/$arch" ] || { echo "$folder/$arch is missing: no image of that architecture was built" >&2; exit 1; }
    digest=$(<"$folder/$arch")
    [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "$folder/$arch is no digest: $digest" >&2; exit 1; }
    images+=("$repository@$digest")
done
if [ -n "${DRY_RUN:-}" ]; then
    echo docker buildx imagetools create --tag "$repository:$version" "${images[@]}"
    exit 0
fi
docker buildx imagetools create --tag "$repository:$version" "${images[@]}" >&2
digest=$(docker buildx imagetools inspect "$repository:$version" --format '{{json .Manifest}}' | jq --raw-output .digest)
echo "digest=$digest"
