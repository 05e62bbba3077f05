--- gw.secret: all workers have the same, reloads keep it, and nobody else has it.
local gateway = require "spec.support.gateway"

local site = [[
  local gw = require "moonlatch"
  gw.settings { workers = 3 }
  gw.listen { port = PORT, host = "127.0.0.1" }
  local a, b = gw.secret "a", gw.secret "b"
  gw.route("GET /", { respond = function() return gw.response(200, a .. " " .. b) end })
]]

-- What the workers answer: each text once.
local function texts(g)
  local seen, list = {}, {}
  for _ = 1, 40 do
    local body = g:ask("GET /").body
    if not seen[body] then
      seen[body] = true
      list[#list + 1] = body
    end
  end
  return list
end

describe("gw.secret", function()
  after_each(gateway.stop_all)

  it("is the same in all workers and after a reload, and another for each name and each gateway", function()
    local g = gateway.start { ["gateway.lua"] = site }
    local before = texts(g)
    assert.equal(1, #before)
    local a, b = before[1]:match("^(%x+) (%x+)$")
    assert.same({ 64, 64 }, { #a, #b })
    assert.are_not.equal(a, b)
    g:save("routes/more.lua", 'local gw = require "moonlatch" gw.route("GET /more", function() return gw.response(204) end)')
    assert.equal(0, select(2, g:command("reload", "--wait")))
    assert.equal(204, g:ask("GET /more").status)
    assert.same(before, texts(g))
    local other = gateway.start { ["gateway.lua"] = site }
    assert.are_not.equal(before[1], texts(other)[1])
  end)

  it("needs a name, and is made while the site is loaded", function()
    for _, use in ipairs { "gw.secret()", 'gw.secret("")', "gw.secret(7)" } do
      local g = gateway.start({ ["gateway.lua"] = site .. use }, { wait = false })
      assert.same({ "exited", 1 }, { g:wait() })
      assert.truthy(g:output():find("gateway.lua:6: gw.secret: the name must be a string", 1, true), g:output())
    end
    local late = [[gw.route("GET /late", function() return gw.secret("a") end)]]
    local g = gateway.start { ["gateway.lua"] = site .. late }
    assert.equal(500, g:ask("GET /late").status)
  end)
end)
