#!/bin/sh
# make bench: CPU microseconds per request of moonlatch, Debian's nginx and haproxy, alternated in
# one run.  Installs nginx-light, haproxy and wrk when they are missing.
set -eu
program=$1
cd "$(dirname "$0")/.."
sh tools/packages.sh bench
exec luajit bench/bench.lua "$program" "${ROUNDS:-5}" "${SECONDS_EACH:-2}" ${SCENARIOS:-}
