-- gRPC of Node's package @grpc/grpc-js through the gateway.  Run by tools/npm.sh.
local gateway = require "spec.support.gateway"
local pki = require "spec.support.pki"

local running = {}

local function stop_all()
  for i, p in ipairs(running) do
    p:close()
    running[i] = nil
  end
  gateway.stop_all()
end

local function node_server()
  local file = gateway.folder() .. "/output"
  running[#running + 1] = io.popen("node spec/npm/calls.mjs server > " .. file, "w")
  local port = gateway.eventually(function() return gateway.read(file):match("^(%d+)\n") end, "a server of gRPC")
  return port, file
end

local function run(...)
  local p = io.popen("timeout 60 node spec/npm/calls.mjs " .. table.concat({ ... }, " ") .. " 2>&1")
  local text = p:read("*a")
  p:close()
  return text
end

describe("gRPC", function()
  local g, ca, server_output

  setup(function()
    local dir = gateway.folder()
    local port
    port, server_output = node_server()
    ca = pki.authority(dir, "ca")
    local cert = pki.certificate(dir, "gate", ca, { "localhost" })
    g = gateway.start { ["gateway.lua"] = ([[
      local gw = require "moonlatch"
      gw.listen { host = "127.0.0.1", port = PORT }
      gw.listen { host = "127.0.0.1", port = PORT2, tls = { cert = %q, key = %q } }
      gw.upstream("echo", { "h2c://127.0.0.1:%s" })
      gw.upstream("nobody", { "h2c://127.0.0.1:%d", retries = 0 })
      gw.upstream("slow", { "h2c://127.0.0.1:%s", first_byte_timeout = 0.3 })
      gw.route("POST /test.Echo/Late", { to = "slow" })
    ]]):format(cert.cert, cert.key, port, gateway.free_port(), port)
    .. [[
      gw.route("POST /script/:code", { respond = function(req)
        return gw.response(tonumber(req.params.code), "no: %1")
      end })
      gw.route("POST /test.Nobody/*rest", { to = "nobody" })
      gw.route("POST /test.Echo/*rest", { to = "echo" })
    ]] }
  end)
  teardown(stop_all)

  it("of all kinds passes, over h2c", function()
    assert.equal("fine\n", run("client", "127.0.0.1:" .. g.port))
  end)

  it("and over TLS", function()
    assert.equal("fine\n", run("client", "localhost:" .. g.ports.PORT2, ca.cert))
  end)

  it("tells the server that a client has cancelled", function()
    gateway.eventually(function() return gateway.read(server_output):find("cancelled", 1, true) end, "cancelled")
  end)

  it("gets the gateway's own failures as a status", function()
    local at = "127.0.0.1:" .. g.port
    assert.equal("4 the upstream did not answer in time\n", run("fails", at, "late"))
    assert.equal("14 the upstream cannot be reached\n", run("fails", at, "/test.Nobody/One"))
    for http, code in pairs { [400] = 13, [401] = 16, [403] = 7, [404] = 12, [429] = 8, [503] = 14, [504] = 4 } do
      assert.equal(code .. " no: %1\n", run("fails", at, "/script/" .. http))
    end
  end)
end)
