--- Promise 2: a bad script hurts only its own request.
local gateway = require "spec.support.gateway"

describe("a bad script", function()
  local g

  setup(function()
    g = gateway.start({ ["gateway.lua"] = [[
      local gw = require "moonlatch"
      gw.listen { port = PORT, host = "127.0.0.1" }
      gw.settings { script_memory = 64 * 1024 * 1024 }
      local function route(path, fn) gw.route("GET " .. path, { respond = fn }) end
      route("/ok", function() return gw.response(200, "fine") end)
      route("/error", function() local x = nil; return x.y end)
      route("/loop", function() while true do end end)
      route("/pcall", function() while true do pcall(function() while true do end end) end end)
      route("/alloc", function() local t = {}; while true do t[#t + 1] = ("x"):rep(65536) .. #t end end)
      route("/deep", function() local function f(n) return 1 + f(n + 1) end; return f(1) end)
      route("/nothing", function() end)
    ]] }, { args = { "--workers", "1" } })
  end)
  teardown(gateway.stop_all)

  for _, path in ipairs { "/error", "/loop", "/pcall", "/alloc", "/deep", "/nothing" } do
    it("costs only its own request: " .. path, function()
      local status, body = g:get(path)
      assert.equal(500, status)
      assert.falsy(body:find("gateway.lua", 1, true)) -- the message stays in the log
      assert.equal(200, (g:get("/ok")))
      assert.truthy(g:alive())
    end)
  end

  it("leaves file, line and traceback in the log", function()
    assert.truthy(g:output():find("gateway.lua:6", 1, true))
    assert.truthy(g:output():find("CPU budget", 1, true))
  end)
end)
