-- Sockets of Node's package ws, through the gateway and to a script.  Run by tools/npm.sh.
local gateway = require "spec.support.gateway"

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

local function client(g, path, pack)
  local p = io.popen(("node spec/npm/sockets.mjs client ws://127.0.0.1:%d%s %s 2>&1"):format(g.port, path, pack))
  local text = p:read("*a")
  p:close()
  return text
end

describe("sockets of ws", function()
  local g, server_output

  setup(function()
    local port
    port, server_output = node_server()
    g = gateway.start { ["gateway.lua"] = ([[
      local gw = require "moonlatch"
      gw.listen { host = "127.0.0.1", port = PORT }
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
    ]]):format(port) }
  end)
  teardown(stop_all)

  for _, path in ipairs { "/through", "/script", "/forgets" } do
    it("work on " .. path, function()
      assert.equal("fine\n", client(g, path, "pack"))
      assert.equal("fine\n", client(g, path, "plain"))
    end)
  end

  it("tell a server of ws how the client closed", function()
    gateway.eventually(function() return gateway.read(server_output):find("closed 4002", 1, true) end, "closed")
  end)
end)
