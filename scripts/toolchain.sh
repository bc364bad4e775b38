#!/usr/bin/env bash
# Says what is missing to build this repository, and installs what Debian has of it when that is possible.
set -euo pipefail

need() { command -v "$1" >/dev/null 2>&1; }

missing=()
need cc || missing+=(build-essential)
need git || missing+=(git)
if [ "${#missing[@]}" -gt 0 ]; then
    if [ "$(id -u)" != 0 ] || ! need apt-get; then
        echo "install these first: ${missing[*]}" >&2
        exit 1
    fi
    echo "installing the Debian packages ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

if ! need cargo; then
    echo "Rust is missing: install it with rustup (https://rustup.rs), version 1.89 or later." >&2
    exit 1
fi
version=$(rustc --version | awk '{print $2}')
if [ "$(printf '%s\n' 1.89.0 "${version%%-*}" | sort -V | head -n 1)" != 1.89.0 ]; then
    echo "Rust $version is too old: 1.89 or later is needed (rustup update)." >&2
    exit 1
fi
