-- The policy `session`, on the real binary, with the shared memory and with a real redis-server.
local cjson = require "cjson"
local policy = require "spec.support.policy"
local redis = require "spec.support.redis"

local SECRET, OTHER = ("s"):rep(32), ("o"):rep(32)

describe("session", function()
  teardown(function()
    policy.stop_all()
    redis.stop_all()
  end)

  local function start(options, t)
    t = t or {}
    return policy.start {
      workers = t.workers or 1, top = t.top, env = t.env,
      use = [[ { "session", secrets = { "]] .. SECRET .. [[" }, ]] .. (options or "") .. " }",
      up = "return gw.response(200, req:header('cookie') or 'no cookie', { ['Cache-Control'] = 'public' })",
      routes = [[
        gw.route("* /set", { respond = function(req)
          for name, value in pairs(req.args) do req.ctx.session.data[name] = value end
          return gw.response(200, req.ctx.session.data)
        end })
        gw.route("* /get", { respond = function(req)
          return gw.response(200, { data = req.ctx.session.data, is_new = req.ctx.session.is_new })
        end })
        gw.route("* /login", { respond = function(req)
          req.ctx.session:regenerate()
          req.ctx.session.data.user = "u1"
          return gw.response(200, "in")
        end })
        gw.route("* /logout", { respond = function(req)
          req.ctx.session:destroy()
          return gw.response(200, "out")
        end })
        gw.route("* /fail", { respond = function(req)
          req.ctx.session.data.x = 1
          error "boom"
        end })
        gw.route("* /save", { respond = function(req)
          req.ctx.session.data.x = ("x"):rep(tonumber(req.args.n))
          local done, code = req.ctx.session:save()
          req.ctx.session.data.x = nil
          return gw.response(200, tostring(done) .. " " .. tostring(code))
        end })
        gw.route("* /slow", { respond = function(req) -- goes on when /go was called
          local flags = gw.shared "flags"
          flags:set("waiting", true)
          for _ = 1, 1000 do
            if flags:get("go") then break end
            gw.sleep(0.01)
          end
          req.ctx.session.data.slow = "1"
          return gw.response(200, "slow")
        end })
        gw.route("* /waiting", { respond = function()
          return gw.response(200, tostring(gw.shared("flags"):get("waiting") or false))
        end })
        gw.route("* /go", { respond = function()
          gw.shared("flags"):set("go", true)
          return gw.response(200, "go")
        end })
        gw.route("* /keys", { respond = function() return gw.response(200, gw.shared("session"):keys()) end })
        ]] .. (t.routes or ""),
    }
  end

  local function cookie_of(res)
    return (res.headers["set-cookie"] or ""):match("^([^;]+=[^;]+)")
  end

  local function ask(g, path, cookie)
    return g:ask("GET /p" .. path, { headers = cookie and "Cookie: " .. cookie .. "\r\n" or "" })
  end

  local function data(g, cookie)
    local got = cjson.decode(ask(g, "/get", cookie).body)
    return got.data, got.is_new
  end

  local function new_session(g, query)
    return assert(cookie_of(ask(g, "/set?" .. (query or "a=1"))))
  end

  it("keeps data for a visitor behind a cookie with the attributes that were asked for", function()
    local g = start(nil, { workers = 2 })
    local res = ask(g, "/set?a=1")
    local id, rest = res.headers["set-cookie"]:match("^__Host%-session=([%w_-]+%.[%w_-]+)(.*)$")
    assert.equal(87, #id)
    assert.equal("; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=43200", rest)
    assert.equal("no-store", res.headers["cache-control"])
    for _ = 1, 10 do -- both workers
      local got, is_new = data(g, "__Host-session=" .. id)
      assert.same({ a = "1" }, got)
      assert.is_false(is_new)
    end
  end)

  it("sets no cookie and stores nothing when there is nothing to keep, or nothing changed", function()
    local g = start()
    local res = ask(g, "/get")
    assert.is_nil(res.headers["set-cookie"])
    assert.is_nil(res.headers["cache-control"])
    assert.falsy(ask(g, "/keys").body:find("session", 1, true))
    local cookie = new_session(g)
    assert.is_nil(ask(g, "/get", cookie).headers["set-cookie"])
    assert.is_nil(ask(g, "/set?b=2", cookie).headers["set-cookie"]) -- the id is the same
    assert.same({ a = "1", b = "2" }, (data(g, cookie)))
  end)

  it("takes over no id that it did not give, or that was changed", function()
    local g = start()
    local cookie = new_session(g)
    local last = cookie:sub(-2, -2) == "A" and "B" or "A"
    local name, id, mac = cookie:match("^(.-)=([^.]+)%.(.+)$")
    local bad = {
      cookie:sub(1, -3) .. last .. cookie:sub(-1), name .. "=" .. id, name .. "=" .. id .. ".",
      name .. "=" .. ("A"):rep(43) .. "." .. mac, name .. "=" .. ("A"):rep(43) .. "." .. ("A"):rep(43), name .. "=",
      name .. "=" .. id .. "." .. mac .. ".x", name .. "=" .. mac .. "." .. id,
    }
    for _, text in ipairs(bad) do
      local got, is_new = data(g, text)
      assert.same({}, got, text)
      assert.is_true(is_new, text)
      assert.is_falsy(cookie_of(ask(g, "/set?x=1", text)):find(id, 1, true), text)
    end
    assert.same({ a = "1" }, (data(g, cookie)))
  end)

  it("gives a well-signed id that is not in the store another id", function()
    local g = start()
    local cookie = new_session(g)
    ask(g, "/logout", cookie)
    local fresh = cookie_of(ask(g, "/set?x=1", cookie))
    assert.truthy(fresh and fresh ~= cookie)
    assert.same({}, (data(g, cookie)))
    assert.same({ x = "1" }, (data(g, fresh)))
  end)

  it("accepts what any of the secrets signed, and signs with the first", function()
    local text = 'secrets = { "%s", "%s" }'
    local route = [[ gw.route("* /other", { { "session", cookie = "a", secure = false, ]] .. text .. [[ },
        respond = function(req) req.ctx.session.data.a = 1; return gw.response(200, { n = req.ctx.session.is_new }) end })
      gw.route("* /old", { { "session", cookie = "a", secure = false, secrets = { "%s" } },
        respond = function(req) req.ctx.session.data.a = 1; return gw.response(200, { n = req.ctx.session.is_new }) end }) ]]
    local g = start(nil, { routes = route:format(OTHER, SECRET, SECRET) })
    local function cookie_a(res) return res.headers["set-cookie"]:match("a=[%w_-]+%.[%w_-]+") end
    local old = cookie_a(ask(g, "/old"))
    assert.equal('{"n":false}', ask(g, "/other", old).body)
    local new = cookie_a(ask(g, "/other"))
    assert.equal('{"n":false}', ask(g, "/other", new).body)
    assert.equal('{"n":true}', ask(g, "/old", new).body)
  end)

  it("gives a new id at login, and the old one is worth nothing", function()
    local g = start()
    local before = new_session(g)
    local after = cookie_of(ask(g, "/login", before))
    assert.truthy(after and after ~= before)
    assert.same({ a = "1", user = "u1" }, (data(g, after)))
    assert.same({}, (data(g, before)))
  end)

  it("ends at logout, takes the cookie back, and no request under way revives it", function()
    local g = start()
    local cookie = new_session(g)
    local s = g:connect()
    s:send("GET /p/slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\nCookie: " .. cookie .. "\r\n\r\n")
    policy.eventually(function() return ask(g, "/waiting").body == "true" end, "the slow request")
    local res = ask(g, "/logout", cookie)
    assert.truthy(res.headers["set-cookie"]:find("^__Host%-session=; Path=/;.*Max%-Age=0; Expires=Thu, 01 Jan 1970"))
    assert.equal("no-store", res.headers["cache-control"])
    ask(g, "/go")
    assert.truthy(s:receive("*a"):find("slow", 1, true))
    s:close()
    local got, is_new = data(g, cookie)
    assert.same({}, got)
    assert.is_true(is_new)
  end)

  it("lets the request that ends later win", function()
    local g = start()
    local cookie = new_session(g)
    local s = g:connect()
    s:send("GET /p/slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\nCookie: " .. cookie .. "\r\n\r\n")
    policy.eventually(function() return ask(g, "/waiting").body == "true" end, "the slow request")
    ask(g, "/set?b=2", cookie)
    ask(g, "/go")
    s:receive("*a")
    s:close()
    assert.same({ a = "1", slow = "1" }, (data(g, cookie)))
  end)

  it("ends when it was not used, and after its absolute time though it is used", function()
    local g = start "idle = 1"
    local used, unused = new_session(g, "a=1"), new_session(g, "a=2")
    policy.eventually(function()
      assert.same({ a = "1" }, (data(g, used)))
      local _, count = ask(g, "/keys").body:gsub('"usession:', "")
      return count == 1
    end, "the end of what is not used", 10)
    assert.same({}, (data(g, unused)))
    assert.same({ a = "1" }, (data(g, used)))
    g = start "absolute = 1"
    local cookie = new_session(g)
    policy.eventually(function() return next((data(g, cookie))) == nil end, "the absolute end", 10)
  end)

  it("rolls when asked to: the cookie is set each time, for the idle time", function()
    local g = start "rolling = true, idle = 100"
    local cookie = new_session(g)
    local res = ask(g, "/get", cookie)
    assert.equal(cookie, cookie_of(res))
    assert.truthy(res.headers["set-cookie"]:find("Max-Age=100", 1, true))
    assert.equal("no-store", res.headers["cache-control"])
  end)

  it("hides its cookie, and no other, from the upstream", function()
    local g = start()
    local cookie = new_session(g)
    assert.equal("a=1; b=2", ask(g, "/x", "a=1; " .. cookie .. "; b=2").body)
    assert.equal("no cookie", ask(g, "/x", cookie).body)
    assert.equal(cookie, ask(start "hide = false", "/x", cookie).body)
  end)

  it("saves nothing of a request whose script failed, and refuses what is too large", function()
    local g = start "max_size = 100"
    local cookie = new_session(g)
    assert.equal(500, ask(g, "/fail", cookie).status)
    assert.same({ a = "1" }, (data(g, cookie)))
    assert.equal("nil too_large", ask(g, "/save?n=101", cookie).body)
    assert.equal("true nil", ask(g, "/save?n=10", cookie).body)
    local res = ask(g, "/set?x=" .. ("y"):rep(101), cookie)
    assert.equal(500, res.status)
    assert.truthy(res.body:find("session_too_large", 1, true))
    assert.same({ a = "1" }, (data(g, cookie)))
  end)

  it("survives a reload", function()
    local g = start()
    local cookie = new_session(g)
    g:save("lib/x.lua", "return 2")
    g:save("gateway.lua", policy.files({}) ["gateway.lua"]:gsub("gw%.group%(\"/p\", {  }", function()
      return 'gw.group("/p", { { "session", secrets = { "' .. SECRET .. '" } } }'
    end):gsub('gw%.route%("%* /boom"', function()
      return 'gw.route("GET /again", { respond = function(req) return gw.response(200, req.ctx.session.data) end })\n'
        .. '  gw.route("* /boom"'
    end))
    policy.eventually(function() return ask(g, "/again", cookie).body == '{"a":"1"}' end, "the new site")
  end)

  it("keeps sessions in Redis, and answers 503 or goes on without while it is down", function()
    policy.real_only "redis-server"
    local server = redis.start()
    local top = 'local r = gw.redis("redis://127.0.0.1:' .. server.port .. '", { timeout = 0.3 })'
    local g = start("store = r, idle = 100", { top = top, workers = 2 })
    local g2 = start("store = r, on_failure = 'anonymous'", { top = top })
    local cookie = new_session(g)
    assert.same({ a = "1" }, (data(g, cookie)))
    assert.same({ a = "1" }, (data(g2, cookie)))
    local id = cookie:match("=([^.]+)")
    local keys = server:call("KEYS", "*")
    assert.equal(1, #keys)
    assert.is_nil(keys[1]:find(id, 1, true))
    assert.truthy(keys[1]:find("^session:%x+$"))
    assert.truthy(server:call("TTL", keys[1]) > 90)
    local after = cookie_of(ask(g, "/login", cookie))
    assert.same({}, (data(g2, cookie)))
    assert.same({ a = "1", user = "u1" }, (data(g2, after)))
    ask(g2, "/logout", after)
    assert.equal(0, #server:call("KEYS", "*"))
    cookie = new_session(g)
    server:kill()
    local res = ask(g, "/get", cookie)
    assert.equal(503, res.status)
    assert.truthy(res.body:find("session_unavailable", 1, true))
    assert.equal(503, ask(g, "/set?a=1").status) -- what it would have to keep
    assert.equal(200, ask(g, "/get").status)
    local got, is_new = data(g2, cookie)
    assert.same({}, got)
    assert.is_true(is_new)
    res = ask(g2, "/set?a=1", cookie)
    assert.equal(200, res.status)
    assert.is_nil(res.headers["set-cookie"])
  end)

  it("refuses at load what browsers would refuse, weak secrets, and what is no store", function()
    local function wrong(options, text)
      local out, code = policy.check { use = '{ "session", ' .. options .. " }" }
      assert.equal(1, code, options)
      assert.truthy(out:find(text, 1, true), out)
    end
    local good = 'secrets = "' .. SECRET .. '", '
    wrong('secrets = "short"', "less than 32 bytes")
    wrong('secrets = { "' .. SECRET .. '", "short" }', "number 2 has less than 32 bytes")
    wrong("secrets = {}", "there is none")
    wrong(good .. "secure = false", "__Host-")
    wrong(good .. 'path = "/a"', "__Host-")
    wrong(good .. 'domain = "a.example"', "__Host-")
    wrong(good .. 'cookie = "__Secure-a", secure = false', "__Secure-")
    wrong(good .. 'cookie = "a", same_site = "None", secure = false', "same_site")
    wrong(good .. 'cookie = "a b"', "no name of a cookie")
    wrong(good .. 'cookie = "a", path = "/;x"', "must have no spaces")
    wrong(good .. 'store = "file"', "store must be")
    local out, code = policy.check { use = '{ "session", ' .. good
      .. 'cookie = "a", secure = false, domain = "a.example", path = "/x" }' }
    assert.equal(0, code, out)
  end)
end)
