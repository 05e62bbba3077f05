#!/bin/sh
# Starts examples/hospital and its stand-in services in the foreground; Ctrl-C ends both.
set -eu
program=$1
cd "$(dirname "$0")/.."
PORT=${PORT:-3100}
export PORT

"$program" run examples/hospital/services --workers 1 &
services=$!
trap 'kill $services 2>/dev/null; wait $services 2>/dev/null || :' EXIT
trap 'exit 0' INT TERM

cat <<TXT

moonlatch: the hospital's API gateway on http://127.0.0.1:$PORT
           its services on 127.0.0.1:3001-3009 and :3011

  curl -i http://127.0.0.1:$PORT/api/doctors/d1          answered by the doctor service
  curl -i http://127.0.0.1:$PORT/api/doctors/%2e%2e%2f   refused: an escaped slash hides a path
  curl -i http://127.0.0.1:$PORT/health; sed -i 's/"healthy"/"fine"/' examples/hospital/routes/health.lua; sleep 1; curl -i http://127.0.0.1:$PORT/health
                                                  saved, and live without a restart

TXT
"$program" run examples/hospital
