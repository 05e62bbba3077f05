--- Promise 1: a saved file is live in all workers, and no request is lost.
local gateway = require "spec.support.gateway"

local function site(answer)
  return ([[
    local gw = require "moonlatch"
    gw.listen { port = PORT, host = "127.0.0.1" }
    gw.route("GET /", { respond = function() return gw.response(200, "%s") end })
  ]]):format(answer)
end

describe("a reload", function()
  after_each(gateway.stop_all)

  it("makes a saved file live", function()
    local g = gateway.start { ["gateway.lua"] = site("one") }
    local _, body = g:get("/")
    assert.equal("one", body)
    g:save("gateway.lua", site("two"))
    gateway.eventually(function() return select(2, g:get("/")) == "two" end, "new answer")
    for _ = 1, 20 do assert.equal("two", (select(2, g:get("/")))) end -- in all workers
  end)

  it("keeps the last good generation and names file and line", function()
    local g = gateway.start { ["gateway.lua"] = site("one") }
    g:save("gateway.lua", site("two") .. "\nlocal x = = 1\n")
    gateway.eventually(function() return g:output():find("gateway.lua:5", 1, true) end, "the error")
    assert.equal("one", (select(2, g:get("/"))))
    assert.truthy(g:command("status", "--json"):find("gateway.lua:5", 1, true))
  end)

  it("loses no request under load", function()
    local g = gateway.start { ["gateway.lua"] = site("zero") }
    local out = g.base .. "/wrk"
    local pid = gateway.spawn({ "wrk", "-t1", "-c16", "-d6", "http://127.0.0.1:" .. g.port .. "/" }, {}, out)
    for n = 1, 8 do
      g:save("gateway.lua", site("n" .. n))
      gateway.eventually(function() return select(2, g:get("/")) == "n" .. n end, "generation " .. n)
    end
    local wait = require "posix.sys.wait"
    wait.wait(pid)
    local report = gateway.read(out)
    assert.truthy(report:find("requests in"), report)
    assert.falsy(report:find("Socket errors"), report)
    assert.falsy(report:find("Non%-2xx"), report)
  end)
end)
