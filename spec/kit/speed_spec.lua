--- How long a spec of seven tests and four thousand requests takes.
package.path = "./lua/?.lua;" .. package.path
local t = require "moonlatch.test"

local site = { ["gateway.lua"] = [[
local gw = require "moonlatch"
gw.listen { port = 8080 }
gw.upstream("up", { "http://up.test" })
gw.use { "request_id", "security_headers", { "cors", origins = { "https://a.example" } } }
gw.route("GET /own/:id", { respond = function(req) return gw.response(200, { id = req.params.id }) end })
gw.group("/up", { function(req, next)
  local res = next()
  res:set_header("X-Seen", req.id)
  return res
end }, function()
  gw.route("* /*rest", { to = "up" })
end)
]] }

describe("4000 requests", function()
  local app
  before_each(function() app = t.load(site) end)

  local function many(count, path, status, opts)
    for _ = 1, count do assert(app:get(path, opts).status == status) end
  end

  it("to a handler", function() many(600, "/own/1", 200) end)
  it("without a route", function() many(600, "/nothing", 404) end)
  it("to an upstream", function()
    many(1000, "/up/x", 200)
    assert.equal(1000, app.upstreams.up.calls)
  end)
  it("with a body each", function()
    for i = 1, 600 do assert(app:post("/up/x", { json = { i = i } }).status == 200) end
    assert.equal(600, app.upstreams.up.last.json.i)
  end)
  it("with an origin", function() many(600, "/own/1", 200, { headers = { Origin = "https://a.example" } }) end)
  it("to an upstream that is late", function()
    app.upstreams.up:delay(0.5)
    many(300, "/up/x", 200)
    assert.near(150, app:now() - t.now, 0.001)
  end)
  it("of many clients", function()
    for i = 1, 300 do assert(app:get("/own/1", { ip = "10.0.0." .. i % 200 }).status == 200) end
  end)
end)
