--- Several listeners: their names, their own middlewares, the routes that belong to one of them.
local gateway = require "spec.support.gateway"

describe("several listeners", function()
  local g, admin
  teardown(gateway.stop_all)

  setup(function()
    g = gateway.start { ["gateway.lua"] = [[
      local gw = require "moonlatch"
      local function mark(name)
        return function(req, next)
          local res = next()
          res:add_header("X-Seen", name)
          return res
        end
      end
      gw.listen { host = "127.0.0.1", port = PORT }
      gw.listen { host = "127.0.0.1", port = PORT2, name = "admin", use = {
        mark "outer", function(req) if req:header "x-stop" then return gw.error(403, "stop") end end, mark "inner" } }
      gw.use { mark "all" }
      gw.route("GET /who", { mark "route", respond = function(req) return gw.response(200, req.listener) end })
      gw.route("GET /status", { listener = "admin", respond = function() return gw.response(200, "fine") end })]] }
    admin = { port = g:port_of("PORT2") }
  end)

  it("have names and middlewares of their own, around those of the site", function()
    local res = g:ask("GET /who")
    assert.equal("127.0.0.1:" .. g.port, res.body)
    assert.equal("route|all", res.headers["x-seen"])
    res = g:ask("GET /who", admin)
    assert.equal("admin", res.body)
    assert.equal("route|all|inner|outer", res.headers["x-seen"])
    res = g:ask("GET /who", { port = admin.port, headers = "X-Stop: 1\r\n" })
    assert.equal(403, res.status)
    assert.equal("outer", res.headers["x-seen"])
    assert.equal(200, g:ask("GET /who", { headers = "X-Stop: 1\r\n" }).status)
  end)

  it("have their middlewares around what no route matches too", function()
    assert.equal("all|inner|outer", g:ask("GET /nowhere", admin).headers["x-seen"])
    assert.equal("all", g:ask("GET /nowhere").headers["x-seen"])
  end)

  it("may have routes that the others do not have", function()
    assert.equal("fine", g:ask("GET /status", admin).body)
    local res = g:ask("GET /status")
    assert.equal(404, res.status)
    assert.truthy(res.body:find("No route for GET /status", 1, true))
    assert.equal("all", res.headers["x-seen"])
  end)

  it("must exist for their routes, and have different names", function()
    local function refused(text, expected)
      local base = gateway.folder()
      gateway.write(base .. "/gateway.lua", 'local gw = require "moonlatch"\n' .. text)
      local p = io.popen(gateway.binary .. " check " .. base .. " 2>&1")
      local out = p:read("*a")
      p:close()
      assert.truthy(out:find(expected, 1, true), out)
    end
    refused('gw.listen { port = 1, name = "admin" }\ngw.route("GET /", { listener = "admn", respond = print })',
            'gateway.lua:3: gw.route: there is no listener "admn"')
    refused('gw.listen { port = 1, name = "a" }\ngw.listen { port = 2, name = "a" }',
            'gateway.lua:3: gw.listen: there is a listener "a" already')
    refused('gw.listen { port = 1, use = { "nothing" } }\ngw.route("GET /", { respond = print })', "gateway.lua:2:")
  end)
end)
