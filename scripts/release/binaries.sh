#!/usr/bin/env bash
# Builds kubectl-peon without any library of the system, and packs it with its license.
#   scripts/release/binaries.sh x86_64-unknown-linux-musl FOLDER
# Needs `rustup target add TARGET` and, on Debian and Ubuntu, musl-tools.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${1:?give a Rust target, such as x86_64-unknown-linux-musl}
folder=${2:?give a folder for the archive}
case $target in
x86_64-*) arch=amd64 ;;
aarch64-*) arch=arm64 ;;
*) echo "no name for the architecture of $target: add it to scripts/release/binaries.sh" >&2; exit 1 ;;
esac

program=$(scripts/release/build.sh kubectl-peon "$target")
if ldd "$program" 2>/dev/null | grep -q '=>'; then
    echo "$program needs libraries of the system: build it for a musl target" >&2
    exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$program" LICENSE "$work"
# By this name kubectl finds what completes `kubectl peon`.
ln -s kubectl-peon "$work/kubectl_complete-peon"
mkdir -p "$folder"
archive=kubectl-peon-linux-$arch.tar.gz
# Same input, same bytes: no names of users, no times of this build.
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$work" -cf - kubectl-peon kubectl_complete-peon LICENSE | gzip -n >"$folder/$archive"
(cd "$folder" && sha256sum "$archive" >"$archive.sha256")
