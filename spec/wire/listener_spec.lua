--- What a listener does with clients beyond its limits.
local gateway = require "spec.support.gateway"

describe("a listener", function()
  after_each(gateway.stop_all)

  it("answers 503 beyond limits.connections, and says so in the log, once", function()
    local g = gateway.start({ ["gateway.lua"] = [[
      local gw = require "moonlatch"
      gw.listen { port = PORT, host = "127.0.0.1", limits = { connections = 2 } }
      gw.route("GET /", { respond = gw.response(200, "fine") })
    ]] }, { args = { "--workers", "1" } })
    local first, second = g:connect(), g:connect()
    gateway.eventually(function()
      return g:command("status", "--json"):find('"connections":%s*2')
    end, "two connections")
    for _ = 1, 3 do assert.equal(503, (g:get("/"))) end
    local log = g:wait_for_log("clients are not accepted")
    assert.equal(1, select(2, log:gsub("clients are not accepted", "")))
    assert.truthy(log:find('"error":"limits.connections is reached"', 1, true))
    assert.truthy(log:find('"port":' .. g.port, 1, true))
    first:close()
    second:close()
    gateway.eventually(function() return g:get("/") == 200 end, "room for the next client")
  end)
end)
