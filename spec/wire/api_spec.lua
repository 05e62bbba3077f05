--- What scripts can ask of the gateway beside their request: waiting, sharing, timers, other servers.
local gateway = require "spec.support.gateway"
local cjson = require "cjson"

local head = [[
  local gw = require "moonlatch"
  gw.listen { port = PORT, host = "127.0.0.1" }
  local function get(path, fn) gw.route("GET " .. path, { respond = fn }) end
]]

local function start(text, workers, env)
  return gateway.start({ ["gateway.lua"] = head .. text }, { args = { "--workers", tostring(workers or 1) }, env = env })
end

local function json(answer)
  assert.equal(200, answer.status, answer.body)
  return cjson.decode(answer.body)
end

describe("waiting", function()
  local g
  setup(function()
    g = start [[
      get("/sleep", function()
        local from = gw.mono()
        gw.sleep(0.05)
        return gw.response(200, { slept = gw.mono() - from })
      end)
      get("/bad-sleep/:what", function(req)
        local values = { negative = -1, nan = 0 / 0, text = "x", endless = math.huge }
        return gw.response(200, { ok = (pcall(gw.sleep, values[req.params.what])) })
      end)
      get("/all", function()
        local from = gw.mono()
        local r = gw.all { function() gw.sleep(0.1) return "a" end, function() gw.sleep(0.1) return "b" end }
        return gw.response(200, { r = r, took = gw.mono() - from })
      end)
      get("/all-named", function()
        local r = gw.all { x = function() return 1 end, y = function() gw.sleep(0) return 2 end }
        return gw.response(200, r)
      end)
      get("/all-fails", function()
        local from = gw.mono()
        local ok, wrong = pcall(gw.all, { function() gw.sleep(30) end, function() error("no luck", 0) end })
        return gw.response(200, { ok = ok, wrong = wrong, quick = gw.mono() - from < 10 })
      end)
      get("/all-settle", function()
        local r = gw.all({ function() return 1 end, function() error("no luck", 0) end }, { settle = true })
        return gw.response(200, r)
      end)
      get("/race", function()
        local from = gw.mono()
        local value, key = gw.race { slow = function() gw.sleep(30) return "slow" end,
                                     fast = function() gw.sleep(0.01) return "fast" end }
        return gw.response(200, { value = value, key = key, quick = gw.mono() - from < 10 })
      end)
      get("/in-branch", function(req)
        local r = gw.all { function() return req:header("X-A") end }
        return gw.response(200, r)
      end)
      get("/nested", function()
        local r = gw.all { function() return gw.race { function() return 1 end, function() gw.sleep(9) end } end,
                           function() return gw.all { function() return 2 end }[1] end }
        return gw.response(200, r)
      end)
    ]]
  end)
  teardown(gateway.stop_all)

  it("gw.sleep waits that long and lets others be served", function()
    local s = g:connect()
    s:send("GET /all-fails HTTP/1.1\r\nHost: a\r\n\r\n")
    assert.is_true(json(g:ask("GET /sleep")).slept >= 0.049)
    s:close()
  end)
  it("gw.sleep refuses what is no time", function()
    for _, what in ipairs { "negative", "nan", "text", "endless" } do
      assert.is_false(json(g:ask("GET /bad-sleep/" .. what)).ok, what)
    end
  end)
  it("gw.all runs side by side and gives results in order", function()
    local r = json(g:ask("GET /all"))
    assert.same({ "a", "b" }, r.r)
    assert.is_true(r.took < 0.19)
  end)
  it("gw.all keeps names", function() assert.same({ x = 1, y = 2 }, json(g:ask("GET /all-named"))) end)
  it("gw.all raises the first error and cancels the rest", function()
    assert.same({ ok = false, wrong = "no luck", quick = true }, json(g:ask("GET /all-fails")))
  end)
  it("gw.all with settle tells each outcome", function()
    assert.same({ { ok = true, value = 1 }, { ok = false, error = "no luck" } }, json(g:ask("GET /all-settle")))
  end)
  it("gw.race gives the first result and its key, and cancels the rest", function()
    assert.same({ value = "fast", key = "fast", quick = true }, json(g:ask("GET /race")))
  end)
  it("branches see the request, and nest", function()
    assert.same({ "1" }, json(g:ask("GET /in-branch", { headers = "X-A: 1\r\n" })))
    assert.same({ 1, 2 }, json(g:ask("GET /nested")))
  end)
end)

