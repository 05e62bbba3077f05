#!/bin/sh
# Compares examples/hospital with the recorded answers of the hospital's Node stack.
#   spec/oracle/run.sh ORACLE [PROGRAM]
# ORACLE: a folder with run-all.mjs, in which `npm ci` was run; PROGRAM: build/moonlatch.
set -u
oracle=$(realpath "$1") || exit 2
program=$(realpath "${2:-build/moonlatch}") || exit 2
cd "$(dirname "$0")/../.." || exit 2
site=$(pwd)/examples/hospital
here=$(pwd)/spec/oracle
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOST=127.0.0.1 PORT_OFFSET="${PORT_OFFSET:-9000}"

edge="env HOST=127.0.0.1 '$program' run '$site/edge' --workers 2 --control '$work/edge-'\$LB_HTTPS_PORT"
command="env HOST=127.0.0.1 '$program' run '$site' --workers 2 --control '$work/control-'\$PORT"
(cd "$oracle" && node run-all.mjs --expected --b-cmd "$command" --b-lb-cmd "$edge" --json "$work/results.json" \
    --profile default,ratelimit,trustproxy,redis,slowdown,slowknobs,slowwindow,slowv3,minimal,graphql,lb) >"$work/log" 2>&1
[ -f "$work/results.json" ] || { cat "$work/log"; exit 2; }
luajit "$here/judge.lua" "$work/results.json"
