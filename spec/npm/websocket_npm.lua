-- Sockets of Node's package ws, through the gateway and to a script.  Run by tools/npm.sh.
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
  running[#running + 1] = io.popen("node spec/npm/sockets.mjs server > " .. file, "w")
  local port = gateway.eventually(function() return gateway.read(file):match("^(%d+)\n") end, "a server of ws")
  return port, file
end

local function client(at, path, pack, ca)
  local p = io.popen(("NODE_EXTRA_CA_CERTS=%s node spec/npm/sockets.mjs client %s%s %s 2>&1"):format(ca, at, path, pack))
  local text = p:read("*a")
  p:close()
  return text
end

describe("sockets of ws", function()
  local g, server_output, ca

  setup(function()
    local port
    local dir = gateway.folder()
    ca = pki.authority(dir, "ca")
    local cert = pki.certificate(dir, "cert", ca, { "localhost" })
    port, server_output = node_server()
    g = gateway.start { ["gateway.lua"] = ([[
      local gw = require "moonlatch"
      gw.listen { host = "127.0.0.1", port = PORT }
      gw.listen { host = "127.0.0.1", port = PORT2, tls = { cert = %q, key = %q } }
      gw.upstream("node", { "http://127.0.0.1:%s" })
      gw.route("GET /through", { to = "node", websocket = true })
      local function echo(ws)
        for message, kind in ws:messages() do
          if kind == "text" then ws:send(message) else ws:send_binary(message) end
        end
      end
      gw.route("GET /script", { respond = gw.websocket({ protocols = { "echo.v1" },
        compress = { min_length = 0 } }, echo) })
      gw.route("GET /forgets", { respond = gw.websocket({ protocols = { "echo.v1" },
        compress = { min_length = 0, context_takeover = false, window_bits = 9 } }, echo) })
    ]]):format(cert.cert, cert.key, port) }
  end)
  teardown(stop_all)

  for _, path in ipairs { "/through", "/script", "/forgets" } do
    it("work on " .. path .. ", with and without TLS", function()
      for _, at in ipairs { "ws://127.0.0.1:" .. g.port, "wss://localhost:" .. g.ports.PORT2 } do
        assert.equal("fine\n", client(at, path, "pack", ca.cert))
        assert.equal("fine\n", client(at, path, "plain", ca.cert))
      end
    end)
  end

  it("tell a server of ws how the client closed", function()
    gateway.eventually(function() return gateway.read(server_output):find("closed 4002", 1, true) end, "closed")
  end)
end)