describe("gw.shared", function()
  after_each(gateway.stop_all)
  local text = [[
    local me, dict = gw.random_hex(8), gw.shared("spec")
    get("/incr", function() return gw.response(200, { n = dict:incr("n", 1), me = me }) end)
    get("/get", function() return gw.response(200, { n = dict:get("n"), me = me, version = VERSION }) end)
    get("/ops", function()
      local d = gw.shared("ops")
      d:clear()
      local out = { set = d:set("s", "text"), get = d:get("s"), none = d:get("none") == nil,
                    number = d:set("n", 1.5) and d:get("n"), flag = d:set("f", false) and d:get("f"),
                    sum = d:incr("n", 2), added = d:add("s", "x"), fresh = d:add("new", 1),
                    wrong = select(2, d:incr("s", 1)), init = d:incr("i", 1, { init = 10 }) }
      d:delete("s")
      out.deleted = d:get("s") == nil
      out.keys = d:keys()
      table.sort(out.keys)
      d:set("ttl", 1, 0.02)
      gw.sleep(0.05)
      out.expired = d:get("ttl") == nil
      out.bad = not pcall(d.set, d, "", 1) and not pcall(d.set, d, "k", {}) and not pcall(d.set, {}, "k", 1)
      return gw.response(200, out)
    end)
  ]]

  it("gives each type back, counts, adds, expires", function()
    local g = start((text:gsub("VERSION", "1")))
    local r = json(g:ask("GET /ops"))
    assert.same({ set = true, get = "text", none = true, number = 1.5, flag = false, sum = 3.5, added = false,
                  fresh = true, wrong = "not_a_number", init = 11, deleted = true, expired = true, bad = true,
                  keys = { "f", "i", "n", "new" } }, r)
  end)

  it("is one for all workers, and stays when the site is loaded anew", function()
    local g = start((text:gsub("VERSION", "1")), 2)
    local seen, count, sum = {}, 0, 0
    gateway.eventually(function()
      local r = json(g:ask("GET /incr"))
      sum = sum + 1
      assert.equal(sum, r.n)
      if not seen[r.me] then seen[r.me], count = true, count + 1 end
      return count == 2
    end, "an answer of each worker")
    g:save("gateway.lua", head .. text:gsub("VERSION", "2"))
    gateway.eventually(function() return json(g:ask("GET /get")).version == 2 end, "the new generation")
    assert.equal(sum, json(g:ask("GET /get")).n)
  end)
end)

describe("gw.timer", function()
  after_each(gateway.stop_all)

  it("runs again and again while the generation serves; of a replaced one, no more", function()
    local text = [[
      local dict = gw.shared("spec")
      gw.timer(0.02, function() dict:incr("VERSION", 1) end)
      get("/n/:of", function(req) return gw.response(200, { n = dict:get(req.params.of) or 0, v = "VERSION" }) end)
    ]]
    local g = start((text:gsub("VERSION", "one")))
    gateway.eventually(function() return json(g:ask("GET /n/one")).n >= 3 end, "three firings")
    g:save("gateway.lua", head .. text:gsub("VERSION", "two"))
    gateway.eventually(function() return json(g:ask("GET /n/two")).n >= 1 end, "a firing of the new one")
    local n = json(g:ask("GET /n/one")).n
    local two = json(g:ask("GET /n/two")).n
    gateway.eventually(function() return json(g:ask("GET /n/two")).n >= two + 5 end, "more of the new one")
    assert.equal(n, json(g:ask("GET /n/one")).n)
  end)

  it("goes on after an error, which is in the log", function()
    local g = start [[
      local dict = gw.shared("spec")
      gw.timer(0.02, function() if dict:incr("n", 1) == 1 then error("first firing") end end)
      get("/n", function() return gw.response(200, { n = dict:get("n") or 0 }) end)
    ]]
    gateway.eventually(function() return json(g:ask("GET /n")).n >= 3 end, "three firings")
    assert.truthy(g:output():find("first firing", 1, true))
  end)

  it("can be cancelled", function()
    local g = start [[
      local dict = gw.shared("spec")
      local t = gw.timer(0.02, function() dict:incr("n", 1) end)
      get("/n", function() return gw.response(200, { n = dict:get("n") or 0 }) end)
      get("/cancel", function() return gw.response(200, { was = t:cancel(), again = t:cancel() }) end)
      get("/wait", function() gw.sleep(0.1) return gw.response(200, { n = dict:get("n") or 0 }) end)
    ]]
    gateway.eventually(function() return json(g:ask("GET /n")).n >= 1 end, "a firing")
    assert.same({ was = true, again = false }, json(g:ask("GET /cancel")))
    local n = json(g:ask("GET /n")).n
    assert.equal(n, json(g:ask("GET /wait")).n)
  end)

  it("fires once per period in all workers together, when it is told so", function()
    local g = start([[
      local dict = gw.shared("spec")
      gw.timer(0.2, function()
        dict:incr("n", 1)
        if not dict:add("p" .. math.floor(gw.mono() / 0.2 + 0.5), true) then dict:incr("twice", 1) end
      end, { once_per_machine = true })
      get("/n", function() return gw.response(200, { n = dict:get("n") or 0, twice = dict:get("twice") or 0 }) end)
    ]], 2)
    gateway.eventually(function() return json(g:ask("GET /n")).n >= 5 end, "five firings")
    assert.equal(0, json(g:ask("GET /n")).twice)
  end)
end)

