#!/usr/bin/env bash
# Writes the manifest of the kubectl plugin for krew, from the archives of scripts/release/binaries.sh.
#   scripts/release/krew.sh v1.2.3 FOLDER > peon.yaml
set -euo pipefail
tag=${1:?give the tag, such as v1.2.3}
folder=${2:?give the folder of the archives}
releases=https://github.com/peon-operator/peon-operator/releases/download

cat <<END
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: peon
spec:
  version: $tag
  homepage: https://github.com/peon-operator/peon-operator
  shortDescription: Submit, follow and explain Druid tasks
  description: |
    Works with the PeonTasks of peon-operator, which runs the ingestion tasks of
    Apache Druid in pods: submits tasks, follows them, prints their logs, and
    explains why they wait or failed.
  platforms:
END
found=0
for arch in amd64 arm64; do
    archive=kubectl-peon-linux-$arch.tar.gz
    [ -f "$folder/$archive" ] || continue
    found=1
    sum=$(sha256sum "$folder/$archive")
    cat <<END
    - selector:
        matchLabels:
          os: linux
          arch: $arch
      uri: $releases/$tag/$archive
      sha256: ${sum%% *}
      bin: kubectl-peon
      files:
        - {from: kubectl-peon, to: .}
        - {from: LICENSE, to: .}
END
done
[ "$found" = 1 ] || { echo "$folder has no archive: run scripts/release/binaries.sh first" >&2; exit 1; }
