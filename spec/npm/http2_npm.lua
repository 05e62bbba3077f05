-- Node's own clients of HTTP/2 and of TLS.  Run by tools/npm.sh.
local cjson = require "cjson"
local gateway = require "spec.support.gateway"
local pki = require "spec.support.pki"

local function site(pair, ca, upstream)
  return ([[
    local gw = require "moonlatch"
    local tls = { cert = %q, key = %q }
    local mutual = { cert = tls.cert, key = tls.key, client_auth = "required", client_ca = %q }
    gw.listen { host = "127.0.0.1", port = PORT, tls = tls, trailers = true }
    gw.listen { host = "127.0.0.1", port = PORT2 }
    gw.listen { host = "127.0.0.1", port = PORT3, tls = mutual }
    gw.upstream("node", { "http://127.0.0.1:%d" })
    gw.route("GET /echo/:id", { respond = function(req) return gw.response(200, req.params.id) end })
    gw.route("* /*rest", { to = "node" })
    gw.route("GET /client", { respond = function(req) return gw.response(200, req.tls.client.subject) end })
  ]]):format(pair.cert, pair.key, ca.cert, upstream) .. [[
    gw.route("GET /slow", { respond = function()
      gw.sleep(1)
      return gw.response(200, "slowly")
    end })
  ]]
end

local function report_of()
  local dir = gateway.folder()
  local ca = pki.authority(dir, "ca")
  local pair = pki.certificate(dir, "server", ca, { "localhost" })
  local client = pki.certificate(dir, "client", ca, { "alice.test" })
  local port = gateway.free_port()
  local g = gateway.start { ["gateway.lua"] = site(pair, ca, port) }
  local p = io.popen(("timeout 120 node spec/npm/http2.mjs '%s' 2>&1"):format(cjson.encode {
    url = "https://localhost:" .. g.port, plain = "http://127.0.0.1:" .. g.ports.PORT2,
    mutual = "https://localhost:" .. g.ports.PORT3, ca = ca.cert, cert = client.cert, key = client.key,
    reload = { gateway.binary, "reload", "--wait", "--control", g.control },
    file = g.dir .. "/gateway.lua", pid = g.pid, upstream = port }))
  local text = p:read("*a")
  p:close()
  return text
end

describe("Node's own clients:", function()
  local text
  setup(function() text = report_of() end)
  teardown(gateway.stop_all)

  for _, name in ipairs {
    "many streams at once, over TLS", "many streams at once, by prior knowledge",
    "large bodies both ways, over TLS", "large bodies both ways, by prior knowledge",
    "trailers of an upstream",
    "streams that the client gives up leave the others alone",
    "an upload that is given up",
    "a reload leaves open sessions alone",
    "https with the certificate of a client",
    "sessions are resumed, TLSv1.2", "sessions are resumed, TLSv1.3",
    "a gateway that ends says so, and finishes what it has begun",
  } do
    it(name, function() assert.truthy(("\n" .. text):find("\nok " .. name .. "\n", 1, true), text) end)
  end
end)
