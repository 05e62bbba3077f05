--- The promises of moonlatch.test: see docs/testing.md.
package.path = "./lua/?.lua;" .. package.path
local t = require "moonlatch.test"

local gateway = [[
local gw = require "moonlatch"
gw.listen { port = 8080, trusted_proxies = { "10.9.0.0/16" } }
gw.listen { port = 8081 }
gw.upstream("up", { "http://up.test:3000", "http://up2.test:3000" })
gw.upstream("slow", { "http://slow.test", first_byte_timeout = 5, max_fails = 0 })
gw.use { "request_id" }
local guard = function(req)
  if req:header("X-Token") ~= gw.env("TOKEN", "t") then return gw.error(401, "no_token", "a token is needed") end
end
gw.route("GET /hello", { respond = function() return gw.response(200, { hello = "world" }) end })
gw.route("* /up/*rest", { guard, to = "up" })
gw.route("GET /slow", { to = "slow" })
gw.route("GET /sleep", { respond = function() gw.sleep(2) return gw.response(200, "slept") end })
gw.route("GET /boom", { respond = function() error("a secret") end })
gw.route("GET /rand", { respond = function() return gw.response(200, gw.random_hex(8)) end })
gw.route("GET /ip", { respond = function(req) return gw.response(200, req.ip) end })
gw.route("GET /twice", { respond = function() return gw.response(200, "x", { ["Set-Cookie"] = "a=1" }) end })
gw.route("GET /auth", { respond = function()
  local res, code = gw.http.get("http://auth.test:9000/check")
  return gw.response(200, res and res.body or code)
end })
gw.route("GET /count", { respond = function()
  return gw.response(200, { n = gw.shared("counts"):incr("n", 1) })
end })
local ticks = 0
gw.timer(10, function() gw.shared("counts"):incr("ticks", 1) gw.log.info("tick", { at = gw.now() }) end)
gw.route("GET /ticks", { respond = function()
  return gw.response(200, { n = gw.shared("counts"):get("ticks") or 0 })
end })
]]
gateway = gateway:gsub("local ticks = 0\n", "")

