#!/bin/sh
# tls-quality.sh PROGRAM: testssl.sh against a listener with nothing but certificates and security_headers.
#
# Fails at any finding that is worse than "INFO".  Left out is what a test's own name cannot have, a CAA record of DNS.
# Debian's testssl.sh gives no grade; what it would be capped by are such findings, and
# the "+" is for HSTS, of half a year at least.
set -eu
program=$1
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid"; rm -rf "$dir"' EXIT
port=$(luajit -e 'package.path = "./?.lua;" .. package.path; print((require "spec.support.gateway").free_port())')

authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 300 -subj "/CN=Test authority" \
        -addext keyUsage=critical,keyCertSign,cRLSign -keyout "$dir/ca-key.pem" -out "$dir/ca.pem"
}

certificate() { # KIND OF KEY, NAME
    cat >"$dir/ext" <<-end
	subjectAltName = DNS:localhost
	basicConstraints = critical, CA:FALSE
	keyUsage = critical, digitalSignature
	extendedKeyUsage = serverAuth
	authorityInfoAccess = OCSP;URI:http://ocsp.invalid/
	end
    # shellcheck disable=SC2086
    openssl req -newkey $1 -nodes -subj /CN=localhost -keyout "$dir/$2-key.pem" -out "$dir/csr"
    openssl x509 -req -in "$dir/csr" -CA "$dir/ca.pem" -CAkey "$dir/ca-key.pem" -CAcreateserial -days 80 \
        -extfile "$dir/ext" -out "$dir/$2.pem"
    printf 'V\t401231235959Z\t\t%s\tunknown\t/CN=localhost\n' \
        "$(openssl x509 -noout -serial -in "$dir/$2.pem" | cut -d= -f2)" >"$dir/index"
    openssl ocsp -index "$dir/index" -rsigner "$dir/ca.pem" -rkey "$dir/ca-key.pem" -CA "$dir/ca.pem" \
        -issuer "$dir/ca.pem" -cert "$dir/$2.pem" -respout "$dir/$2.der" -ndays 3 -noverify
}

{
    authority
    certificate "ec -pkeyopt ec_paramgen_curve:P-256" ec
    certificate rsa:2048 rsa
} >/dev/null 2>&1
mkdir "$dir/site"
cat >"$dir/site/gateway.lua" <<EOL
local gw = require "moonlatch"
gw.listen { host = "127.0.0.1", port = $port, tls = { certificates = {
  { cert = "$dir/ec.pem", key = "$dir/ec-key.pem", ocsp = "$dir/ec.der" },
  { cert = "$dir/rsa.pem", key = "$dir/rsa-key.pem", ocsp = "$dir/rsa.der" } } } }
gw.use { { "security_headers", hsts = "tls" } }
gw.route("GET /", { respond = function() return gw.response(200, "hello") end })
EOL
"$program" run "$dir/site" --control "$dir/control" >"$dir/log" 2>&1 &
pid=$!
until grep -q '"ready"' "$dir/log"; do
    kill -0 "$pid" || { cat "$dir/log"; exit 1; }
done

testssl --quiet --warnings off --color 0 --add-ca "$dir/ca.pem" --ip 127.0.0.1 --jsonfile "$dir/findings" \
    "https://localhost:$port" >"$dir/text" 2>&1 </dev/null || true
luajit - "$dir/findings" <<'EOL'
local file = assert(io.open(arg[1]), "testssl.sh did not come to its end")
local findings = require "cjson".decode(file:read("*a"))
local ours_not = { DNS_CAArecord = true, engine_problem = true }
local seen, bad = {}, 0
for _, f in ipairs(findings) do
  local id, severity = f.id:match("^%S+"), f.severity
  seen[id] = f.finding
  if severity ~= "OK" and severity ~= "INFO" and not ours_not[id] then
    bad = bad + 1
    print(("%s %s: %s"):format(severity, f.id, f.finding))
  end
end
local days = tonumber((seen.HSTS_time or ""):match("(%d+) days"))
if not days or days < 180 then
  bad = bad + 1
  print("Strict-Transport-Security: " .. tostring(seen.HSTS_time))
end
for _, id in ipairs { "TLS1_2", "TLS1_3", "PFS", "heartbleed", "ROBOT", "BREACH", "scanTime" } do
  if not seen[id] then
    bad = bad + 1
    print("not looked at: " .. id)
  end
end
print(("%d findings, %d of them wrong"):format(#findings, bad))
os.exit(bad == 0 and 0 or 1)
EOL
