#!/bin/sh
# Starts siphonwatch with the image's compiled code. Numba loads only from a cache that it can write to, and code compiled for
# an older image must not be loaded by a newer one: so every start takes a fresh copy, into NUMBA_CACHE_DIR.
set -eu
cache="${NUMBA_CACHE_DIR:-/tmp/numba}/siphonwatch"
rm -rf "$cache"
mkdir -p "$cache" && cp -r /opt/siphonwatch/numba/. "$cache" || {
    echo "siphonwatch: cannot write to $cache: give the container a writable /tmp (--tmpfs /tmp), or set NUMBA_CACHE_DIR" >&2
    exit 1
}
NUMBA_CACHE_DIR="$cache" exec siphonwatch "$@"
