#!/bin/sh
# Installs the Debian packages that are missing for: build | run | test | bench | fuzz | npm | tls. Needs root or sudo only when
# something is missing.
set -eu

build="gcc libc6-dev make cmake ninja-build pkg-config luajit libluajit-5.1-dev libev-dev
       libc-ares-dev libhiredis-dev lua-cjson-dev libssl-dev libjwt-dev libcrypt-dev
       libnghttp2-dev zlib1g-dev libbrotli-dev lua-busted lua-filesystem-dev"
run="$build curl"
test="$build lua-check lua-socket lua-posix lua-cjson curl wrk procps git nghttp2-server nghttp2-client
      redis-server redis-tools prometheus nginx-light openssl python3"

fuzz="clang libclang-rt-14-dev libssl-dev libjwt-dev"
bench="$test nginx-light haproxy util-linux"
npm="nodejs npm chromium"
tls="testssl.sh openssl"

case "${1:-build}" in
build) want=$build ;;
run) want=$run ;;
test) want=$test ;;
bench) want=$bench ;;
fuzz) want=$fuzz ;;
npm) want=$npm ;;
tls) want=$tls ;;
*) echo "usage: packages.sh build|run|test|bench|fuzz|npm|tls" >&2; exit 2 ;;
esac

missing=
for package in $want; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
        missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
if [ -n "$as_root" ] && ! command -v sudo >/dev/null; then
    echo "These packages are missing; install them as root:$missing" >&2
    exit 1
fi
echo "Installing:$missing"
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
# shellcheck disable=SC2086
$as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
