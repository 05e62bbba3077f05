--- Certificates for tests, made by openssl: authorities, and what they sign.
--
--   local ca = pki.authority(dir, "ca")                          -- { cert = path, key = path }
--   local server = pki.certificate(dir, "server", ca, { "localhost", "127.0.0.1" })
local gateway = require "spec.support.gateway"

local M = {}

local function run(command)
  local p = io.popen(command .. " 2>&1; echo code=$?")
  local text = p:read("*a")
  p:close()
  assert(text:find("code=0%s*$"), command .. ": " .. text)
end

local function paths(dir, name) return { cert = dir .. "/" .. name .. ".pem", key = dir .. "/" .. name .. "-key.pem" } end

--- An authority of its own; dir/NAME.pem and dir/NAME-key.pem.
function M.authority(dir, name)
  local out = paths(dir, name)
  run(("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj '/CN=%s' "
    .. "-keyout %s -out %s"):format(name, out.key, out.cert))
  return out
end

--- A certificate signed by an authority, for these names and addresses.
-- @param opts { rsa = true, days = 30 }
function M.certificate(dir, name, ca, names, opts)
  opts = opts or {}
  local out, list = paths(dir, name), {}
  for i, n in ipairs(names) do list[i] = (n:find("^[%d.]+$") and "IP:" or "DNS:") .. n end
  gateway.write(dir .. "/" .. name .. ".ext", "subjectAltName=" .. table.concat(list, ",") .. "\n")
  run(("openssl req -newkey %s -nodes -subj '/CN=%s' -keyout %s -out %s/%s.csr"):format(
    opts.rsa and "rsa:2048" or "ec -pkeyopt ec_paramgen_curve:P-256", names[1], out.key, dir, name))
  run(("openssl x509 -req -in %s/%s.csr -CA %s -CAkey %s -CAcreateserial -days %d -extfile %s/%s.ext -out %s"):format(
    dir, name, ca.cert, ca.key, opts.days or 30, dir, name, out.cert))
  return out
end

--- The authority's list of revoked certificates: the path of dir/NAME.pem.
function M.revoke(dir, name, ca, list)
  local base = dir .. "/" .. name
  gateway.write(base .. ".index", "")
  gateway.write(base .. ".cnf", ("[ca]\ndefault_ca = own\n[own]\ndatabase = %s.index\ndefault_md = sha256\n"):format(base))
  local ask = ("openssl ca -config %s.cnf -keyfile %s -cert %s "):format(base, ca.key, ca.cert)
  for _, certificate in ipairs(list) do run(ask .. "-revoke " .. certificate.cert) end
  run(ask .. ("-gencrl -crldays 30 -out %s.pem"):format(base))
  return base .. ".pem"
end

return M
