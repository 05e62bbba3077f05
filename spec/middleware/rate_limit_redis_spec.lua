--- Limits that several gateways count in one real Redis, and what they do while it fails.
local cjson = require "cjson"
local gateway = require "spec.support.gateway"
local redis = require "spec.support.redis"

local function site(url, options, more)
  return { ["gateway.lua"] = ([[
    local gw = require "moonlatch"
    gw.listen { host = "127.0.0.1", port = PORT, trusted_proxies = { "127.0.0.1" } }
    local r = gw.redis("%s", { timeout = 0.3, connect_timeout = 0.3 })
    gw.route("GET /x", { { "rate_limit", redis = r, %s }, respond = function() return gw.response(204) end })
    %s
  ]]):format(url, options, more or "") }
end

local function start(server, options, more)
  return gateway.start(site("redis://127.0.0.1:" .. server.port, options, more), { args = { "--workers", "2" } })
end

-- Sends n requests at once to each of the gateways; how many were admitted, and how many refused.
local function storm(gateways, n)
  local conns, admitted, refused = {}, 0, 0
  for _ = 1, n do
    for _, g in ipairs(gateways) do
      local s = g:connect()
      s:send("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
      conns[#conns + 1] = s
    end
  end
  for _, s in ipairs(conns) do
    local text = s:receive("*a") or ""
    s:close()
    if text:find("^HTTP/1.1 204") then admitted = admitted + 1 end
    if text:find("^HTTP/1.1 429") then refused = refused + 1 end
  end
  return admitted, refused
end

local function stop_all()
  gateway.stop_all()
  redis.stop_all()
end

describe("rate_limit with redis", function()
  after_each(stop_all)

  it("three gateways admit exactly the limit together", function()
    local server = redis.start()
    for _, options in ipairs { 'algorithm = "fixed", limit = 100, window = 600',
                               'algorithm = "sliding", limit = 100, window = 86400',
                               'algorithm = "gcra", limit = 100, window = 86400' } do
      local gateways = {}
      for i = 1, 3 do gateways[i] = start(server, options) end
      local admitted, refused = storm(gateways, 80)
      assert.equal(100, admitted, options)
      assert.equal(140, refused, options)
      for _, g in ipairs(gateways) do g:stop() end
      server:call("FLUSHALL")
    end
  end)

  it("says the same as counting in memory, request by request", function()
    local server = redis.start()
    for _, algorithm in ipairs { "fixed", "sliding", "gcra" } do
      local options = ('algorithm = "%s", limit = 5, window = 600'):format(algorithm)
      local there = start(server, options)
      local here = gateway.start { ["gateway.lua"] = (site("redis://127.0.0.1:1", options)["gateway.lua"]
                                                      :gsub("redis = r, ", "")) }
      for i = 1, 7 do
        local a, b = there:ask("GET /x"), here:ask("GET /x")
        assert.equal(b.status, a.status, algorithm .. i)
        for _, name in ipairs { "ratelimit-policy", "ratelimit-limit", "ratelimit-remaining" } do
          assert.equal(b.headers[name], a.headers[name], name)
        end
        assert.is_nil(a.headers["x-ratelimit-degraded"])
        if algorithm ~= "sliding" then -- whose windows begin when the clocks of both say so
          for _, name in ipairs { "ratelimit-reset", "retry-after" } do
            local x, y = tonumber(a.headers[name] or 0), tonumber(b.headers[name] or 0)
            assert.is_true(math.abs(x - y) <= 1, algorithm .. " " .. name .. ": " .. x .. ", not " .. y)
          end
        end
      end
      there:stop()
      here:stop()
      server:call("FLUSHALL")
    end
  end)

  it("keys expire, and stand in one slot of a cluster", function()
    local server = redis.start()
    local g = start(server, 'algorithm = "gcra", limit = 5, window = 10, name = "n"',
      [[gw.route("GET /s", { { "rate_limit", redis = r, algorithm = "sliding", limit = 5, window = 10 },
                             respond = function() return gw.response(204) end })]])
    g:ask("GET /x")
    g:ask("GET /s")
    local keys = server:call("KEYS", "*")
    assert.equal(2, #keys)
    for _, key in ipairs(keys) do
      assert.truthy(key:find("{127.0.0.1}", 1, true), key)
      local ms = server:call("PTTL", key)
      assert.is_true(ms > 0 and ms <= 20000, key .. " " .. ms)
    end
  end)

  it("a window ends by the server's clock", function()
    local server = redis.start()
    local g = start(server, 'algorithm = "fixed", limit = 1, window = 0.5')
    assert.equal(204, g:ask("GET /x").status)
    assert.equal(429, g:ask("GET /x").status)
    gateway.eventually(function() return g:ask("GET /x").status == 204 end, "the next window", 5)
  end)

  it("counts alone with its share while Redis is away, says so once, and comes back", function()
    local server = redis.start()
    local g = start(server, 'algorithm = "fixed", limit = 10, window = 600, fallback = { share = 0.3 }')
    for _ = 1, 4 do assert.equal(204, g:ask("GET /x").status) end
    server:kill()
    local admitted, first = 0, nil
    for _ = 1, 10 do
      local res = g:ask("GET /x")
      first = first or res
      assert.equal("local", res.headers["x-ratelimit-degraded"])
      assert.equal("3", res.headers["ratelimit-limit"])
      admitted = admitted + (res.status == 204 and 1 or 0)
    end
    assert.equal(3, admitted)
    assert.equal("2", first.headers["ratelimit-remaining"])
    assert.equal("3;w=600", first.headers["ratelimit-policy"])
    server:run()
    local back
    gateway.eventually(function()
      back = g:ask("GET /x")
      return not back.headers["x-ratelimit-degraded"]
    end, "Redis is used again", 20)
    assert.equal("10", back.headers["ratelimit-limit"])
    local log = g:wait_for_log("rate limits are counted in Redis again")
    assert.equal(1, select(2, log:gsub("rate limits are counted by this gateway alone", "")))
  end)

  it("a Redis that hangs costs its timeout once, not each request", function()
    local server = redis.start()
    local g = start(server, 'algorithm = "gcra", limit = 1000, window = 60')
    g:ask("GET /x")
    server:signal("STOP")
    local begin = require("socket").gettime()
    local slow = 0
    for _ = 1, 30 do
      local from = require("socket").gettime()
      assert.equal(204, g:ask("GET /x").status)
      if require("socket").gettime() - from > 0.2 then slow = slow + 1 end
    end
    assert.is_true(slow <= 2, slow .. " requests were slow") -- one for each worker
    assert.is_true(require("socket").gettime() - begin < 4)
    server:signal("CONT")
    gateway.eventually(function() return not g:ask("GET /x").headers["x-ratelimit-degraded"] end, "back", 20)
  end)

  it("an error of Redis is a failure, too: nobody is let through uncounted", function()
    local server = redis.start()
    local g = start(server, 'algorithm = "fixed", limit = 2, window = 600, name = "n"')
    server:call("LPUSH", "n:fixed/600:{127.0.0.1}", "a list")
    local list = {}
    for i = 1, 4 do list[i] = g:ask("GET /x").status end
    assert.same({ 204, 204, 429, 429 }, list)
    assert.truthy(g:wait_for_log("counted by this gateway alone"):find("WRONGTYPE", 1, true))
  end)

  it("concurrency: what is in flight at all gateways", function()
    local server = redis.start()
    local options = 'algorithm = "concurrency", limit = 2, window = 60, name = "c"'
    local more = ([[gw.route("GET /slow", { { "rate_limit", redis = r, %s },
      respond = function() gw.log.info("inside") gw.sleep(30) return gw.response(204) end })]]):format(options)
    local a, b = start(server, options, more), start(server, options, more)
    local s, t = a:connect(), b:connect()
    s:send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    t:send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    a:wait_for_log('"inside"')
    b:wait_for_log('"inside"')
    assert.equal(429, a:ask("GET /x").status)
    assert.equal(429, b:ask("GET /x").status)
    s:close()
    gateway.eventually(function() return b:ask("GET /x").status == 204 end, "one was given back", 10)
    t:close()
    gateway.eventually(function() return server:call("KEYS", "*")[1] == nil end, "nothing is held", 10)
  end)

  it("a cluster has each client's counter in one place", function()
    local nodes = redis.cluster(3)
    local g = gateway.start(site("redis+cluster://127.0.0.1:" .. nodes[1].port, "limit = 2, window = 600"))
    for i = 1, 12 do
      local from = { headers = "X-Forwarded-For: 192.0.2." .. i .. "\r\n" }
      local list = {}
      for n = 1, 3 do
        local res = g:ask("GET /x", from)
        assert.is_nil(res.headers["x-ratelimit-degraded"])
        list[n] = res.status
      end
      assert.same({ 204, 204, 429 }, list)
    end
    local used = 0
    for _, node in ipairs(nodes) do used = used + math.min(1, #node:call("KEYS", "*")) end
    assert.is_true(used >= 2)
  end)

  it("slow_down counts there, too", function()
    local server = redis.start()
    local text = ([[
      local gw = require "moonlatch"
      gw.listen { host = "127.0.0.1", port = PORT }
      local r = gw.redis("redis://127.0.0.1:%d")
      gw.route("GET /x", { { "slow_down", redis = r, delay_after = 2, delay_fixed = 0.3, window = 60 },
                           respond = function() return gw.response(204) end })
    ]]):format(server.port)
    local a, b = gateway.start { ["gateway.lua"] = text }, gateway.start { ["gateway.lua"] = text }
    local begin = require("socket").gettime()
    a:ask("GET /x")
    b:ask("GET /x")
    local free = require("socket").gettime() - begin
    a:ask("GET /x")
    assert.is_true(require("socket").gettime() - begin - free >= 0.29)
  end)

  it("gw.ratelimit with redis: takes and leases", function()
    local server = redis.start()
    local g = start(server, "limit = 5", [[
      local l = gw.ratelimit { algorithm = "concurrency", limit = 1, redis = r, prefix = "p" }
      gw.route("GET /lease", function()
        local a = l:take("k")
        local b = l:take("k")
        a.lease:release()
        a.lease:release()
        local tries, c = 0, nil
        repeat gw.sleep(0.01) c = l:take("k") tries = tries + 1 until c.allowed or tries > 200
        return gw.response(200, { a.allowed, b.allowed, c.allowed, b.degraded })
      end)]])
    assert.same({ true, false, true, false }, cjson.decode(g:ask("GET /lease").body))
  end)
end)
