#!/bin/sh
# Starts examples/hospital and its stand-in services; Ctrl-C or SIGTERM ends both.
#   run-hospital.sh PROGRAM
# From the environment: PORT (3100), PORT_OFFSET (0, moves the services too), HOST (127.0.0.1), and all that
# examples/hospital/gateway.lua names.  JWT_SECRET and ADMIN_PASSWORD are random when they are not set.
set -u
program=$(realpath "$1") || exit 2
cd "$(dirname "$0")/.." || exit 2
: "${PORT_OFFSET:=0}" "${PORT:=$((3100 + PORT_OFFSET))}" "${HOST:=127.0.0.1}"
random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
: "${JWT_SECRET:=$(random 32)}" "${ADMIN_PASSWORD:=$(random 8)}"
export PORT PORT_OFFSET HOST JWT_SECRET ADMIN_PASSWORD

sockets=$(mktemp -d)
services=
gateway=

# Ends both programs and waits for them: nothing is left behind, and requests in flight are finished.
stop() {
    trap '' INT TERM HUP
    for pid in $gateway $services; do
        kill -TERM "$pid" 2>/dev/null
        wait "$pid"
    done
    rm -rf "$sockets"
}
trap 'stop; exit 0' INT TERM HUP

# ready PID NAME: waits until the gateway of that name serves; fails when it ends before.
ready() {
    while kill -0 "$1" 2>/dev/null; do
        "$program" status --control "$sockets/$2" >/dev/null 2>&1 && return 0
        sleep 0.1
    done
    wait "$1"
    code=$?
    echo "run-hospital.sh: $2 did not start, see above; PORT and PORT_OFFSET choose other ports" >&2
    stop
    exit "$code"
}

"$program" run examples/hospital/services --workers 1 --control "$sockets/services" &
services=$!
ready "$services" services
"$program" run examples/hospital --control "$sockets/gateway" &
gateway=$!
ready "$gateway" gateway

url=http://127.0.0.1:$PORT
route=$(pwd)/examples/hospital/routes/hello.lua
cat <<TXT

moonlatch: the hospital's API gateway  $url  (examples/hospital)
           its ten services            127.0.0.1, ports $((3001 + PORT_OFFSET)) to $((3009 + PORT_OFFSET)) and $((3011 + PORT_OFFSET))  (examples/hospital/services)
           how it does                 $program status --control $sockets/gateway

Try in another terminal:

1. Log in at the auth service, and ask the doctor service with the token:
  curl -i $url/api/doctors/d1 -H "Authorization: Bearer \$(curl -s $url/api/auth/login -d '{"email":"admin@hospital.example.com","password":"$ADMIN_PASSWORD"}' | sed 's/.*"accessToken":"\([^"]*\)".*/\1/')"

2. Refused, because an escaped slash may hide another path; no service sees it:
  curl -i $url/api/doctors%2fd1

3. Live reload: a new file, and a second later it answers ("rm $route" undoes it):
  echo 'require("moonlatch").route("GET /hello", function() return require("moonlatch").response(200, "hello") end)' >$route; sleep 1; curl -i $url/hello

Ctrl-C ends both.

TXT
wait "$gateway"
code=$?
gateway=
stop
exit "$code"