describe("gw.http", function()
  local g, peer
  setup(function()
    peer = start [[
      gw.route("* /echo", { respond = function(req)
        return gw.response(200, { method = req.method, body = req:body() or "", host = req.host, query = req.query,
                                  a = req:header("X-A"), ua = req:header("Content-Type") },
                           { ["X-Peer"] = { "1", "2" } })
      end })
      get("/slow", function() gw.sleep(20) return gw.response(200) end)
      get("/large", function() return gw.response(200, ("x"):rep(100000)) end)
      get("/moved", function() return gw.redirect("/echo?from=moved") end)
      get("/500", function() return gw.error(500, "broken", "on purpose") end)
    ]]
    g = start(([[
      local peer, closed = "http://127.0.0.1:%d", "http://127.0.0.1:%d"
      local function tell(res, code)
        if not res then return gw.response(200, { code = code }) end
        return gw.response(200, { status = res.status, body = res.body, peer = res.headers["x-peer"] })
      end
      get("/get", function() return tell(gw.http.get(peer .. "/echo?a=1", { headers = { ["X-A"] = "1" } })) end)
      get("/post", function() return tell(gw.http.post(peer .. "/echo", { body = "text" })) end)
      get("/json", function() return tell(gw.http.post(peer .. "/echo", { json = { a = 1 } })) end)
      get("/call", function() return tell(gw.http { url = peer .. "/echo", method = "PUT", body = "b" }) end)
      get("/500", function() return tell(gw.http.get(peer .. "/500")) end)
      get("/refused", function() return tell(gw.http.get(closed .. "/")) end)
      get("/timeout", function() return tell(gw.http.get(peer .. "/slow", { timeout = 0.05 })) end)
      get("/large", function() return tell(gw.http.get(peer .. "/large", { max_body = 1000 })) end)
      get("/bad-url/:n", function(req)
        local urls = { "", "x", "ftp://a/", "http://", "http://127.0.0.1:1/\r\nX: y" }
        local ok, res, code = pcall(gw.http.get, urls[tonumber(req.params.n)])
        return gw.response(200, { refused = not ok or res == nil, code = code })
      end)
      get("/bad-header", function()
        return gw.response(200, { ok = (pcall(gw.http.get, peer, { headers = { ["X-A"] = "1\r\nX-B: 2" } })) })
      end)
      get("/bad-option", function() return gw.response(200, { ok = (pcall(gw.http.get, peer, { tiemout = 1 })) }) end)
    ]]):format(peer.port, gateway.free_port()))
  end)
  teardown(gateway.stop_all)

  it("gets: status, headers, body", function()
    local r = json(g:ask("GET /get"))
    assert.equal(200, r.status)
    local echo = cjson.decode(r.body)
    assert.equal("GET", echo.method)
    assert.equal("a=1", echo.query)
    assert.equal("1", echo.a)
    assert.truthy(r.peer)
  end)
  it("sends bodies", function()
    local echo = cjson.decode(json(g:ask("GET /post")).body)
    assert.equal("POST", echo.method)
    assert.equal("text", echo.body)
    echo = cjson.decode(json(g:ask("GET /json")).body)
    assert.same({ a = 1 }, cjson.decode(echo.body))
    assert.equal("application/json", echo.ua)
    assert.equal("PUT", cjson.decode(json(g:ask("GET /call")).body).method)
  end)
  it("gives a status of 500 as a response, and failures as nil and a code", function()
    assert.equal(500, json(g:ask("GET /500")).status)
    for _, what in ipairs { "refused", "timeout", "large" } do
      local r = json(g:ask("GET /" .. what))
      assert.is_nil(r.status, what)
      assert.is_string(r.code, what)
    end
  end)
  it("refuses bad URLs, headers and options", function()
    for n = 1, 5 do assert.is_true(json(g:ask("GET /bad-url/" .. n)).refused) end
    assert.is_false(json(g:ask("GET /bad-header")).ok)
    assert.is_false(json(g:ask("GET /bad-option")).ok)
  end)
end)