describe("moonlatch.test", function()
  local app
  before_each(function() app = t.load({ ["gateway.lua"] = gateway }, { env = { TOKEN = "secret" } }) end)
  local token = { headers = { ["x-token"] = "secret" } }

  describe("load", function()
    it("raises what is wrong with a site, with file and line", function()
      local ok, why = pcall(t.load, { ["gateway.lua"] = "local gw = require 'moonlatch'\ngw.route('x', {})" })
      assert.is_false(ok)
      assert.matches("gateway.lua:2: gw.route", why, 1, true)
      assert.error_matches(function() t.load("/no/such/directory") end, "no/such/directory")
    end)

    it("takes the environment from the table and from nowhere else", function()
      assert.equal(401, app:get("/up/x").status)
      assert.equal(200, app:get("/up/x", token).status)
      local ok, why = pcall(t.load, { ["gateway.lua"] = 'require("moonlatch").env "PATH"' })
      assert.is_false(ok)
      assert.matches("PATH is not set", why)
    end)

    it("refuses an option it does not know", function()
      assert.error_matches(function() t.load({}, { environment = {} }) end, "unknown option environment")
    end)

    it("loads the directory of an example", function()
      local hospital = t.load("examples/hospital")
      assert.response(hospital:get("/api/no-such-thing")).has.status(404)
    end)
  end)

  describe("a request", function()
    it("has an answer with status, headers in any case, body and JSON", function()
      local res = app:get("/hello")
      assert.equal(200, res.status)
      assert.equal("application/json", res.headers["Content-Type"]:match("^[^;]*"))
      assert.equal(res.headers["content-type"], res.headers["CONTENT-TYPE"])
      assert.same({ hello = "world" }, res.json)
      assert.equal(res.id, res.headers["X-Request-Id"])
      assert.equal("/hello", res.route)
    end)

    it("raises when JSON is asked for and there is none", function()
      assert.error_matches(function() return app:get("/sleep").json end, "the body is no JSON")
    end)

    it("comes from the address of ip, to the listener of port", function()
      assert.equal("10.1.2.3", app:get("/ip", { ip = "10.1.2.3" }).body)
      assert.equal("2001:db8::1", app:get("/ip", { ip = "2001:db8::1" }).body)
      local forwarded = { ip = "10.9.0.1", headers = { ["X-Forwarded-For"] = "192.0.2.7" } }
      assert.equal("192.0.2.7", app:get("/ip", forwarded).body)
      forwarded.port = 8081
      assert.equal("10.9.0.1", app:get("/ip", forwarded).body)
      assert.error_matches(function() app:get("/ip", { port = 1 }) end, "no listener with port 1")
      assert.error_matches(function() app:get("/ip", { ip = "x" }) end, "no address")
      assert.error_matches(function() app:get("/ip", { header = {} }) end, "unknown option header")
    end)

    it("may have a body, as text or JSON, of any size", function()
      local body = ("0123456789"):rep(50000)
      app.upstreams.up:handler(function(req) return 200, req.body end)
      assert.is_true(app:post("/up/x", { body = body, headers = token.headers }).body == body)
      app:request { method = "PUT", path = "/up/x?q=1", json = { a = { 1, 2 } }, headers = token.headers }
      local last = app.upstreams.up.last
      assert.same({ a = { 1, 2 } }, last.json)
      assert.equal("PUT", last.method)
      assert.equal("/up/x", last.path)
      assert.equal("q=1", last.query)
      assert.equal("application/json", last.headers["Content-Type"])
    end)

    it("is read by the product's parser, also when it is malformed", function()
      local res = app:raw("GET /hello HTTP/1.1\r\n\r\n")
      assert.response(res).has.status(400)
      assert.equal("core:bad_host", res.decided_by)
      assert.equal(200, app:raw("GET /hello HTTP/1.0\r\n\r\n").status)
    end)

    it("of every method has a function", function()
      for _, method in ipairs { "get", "post", "put", "patch", "delete", "options" } do
        assert.equal(200, app[method](app, "/up/x", token).status)
        assert.equal(method:upper(), app.upstreams.up.last.method)
      end
      assert.equal("", app:head("/up/x", token).body)
    end)
  end)

  describe("decided_by and trace", function()
    it("name the handler, the upstream, the middleware or the core's reason", function()
      assert.equal("gateway.lua:10", app:get("/hello").decided_by)
      assert.equal("upstream:up", app:get("/up/x", token).decided_by)
      assert.equal("gateway.lua:7", app:get("/up/x").decided_by)
      assert.equal("core:not_found", app:get("/nothing").decided_by)
      assert.equal("core:method_not_allowed", app:post("/hello").decided_by)
      assert.equal("core:script_error", app:get("/boom").decided_by)
      app.upstreams.slow:fail("refused")
      assert.equal("core:upstream_refused", app:get("/slow").decided_by)
    end)

    it("list the steps that ran, and what each of them did", function()
      local function steps(res)
        local list = {}
        for i, step in ipairs(res.trace) do list[i] = step.name .. " " .. step.what end
        return table.concat(list, ", ")
      end
      assert.equal("request_id passed, gateway.lua:7 passed, upstream:up answered", steps(app:get("/up/x", token)))
      assert.equal("request_id passed, gateway.lua:7 answered", steps(app:get("/up/x")))
      assert.equal("request_id stopped, gateway.lua:14 stopped", steps(app:get("/boom")))
      assert.equal("gateway.lua:6", app:get("/hello").trace[1].at)
    end)
  end)

  describe("an upstream", function()
    it("answers 200 until the test says something else", function()
      local up = app.upstreams.up
      assert.response(app:get("/up/a", token)).has.status(200)
      up:reply(418, { short = true }, { ["X-Pot"] = "tea" })
      local res = app:get("/up/b", token)
      assert.response(res).has.status(418)
      assert.response(res).has.header("x-pot", "tea")
      assert.response(res).has.json { short = true }
      assert.equal(2, up.calls)
      assert.equal("/up/a", up.requests[1].path)
      assert.equal("/up/b", up.last.path)
      up:clear()
      assert.equal(0, up.calls)
    end)

    it("that fails is what the site has to cope with", function()
      local slow, before = app.upstreams.slow, app:now()
      assert.equal(504, app:get("/slow", slow:fail("timeout") and {}).status)
      assert.near(5, app:now() - before, 0.01)
      slow:fail("refused")
      assert.equal(503, app:get("/slow").status)
      slow:fail("reset"):clear()
      assert.equal(502, app:get("/slow").status)
      assert.is_true(slow.calls >= 1)
      slow:reply(200, "again")
      assert.equal("again", app:get("/slow").body)
    end)

    it("that is late costs only simulated time", function()
      local before = app:now()
      app.upstreams.slow:delay(4)
      assert.equal(200, app:get("/slow").status)
      assert.near(4, app:now() - before, 0.001)
      app.upstreams.slow:delay(6)
      assert.equal(504, app:get("/slow").status)
    end)

    it("whose handler raises fails the test", function()
      app.upstreams.up:handler(function() error("my mistake", 0) end)
      assert.error_matches(function() app:get("/up/x", token) end, "my mistake")
      app.upstreams.up:handler(function() return "no status" end)
      assert.error_matches(function() app:get("/up/x", token) end, "returned no status")
    end)

    it("that the site does not have is an error", function()
      assert.error_matches(function() return app.upstreams.other end, "no upstream other")
      assert.error_matches(function() app.upstreams.up:fail("slowly") end, "timeout")
    end)
  end)

  describe("gw.http", function()
    it("is refused until the test names the host", function()
      assert.matches("^upstream_", app:get("/auth").body)
      app.http["http://auth.test:9000"]:handler(function(req) return 200, "saw " .. req.path end)
      app:advance(60)
      assert.equal("saw /check", app:get("/auth").body)
      assert.equal(1, app.http["http://auth.test:9000"].calls)
    end)
  end)

  describe("TLS", function()
    it("is taken for spoken, and certificates for good", function()
      if not t.simulated then return end
      local secure = t.load { ["gateway.lua"] = [[
        local gw = require "moonlatch"
        gw.listen { port = 8080 }
        gw.upstream("up", { "https://up.test", "h2://up2.test", "h2c://up3.test:81" })
        local r = gw.redis "rediss://redis.test"
        gw.route("GET /up", { to = "up" })
        gw.route("GET /redis", { respond = function() return gw.response(200, r:set("a", 1)) end })
        gw.route("GET /http", { respond = function()
          return gw.response(200, gw.http.get("https://other.test/x").body)
        end }) ]] }
      for _ = 1, 3 do assert.equal("upstream:up", secure:get("/up").decided_by) end -- and HTTP/2 for spoken
      assert.equal("OK", secure:get("/redis").body)
      secure.http["https://other.test"]:reply(200, "told")
      assert.equal("told", secure:get("/http").body)
    end)
  end)

  describe("time", function()
    it("stands still but for what waits", function()
      local before = app:now()
      assert.equal(t.now, before)
      app:get("/hello")
      assert.equal(before, app:now())
      assert.equal("slept", app:get("/sleep").body)
      assert.near(2, app:now() - before, 0.001)
    end)

    it("fires timers in their order when it advances", function()
      app:advance(35)
      assert.equal(3, app:get("/ticks").json.n)
      local at = {}
      for _, line in ipairs(app.logs) do
        if line.message == "tick" then at[#at + 1] = line.at - t.now end
      end
      for i = 1, 3 do assert.near(10 * i, at[i], 0.01) end
    end)

    it("begins when the test says, and randomness is the same each time", function()
      local one = t.load({ ["gateway.lua"] = gateway }, { now = 5 })
      local two = t.load({ ["gateway.lua"] = gateway }, { now = 5 })
      local three = t.load({ ["gateway.lua"] = gateway }, { now = 5, seed = 2 })
      assert.equal(5, one:now())
      local bytes = one:get("/rand").body
      assert.equal(bytes, two:get("/rand").body)
      assert.not_equal(bytes, three:get("/rand").body)
    end)
  end)

  describe("requests at the same time", function()
    it("wait for each other only when the test waits", function()
      local a, b = app:send { path = "/sleep" }, app:send { path = "/slow", ip = "10.0.0.1" }
      assert.is_false(a:done())
      assert.is_true(b:done())
      assert.equal(200, b:wait().status)
      assert.equal("slept", a:wait().body)
    end)

    it("may be given up by the client", function()
      app.upstreams.slow:delay(1)
      local a = app:send { path = "/slow" }
      assert.is_false(a:done())
      a:cancel()
      local res, why = a:wait()
      assert.is_nil(res)
      assert.equal("cancelled", why)
      app:advance(2)
      assert.equal(200, app:get("/slow").status)
    end)
  end)

  describe("apps", function()
    it("share nothing", function()
      local other = t.load { ["gateway.lua"] = gateway }
      assert.equal(1, app:get("/count").json.n)
      assert.equal(2, app:get("/count").json.n)
      assert.equal(1, other:get("/count").json.n)
      app:advance(7)
      assert.equal(t.now, other:now())
    end)

    it("may call each other", function()
      local other = t.load { ["gateway.lua"] = gateway }
      app.upstreams.up:handler(function() return other:get("/hello").status, "via" end)
      assert.equal("via", app:get("/up/x", token).body)
    end)

    it("that were closed say so", function()
      app:close()
      assert.error_matches(function() app:get("/hello") end, "the app is closed")
    end)

    it("come and go without a trace", function()
      local function descriptors()
        collectgarbage() -- apps of earlier tests that nobody holds any more
        collectgarbage()
        return #require("posix.dirent").dir("/proc/self/fd") -- a program would see the pipe to itself, at times
      end
      local function one()
        local each = t.load { ["gateway.lua"] = gateway }
        each:get("/up/x")
        each:send { path = "/sleep" }
        each:close()
      end
      app:close()
      one()
      local before = descriptors()
      for _ = 1, 20 do one() end
      assert.equal(before, descriptors())
    end)
  end)

  it("shows logs and the access log", function()
    app:get("/boom")
    local line = app.logs[#app.logs]
    assert.equal("script failed", line.message)
    assert.matches("a secret", line.error or line.traceback or "")
    assert.equal(500, app.access[#app.access].statusCode or app.access[#app.access].status)
  end)

  it("shows metrics", function()
    app:get("/hello")
    app:get("/hello")
    app:get("/up/x")
    local labels = { route = "/hello", status_code = 200 }
    assert.equal(2, app.metrics("http_requests_total", labels))
    assert.equal(3, app.metrics("http_requests_total"))
    assert.equal(0, app.metrics("no_such_metric"))
    assert.equal("GET", app.metrics.http_requests_total[1].labels.method)
  end)

  describe("assert.response", function()
    it("tells what it wanted and what the answer was", function()
      local res = app:get("/hello")
      assert.response(res).has.status(200)
      assert.response(res).has_not.status(404)
      assert.response(res).has.header("X-Request-Id")
      assert.response(res).has_not.header("X-Nothing")
      local ok, why = pcall(function() assert.response(res).has.status(404) end)
      assert.is_false(ok)
      why = tostring(type(why) == "table" and why.message or why)
      assert.matches("status 404", why)
      assert.matches("200, decided by gateway.lua:10", why, 1, true)
      assert.is_false(pcall(function() assert.response(res).has.json { hello = "you" } end))
      assert.is_false(pcall(function() assert.response(res).has.header("X-Request-Id", "other") end))
    end)
  end)

  describe("a policy", function()
    it("that is shipped runs around the test's next", function()
      local p = t.policy("cors", { origins = { "https://a.example" } })
      local res = p:call { headers = { Origin = "https://a.example" }, next = function() return 201, "made" end }
      assert.response(res).has.status(201)
      assert.response(res).has.header("Access-Control-Allow-Origin", "https://a.example")
      assert.equal(1, p.next.calls)
      res = p:call { method = "OPTIONS", headers = { Origin = "https://a.example",
                     ["Access-Control-Request-Method"] = "PUT" } }
      assert.equal("cors", res.decided_by)
      assert.equal(1, p.next.calls)
    end)

    it("may have functions among its options, as text", function()
      local p = t.policy("rate_limit", "{ limit = 1, window = 60, key = function(req) return req:header('X-User') end }")
      local function status(user) return p:call { headers = { ["X-User"] = user } }.status end
      assert.same({ 200, 429, 200 }, { status "a", status "a", status "b" })
    end)

    it("of a site is found by its file", function()
      local p = t.policy("lua/site/middleware/example.lua", { value = "v" })
      assert.response(p:call {}).has.header("X-Served-By", "v")
    end)

    it("with wrong options does not load", function()
      assert.error_matches(function() t.policy("cors", { origin = "x" }) end, "cors")
      assert.error_matches(function() t.policy("no_such_policy") end, "no_such_policy")
      assert.error_matches(function() t.policy("cors", { origins = print }) end, "write the options as a text")
    end)
  end)
end)
