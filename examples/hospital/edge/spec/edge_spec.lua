--- What the edge promises; `moonlatch test examples/hospital/edge` runs this without a network.
local t = require "moonlatch.test"

describe("the edge", function()
  local app
  before_each(function()
    app = t.load(".", { env = { LOG_FILE = "off", ALLOWED_ORIGINS = "https://app.example" } })
    app.upstreams["api-gateway"]:reply(200, { ok = true })
  end)

  local function hammer(path, times, opts)
    local counts, last = {}, nil
    for _ = 1, times do
      last = app:get(path, opts)
      counts[last.status] = (counts[last.status] or 0) + 1
    end
    return counts, last
  end

  it("lets ten requests a second and twenty more through to the API", function()
    local counts, last = hammer("/api/doctors", 40)
    assert.equal(21, counts[200])
    assert.equal(19, counts[429])
    assert.equal("rate_limit", last.decided_by)
    app:advance(1)
    assert.equal(10, hammer("/api/doctors", 15)[200])
  end)

  it("lets half of that through to GraphQL", function()
    assert.equal(11, hammer("/graphql", 20)[200])
  end)

  it("says why in a way that pages of other origins can read", function()
    local _, last = hammer("/api/doctors", 30, { headers = { Origin = "https://app.example" } })
    assert.response(last).has.status(429)
    assert.response(last).has.header("Access-Control-Allow-Origin", "https://app.example")
    assert.response(last).has.header("Retry-After")
    assert.truthy(last.json.retryAfter)
  end)

  it("serves the page for every path that is nothing else, and assets for a year", function()
    for _, path in ipairs { "/", "/patients/7", "/metrics", "/graphqlx", "/healthcheck" } do
      local res = app:get(path)
      assert.response(res).has.status(200)
      assert.truthy(res.body:find("<title>Hospital</title>", 1, true))
      assert.response(res).has.header("Cache-Control", "no-cache")
    end
    local res = app:get("/assets/page.js")
    assert.response(res).has.header("Cache-Control", "public, max-age=31536000, immutable")
    assert.response(app:get("/assets/old.js")).has.status(404)
    assert.equal(0, app.upstreams["api-gateway"].calls)
  end)

  it("tells browsers the same on everything, once", function()
    app.upstreams["api-gateway"]:reply(200, { ok = true }, { ["X-Frame-Options"] = "SAMEORIGIN" })
    for _, path in ipairs { "/", "/assets/page.css", "/api/doctors", "/health", "/assets/none.js" } do
      local res = app:get(path)
      assert.response(res).has.header("X-Frame-Options", "DENY")
      assert.response(res).has.header("X-Content-Type-Options", "nosniff")
      assert.response(res).has.header("Content-Security-Policy")
    end
  end)

  it("asks the gateways with the Host that the client asked for", function()
    app:get("/api/doctors", { headers = { Host = "hospital.example.com" } })
    assert.equal("hospital.example.com", app.upstreams["api-gateway"].last.headers.host)
  end)
end)
