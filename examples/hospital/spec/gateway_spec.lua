--- What the gateway promises to its clients while services answer, fail or are slow: `moonlatch test .` runs
-- this without a service and without waiting.
local t = require "moonlatch.test"

local SECRET = ("0123456789"):rep(4)

describe("the gateway", function()
  local app
  before_each(function()
    app = t.load(".", { env = { JWT_SECRET = SECRET, PROXY_TIMEOUT_MS = "30000", LOG_FILE = "off" } })
  end)

  local function login() return app:post("/api/auth/login", { json = { email = "a@b.example" } }) end

  it("sends a login to the auth service as it is", function()
    app.upstreams.auth:reply(201, { token = "t" })
    local res = login()
    assert.response(res).has.status(201)
    assert.response(res).has.json { token = "t" }
    assert.same({ email = "a@b.example" }, app.upstreams.auth.last.json)
    assert.equal("/api/auth/login", app.upstreams.auth.last.path)
  end)

  it("asks for a token everywhere else, and no service hears of it", function()
    for _, path in ipairs { "/api/patients/1", "/api/doctors", "/api/auth/me", "/api/billing/x" } do
      assert.response(app:get(path)).has.status(401)
    end
    local forged = { headers = { Authorization = "Bearer x.y.z" } }
    assert.response(app:get("/api/patients/1", forged)).has.status(401)
    for _, name in ipairs { "patient", "doctor", "auth", "billing" } do
      assert.equal(0, app.upstreams[name].calls)
    end
  end)

  it("says who refused", function()
    assert.equal("jwt", app:get("/api/patients/1").decided_by)
    assert.equal("core:not_found", app:get("/nothing").decided_by)
    assert.equal("upstream:auth", login().decided_by)
  end)

  it("words the failures of a service", function()
    app.upstreams.auth:fail("reset")
    local res = login()
    assert.response(res).has.status(502)
    assert.equal("Invalid response from auth service", res.json.message)
  end)

  it("words that a service is not there", function()
    app.upstreams.auth:fail("refused")
    local res = login()
    assert.response(res).has.status(503)
    assert.equal("auth service is unavailable", res.json.message)
  end)

  it("waits thirty seconds for a service", function()
    app.upstreams.auth:fail("timeout")
    local before, res = app:now(), login()
    assert.response(res).has.status(504)
    assert.near(30, app:now() - before, 0.1)
    assert.equal("auth service did not respond in time", res.json.message)
    app.upstreams.auth:reply(200, "in time"):delay(29)
    app:advance(60)
    assert.equal("in time", login().body)
  end)

  it("leaves alone what a service answers itself", function()
    app.upstreams.auth:reply(503, { error = "mine" })
    assert.response(login()).has.json { error = "mine" }
    app.upstreams.auth:reply(404, { error = "no such user" })
    assert.response(login()).has.json { error = "no such user" }
  end)

  it("names the route that does not exist", function()
    local res = app:get("/a")
    assert.response(res).has.status(404)
    assert.equal("Route GET /a not found", res.json.message)
  end)

  it("puts the security headers on every answer", function()
    for _, res in ipairs { login(), app:get("/nothing"), app:get("/api/patients/1"), app:get("/health") } do
      assert.response(res).has.header("X-Content-Type-Options", "nosniff")
      assert.response(res).has.header("Strict-Transport-Security")
    end
  end)
end)