describe("values of gw", function()
  local g
  setup(function()
    g = start([[
      local port, flag, list = gw.env.number("SPEC_NUMBER", 1), gw.env.boolean("SPEC_FLAG", false), gw.env.list("SPEC_LIST")
      local text, default = gw.env "SPEC_TEXT", gw.env("SPEC_NONE", "default")
      get("/env", function() return gw.response(200, { port, flag, list, text, default }) end)
      get("/misc", function()
        return gw.response(200, {
          hex = gw.random_hex(16), other = gw.random_hex(16), now = gw.now(), iso = gw.time_iso(0),
          uptime = gw.uptime(), encoded = gw.url_encode("a b/ü&"), decoded = gw.url_decode("a%20b%2F"),
          b64 = gw.base64_encode("hello"), plain = gw.base64_decode("aGVsbG8="),
          bad64 = gw.base64_decode("!!") == nil,
          inside = gw.ip_match("10.1.2.3", { "10.0.0.0/8" }), outside = gw.ip_match("11.1.2.3", { "10.0.0.0/8" }),
          six = gw.ip_match("::1", { "::1/128" }), bad_net = (pcall(gw.ip_match, "1.1.1.1", { "x" })) })
      end)
      get("/log", function()
        gw.log("plain words")
        gw.log.warn("with fields\nand \"quotes\"", { n = 1, s = "x\ny" })
        return gw.response(200)
      end)
    ]], 1, { SPEC_NUMBER = "8080", SPEC_FLAG = "yes", SPEC_LIST = "a, b", SPEC_TEXT = "text" })
  end)
  teardown(gateway.stop_all)

  it("gw.env reads the environment of the gateway", function()
    assert.same({ 8080, true, { "a", "b" }, "text", "default" }, json(g:ask("GET /env")))
  end)
  it("time, randomness, encodings, networks", function()
    local r = json(g:ask("GET /misc"))
    assert.truthy(r.hex:find("^%x+$"))
    assert.equal(32, #r.hex)
    assert.are_not.equal(r.hex, r.other)
    assert.is_true(math.abs(r.now - os.time()) < 5)
    assert.truthy(r.iso:find("^1970%-01%-01T00:00:00"))
    assert.is_true(r.uptime >= 0 and r.uptime < 60)
    assert.equal("a%20b%2F%C3%BC%26", r.encoded)
    assert.equal("a b/", r.decoded)
    assert.equal("aGVsbG8=", r.b64)
    assert.equal("hello", r.plain)
    assert.is_true(r.bad64)
    assert.same({ true, false, true, false }, { r.inside, r.outside, r.six, r.bad_net })
  end)
  it("gw.log writes lines that can not be forged", function()
    assert.equal(200, g:ask("GET /log").status)
    local log = g:wait_for_log("with fields")
    assert.truthy(log:find("plain words", 1, true))
    local line = log:match("[^\n]*with fields[^\n]*")
    local told = cjson.decode(line)
    assert.equal('with fields\nand "quotes"', told.message)
    assert.equal("warn", told.level)
  end)
end)
