--- t.start: the real program with the calls of a simulated app; and the variables it uses for that.
package.path = "./lua/?.lua;" .. package.path
local t = require "moonlatch.test"

local site = { ["gateway.lua"] = [[
local gw = require "moonlatch"
gw.listen { port = 8080 }
gw.listen { port = 8081 }
gw.upstream("user-service", { "http://users.test:3001", "http://users2.test:3001", max_fails = 0, retries = 0 })
gw.route("GET /name", { respond = function() return gw.response(200, { name = gw.env "NAME" }) end })
gw.route("GET /port", { respond = function(req) return gw.response(200, req.headers.host) end })
gw.route("* /users/*rest", { to = "user-service" })
]] }

describe("t.start", function()
  local app
  before_each(function() app = t.start { files = site, env = { NAME = "it's me" } } end)
  after_each(function() app:close() end)

  it("runs the real program with the given environment", function()
    assert.response(app:get("/name")).has.json { name = "it's me" }
    assert.response(app:get("/port", { port = 8081 })).has.status(200)
    assert.response(app:get("/nothing")).has.status(404)
  end)

  it("plays its upstreams", function()
    local users = app.upstreams["user-service"]
    users:handler(function(req) return 201, { got = req.json.a, path = req.path } end)
    local res = app:post("/users/1", { json = { a = 7 } })
    assert.response(res).has.status(201)
    assert.response(res).has.json { got = 7, path = "/users/1" }
    assert.equal(1, users.calls)
    users:fail("refused")
    assert.response(app:get("/users/1")).has.status(503)
    users:fail("reset")
    assert.response(app:get("/users/1")).has.status(502)
    users:reply(200, ("x"):rep(300000))
    assert.equal(300000, #app:get("/users/1").body)
  end)

  it("ends the program, which leaves nothing", function()
    local base = app.sim.base
    app:close()
    assert.is_nil(io.open(base .. "/events"))
    assert.error_matches(function() app:get("/name") end, "the app is closed")
  end)
end)

describe("the environment of a site", function()
  if not t.simulated then return end

  it("may move its listeners and upstreams", function()
    local env = { NAME = "x", MOONLATCH_LISTEN = "127.0.0.1:18080,[::1]:18081",
                  MOONLATCH_UPSTREAM_USER_SERVICE = "http://elsewhere.test:99/v2" }
    local app = t.load(site, { env = env })
    assert.equal(200, app:get("/name", { port = 18081 }).status)
    assert.error_matches(function() app:get("/name", { port = 8080 }) end, "no listener with port 8080")
    local users = app.upstreams["user-service"]
    assert.equal(200, app:get("/users/1").status)
    assert.equal("/v2/users/1", users.last.path)
    assert.equal("elsewhere.test:99", users.last.headers.host)
  end)

  it("that makes no sense there is an error with the line of the site", function()
    local ok, why = pcall(t.load, site, { env = { NAME = "x", MOONLATCH_LISTEN = "8080" } })
    assert.is_false(ok)
    assert.matches('gateway.lua:2: gw.listen: MOONLATCH_LISTEN: "8080" is not "address:port"', why, 1, true)
    ok, why = pcall(t.load, site, { env = { NAME = "x", MOONLATCH_UPSTREAM_USER_SERVICE = "ftp://x" } })
    assert.is_false(ok)
    assert.matches('gateway.lua:4: gw.upstream("user-service")', why, 1, true)
  end)
end)
