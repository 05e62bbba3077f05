--- The policy `rate_limit`, on the real binary; what express-rate-limit 8 sends was read from that package.
local cjson = require "cjson"
local policy = require "spec.support.policy"

local function statuses(g, n, what, opts)
  local list = {}
  for i = 1, n do list[i] = g:ask(what or "GET /p/x", opts).status end
  return list
end

local function count(list, status)
  local n = 0
  for _, s in ipairs(list) do n = n + (s == status and 1 or 0) end
  return n
end

local function from(ip) return { headers = "X-Forwarded-For: " .. ip .. "\r\n" } end

-- The header lines of an answer that are about limits, in their order.
local function limit_lines(res)
  local lines = {}
  for line in res.head:gmatch("\r\n([^\r\n]+)") do
    if line:lower():find("ratelimit") or line:lower():find("^retry%-after") then lines[#lines + 1] = line end
  end
  return lines
end

describe("rate_limit", function()
  after_each(policy.stop_all)

  it("sends the headers of express-rate-limit with standardHeaders: true", function()
    local g = policy.start { use = [[ { "rate_limit", limit = 3, window = 60 } ]] }
    for left = 2, 0, -1 do
      local res = g:ask("GET /p/x")
      assert.equal(200, res.status)
      assert.same({ "RateLimit-Policy: 3;w=60", "RateLimit-Limit: 3", "RateLimit-Remaining: " .. left,
                    "RateLimit-Reset: 60" }, limit_lines(res))
    end
    local res = g:ask("GET /p/x")
    assert.equal(429, res.status)
    local lines = limit_lines(res)
    table.sort(lines)
    assert.same({ "RateLimit-Limit: 3", "RateLimit-Policy: 3;w=60", "RateLimit-Remaining: 0", "RateLimit-Reset: 60",
                  "Retry-After: 60" }, lines)
    assert.same({ error = "Too many requests", message = "Rate limit exceeded. Please try again later.",
                  retryAfter = 60 }, cjson.decode(res.body))
    assert.equal("application/json", res.headers["content-type"]:match("^[^;]+"))
  end)

  it("draft8: the lists of the newer draft, with express' names", function()
    local g = policy.start { use = [[ { "rate_limit", limit = 5, window = 60, headers = "draft8" },
        { "rate_limit", limit = 100, window = 7200, headers = "draft8", name = "long" } ]] }
    local res = g:ask("GET /p/x")
    assert.same({ 'RateLimit: "5-in-1min"; r=4; t=60, "long"; r=99; t=7200',
                  'RateLimit-Policy: "5-in-1min"; q=5; w=60, "long"; q=100; w=7200' }, limit_lines(res))
  end)

  it("legacy: X-RateLimit-*, none: Retry-After alone", function()
    local g = policy.start { use = [[ { "rate_limit", limit = 5, window = 60, headers = "legacy" } ]] }
    local h = g:ask("GET /p/x").headers
    assert.equal("5", h["x-ratelimit-limit"])
    assert.equal("4", h["x-ratelimit-remaining"])
    assert.is_true(math.abs(tonumber(h["x-ratelimit-reset"]) - policy.gettime() - 60) <= 2)
    assert.is_nil(h["ratelimit-limit"])
    g = policy.start { use = [[ { "rate_limit", limit = 1, headers = "none" } ]] }
    assert.same({}, limit_lines(g:ask("GET /p/x")))
    assert.same({ "Retry-After: 60" }, limit_lines(g:ask("GET /p/x")))
  end)

  it("replaces what the upstream says of limits", function()
    local g = policy.start { use = [[ { "rate_limit", limit = 5 } ]],
      up = [[ return gw.response(200, "x", { ["RateLimit-Limit"] = "999", ["RateLimit-Remaining"] = "999" }) ]] }
    local h = g:ask("GET /p/x").headers
    assert.equal("5", h["ratelimit-limit"])
    assert.equal("4", h["ratelimit-remaining"])
  end)

  it("counts refusals of policies inside, 404 and HEAD, and one thing for all workers", function()
    local g = policy.start { workers = 4, all = [[ { "rate_limit", limit = 20 } ]],
                             routes = [[ gw.route("GET /no", { respond = function() return gw.error(401, "no", "no") end }) ]] }
    assert.equal(5, count(statuses(g, 5, "GET /nowhere"), 404))
    assert.equal(5, count(statuses(g, 5, "HEAD /p/no"), 401))
    assert.equal("9", g:ask("GET /p/no").headers["ratelimit-remaining"])
    local list = statuses(g, 20, "GET /p/no")
    assert.equal(9, count(list, 401))
    assert.equal(11, count(list, 429))
  end)

  it("admits exactly the limit, whichever workers are asked at the same time", function()
    for _, algorithm in ipairs { "fixed", "gcra", "sliding" } do
      local g = policy.start { workers = 4, routes = ([[ gw.route("GET /r", {
        { "rate_limit", algorithm = "%s", limit = 50, window = 3600 },
        respond = function() return gw.response(204) end }) ]]):format(algorithm) }
      local conns, admitted = {}, 0
      for i = 1, 100 do
        conns[i] = g:connect()
        conns[i]:send("GET /p/r HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
      end
      for i = 1, 100 do
        local text = conns[i]:receive("*a")
        conns[i]:close()
        if text:find("^HTTP/1.1 204") then admitted = admitted + 1 end
      end
      assert.equal(50, admitted, algorithm)
      policy.stop_all()
    end
  end)

  it("keeps its counters when the site is reloaded and when a worker is killed", function()
    local site = [[ { "rate_limit", limit = 5, window = 600 } ]]
    local g = policy.start { use = site }
    statuses(g, 3)
    g:save("gateway.lua", policy.files({ use = site, up = [[ return gw.response(200, "new") ]] })["gateway.lua"])
    policy.eventually(function() return g:output():find('"generation":2', 1, true) end, "reload")
    local pid = tonumber((g:command("status --json")):match('"workers":.-"pid":(%d+)'))
    require("posix.signal").kill(pid, 9)
    policy.eventually(function()
      local now = tonumber((g:command("status --json")):match('"workers":.-"pid":(%d+)'))
      return now and now ~= pid and now > 0
    end, "respawn")
    assert.same({ 200, 200, 429 }, statuses(g, 3))
  end)

  it("counts by address: IPv6 by /56, forwarded ones from trusted proxies only", function()
    local g = policy.start { use = [[ { "rate_limit", limit = 2 } ]] }
    assert.same({ 200, 200, 429 }, statuses(g, 3, "GET /p/x", from "192.0.2.1"))
    assert.same({ 200 }, statuses(g, 1, "GET /p/x", from "192.0.2.2"))
    assert.same({ 200 }, statuses(g, 1, "GET /p/x", from "2001:db8:0:100::1"))
    assert.same({ 200 }, statuses(g, 1, "GET /p/x", from "2001:db8:0:1ff::2"))
    assert.same({ 429 }, statuses(g, 1, "GET /p/x", from "2001:db8:0:1aa:ffff::3"))
    assert.same({ 200 }, statuses(g, 1, "GET /p/x", from "2001:db8:0:200::1"))
    g = policy.start { use = [[ { "rate_limit", limit = 1, ipv6_prefix = 64 } ]] }
    assert.same({ 200 }, statuses(g, 1, "GET /p/x", from "2001:db8:0:100::1"))
    assert.same({ 200 }, statuses(g, 1, "GET /p/x", from "2001:db8:0:101::1"))
    assert.same({ 429 }, statuses(g, 1, "GET /p/x", from "2001:db8:0:101::2"))
  end)

  it("counts by header, user, route and function", function()
    local g = policy.start { use = [[ { "rate_limit", limit = 1, key = "header:x-key" } ]] }
    assert.same({ 200, 429 }, statuses(g, 2, "GET /p/x", { headers = "X-Key: a\r\n" }))
    assert.same({ 200 }, statuses(g, 1, "GET /p/x", { headers = "X-Key: b\r\n" }))
    assert.same({ 200, 429 }, statuses(g, 2)) -- without the header: by address
    assert.same({ 200, 429 }, statuses(g, 2, "GET /p/x", { headers = "X-Key: 127.0.0.1\r\n" }))
    g = policy.start { use = [[ function(req) local id = req:header("x-id") if id then req.user = { sub = id } end end,
        { "rate_limit", limit = 1, key = "user" } ]] }
    assert.same({ 200, 429 }, statuses(g, 2, "GET /p/x", { headers = "X-Id: a\r\n" }))
    assert.same({ 200, 429 }, statuses(g, 2, "GET /p/x", { headers = "X-Id: 127.0.0.1\r\n" }))
    assert.same({ 200, 429 }, statuses(g, 2))
    g = policy.start { use = [[ { "rate_limit", limit = 1, key = "route" } ]],
                       routes = [[ gw.route("GET /r/:id", function() return gw.response(200, "r") end) ]] }
    assert.same({ 200 }, statuses(g, 1, "GET /p/r/1"))
    assert.same({ 429 }, statuses(g, 1, "GET /p/r/2"))
    assert.same({ 200 }, statuses(g, 1, "GET /p/x"))
    g = policy.start { use = [[ { "rate_limit", limit = 1, key = function(req) return req.args.k end } ]] }
    assert.same({ 200, 429 }, statuses(g, 2, "GET /p/x?k=a"))
    assert.same({ 200, 200 }, statuses(g, 2, "GET /p/x"))
    assert.same({ 200 }, statuses(g, 1, "GET /p/x?k=b"))
  end)

  it("passes with a warning where it can not count", function()
    local g = policy.start { use = [[ { "rate_limit", limit = 1, key = function() error("no luck") end } ]] }
    assert.same({ 200, 200, 200 }, statuses(g, 3))
    local log = g:wait_for_log("rate_limit could not count a request, which passed")
    assert.truthy(log:find("no luck", 1, true))
    local _, lines = log:gsub("could not count", "")
    assert.equal(1, lines) -- at most one a minute
    g = policy.start { use = [[ { "rate_limit", limit = 1, cost = function() return -1 end } ]] }
    assert.same({ 200, 200 }, statuses(g, 2))
    g = policy.start { use = [[ { "rate_limit", limit = 1, key = function() return {} end } ]] }
    assert.same({ 200, 200 }, statuses(g, 2))
  end)

  it("has costs", function()
    local g = policy.start { use = [[ { "rate_limit", limit = 10, cost = function(req) return tonumber(req.args.c) end } ]] }
    assert.same({ 200 }, statuses(g, 1, "GET /p/x?c=7"))
    assert.same({ 429 }, statuses(g, 1, "GET /p/x?c=4"))
    assert.same({ 200 }, statuses(g, 1, "GET /p/x?c=0"))
    assert.same({ 200, 429 }, statuses(g, 2, "GET /p/x?c=3"))
    g = policy.start { use = [[ { "rate_limit", limit = 10, cost = 5 } ]] }
    assert.same({ 200, 200, 429 }, statuses(g, 3))
  end)

  it("skips exact paths and routes, never parts of them", function()
    local g = policy.start { use = [[ { "rate_limit", limit = 1, skip = { "/p/health", "GET /p/metrics", "/p/s/:id" },
                                        skip_if = function(req) return req.args.free == "1" end } ]],
      routes = [[ gw.route("GET /s/:id", function() return gw.response(200, "s") end) ]] }
    assert.same({ 200, 200 }, statuses(g, 2, "GET /p/health"))
    assert.same({ 200, 200 }, statuses(g, 2, "GET /p/metrics"))
    assert.same({ 200, 200 }, statuses(g, 2, "GET /p/s/7"))
    assert.same({ 200, 200 }, statuses(g, 2, "GET /p/x?free=1"))
    assert.same({ 200 }, statuses(g, 1, "POST /p/metrics"))
    assert.same({ 429, 429 }, statuses(g, 2, "GET /p/health/x"))
    assert.same({ 429 }, statuses(g, 1, "GET /p/doctors/health"))
    assert.same({ 429 }, statuses(g, 1, "GET /p/healthy"))
    assert.same({ 429 }, statuses(g, 1, "GET /p/x?y=/p/health"))
    assert.is_nil(g:ask("GET /p/health").headers["ratelimit-limit"])
  end)

  it("has other bodies and statuses, and tells of refusals", function()
    local g = policy.start { use = [[ { "rate_limit", limit = 1, status = 503, body = { code = 7 },
        on_limited = function(req, info) gw.log.warn("limited", { who = req.ip, limit = info.limit }) end } ]] }
    statuses(g, 1)
    local res = g:ask("GET /p/x")
    assert.equal(503, res.status)
    assert.equal('{"code":7}', res.body)
    assert.truthy(g:wait_for_log('"limited"'):find('"who":"127.0.0.1"', 1, true))
    g = policy.start { use = [[ { "rate_limit", limit = 1, body = "slow down" } ]] }
    statuses(g, 1)
    assert.equal("slow down", g:ask("GET /p/x").body)
    g = policy.start { use = [[ { "rate_limit", limit = 1, window = 30,
        body = function(req, info) return { path = req.path, wait = info.retry_after } end } ]] }
    statuses(g, 1)
    assert.same({ path = "/p/x", wait = 30 }, cjson.decode(g:ask("GET /p/x").body))
  end)

  it("several on one chain: all must admit, and the tightest is told", function()
    local g = policy.start { all = [[ { "rate_limit", limit = 100, window = 600 } ]], use = "",
      routes = [[ gw.route("GET /login", { { "rate_limit", limit = 2, window = 30 },
                                           respond = function() return gw.response(200, "in") end })
                  gw.route("GET /other", function() return gw.response(200, "o") end) ]] }
    local h = g:ask("GET /p/login").headers
    assert.equal("2;w=30", h["ratelimit-policy"])
    assert.equal("1", h["ratelimit-remaining"])
    assert.equal("98", g:ask("GET /p/other").headers["ratelimit-remaining"])
    g:ask("GET /p/login")
    local res = g:ask("GET /p/login")
    assert.equal(429, res.status)
    assert.equal("0", res.headers["ratelimit-remaining"])
    assert.equal("30", res.headers["retry-after"])
    assert.equal("95", g:ask("GET /p/other").headers["ratelimit-remaining"])
  end)

  it("limits of the same numbers at two places count apart, those of one name together", function()
    local g = policy.start { routes = [[
      local function ok() return gw.response(200, "ok") end
      gw.route("GET /a", { { "rate_limit", limit = 1 }, respond = ok })
      gw.route("GET /b", { { "rate_limit", limit = 1 }, respond = ok })
      gw.route("GET /c", { { "rate_limit", limit = 1, name = "n" }, respond = ok })
      gw.route("GET /d", { { "rate_limit", limit = 1, name = "n" }, respond = ok }) ]] }
    assert.same({ 200, 200, 200, 429 }, { g:ask("GET /p/a").status, g:ask("GET /p/b").status, g:ask("GET /p/c").status,
                                          g:ask("GET /p/d").status })
  end)

  it("gcra: a burst at once, with nodelay = false evenly", function()
    local g = policy.start { use = [[ { "rate_limit", algorithm = "gcra", limit = 60, window = 60, burst = 3 } ]] }
    local res = g:ask("GET /p/x")
    assert.equal("60;w=60;burst=3", res.headers["ratelimit-policy"])
    assert.equal("2", res.headers["ratelimit-remaining"])
    assert.same({ 200, 200, 429 }, statuses(g, 3))
    assert.equal("1", g:ask("GET /p/x").headers["retry-after"])
    g = policy.start { use = [[ { "rate_limit", algorithm = "gcra", limit = 10, window = 1, burst = 4, nodelay = false } ]] }
    local begin = policy.gettime()
    assert.same({ 200, 200, 200, 200 }, statuses(g, 4))
    assert.is_true(policy.gettime() - begin >= 0.29)
  end)

  it("concurrency: so many at a time, given back when they end or their client goes away", function()
    local g = policy.start { routes = [[
      gw.route("GET /slow", { { "rate_limit", algorithm = "concurrency", limit = 2 },
        respond = function() gw.log.info("inside") gw.sleep(30) return gw.response(200, "slow") end })
      gw.route("GET /quick", { { "rate_limit", algorithm = "concurrency", limit = 2, name = "q" },
        respond = function() return gw.response(200, "quick") end }) ]] }
    local a, b = g:connect(), g:connect()
    a:send("GET /p/slow HTTP/1.1\r\nHost: a\r\n\r\n")
    b:send("GET /p/slow HTTP/1.1\r\nHost: a\r\n\r\n")
    local function inside(n) return select(2, g:output():gsub('"inside"', "")) == n end
    policy.eventually(function() return inside(2) end, "two are inside")
    assert.equal(429, g:ask("GET /p/slow").status)
    a:close()
    b:close()
    policy.eventually(function()
      local c = g:connect()
      c:send("GET /p/slow HTTP/1.1\r\nHost: a\r\n\r\n")
      c:settimeout(0.1)
      c:receive("*l")
      c:close()
      return inside(3)
    end, "what they held is given back")
    assert.equal(50, count(statuses(g, 50, "GET /p/quick"), 200))
    assert.equal("1", g:ask("GET /p/quick").headers["ratelimit-remaining"])
  end)

  it("websockets and upgrades count like everything else", function()
    local g = policy.start { use = [[ { "rate_limit", limit = 1 } ]] }
    local upgrade = { headers = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                                .. "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" }
    g:ask("GET /p/x", upgrade)
    assert.equal(429, g:ask("GET /p/x", upgrade).status)
  end)

  it("refuses options that make no sense, with the line", function()
    for options, wrong in pairs {
      ['limit = 0'] = 'option "limit" must be at least 1',
      ['algorithm = "sliding", window = 0.5'] = "window must be whole seconds",
      ['algorithm = "sliding", limit = 300000'] = "limit must be at most 262143",
      ['limit = 17000000'] = "limit must be at most 16777215",
      ['burst = 5'] = 'burst is for algorithm = "gcra"',
      ['nodelay = false'] = 'nodelay is for algorithm = "gcra"',
      ['fallback = { share = 0.5 }'] = "fallback is for limits in Redis",
      ['redis = {}'] = 'must be what gw.redis returned',
      ['key = "cookie:x"'] = 'option "key" must be "ip"',
      ['skip = { "health" }'] = 'which is neither "/path" nor "METHOD /path"',
      ['headers = "draft9"'] = 'option "headers" must be one of',
      ['status = 200'] = 'option "status" must be at least 400',
      ['lmit = 5'] = 'unknown option "lmit" (did you mean "limit"?)',
    } do
      local text, code = policy.check { use = ('{ "rate_limit", %s }'):format(options) }
      assert.not_equal(0, code, options .. ": " .. text)
      assert.truthy(text:find(wrong, 1, true), options .. ": " .. text)
      assert.truthy(text:find("gateway.lua:%d+: middleware \"rate_limit\""), text)
    end
  end)

  it("gw.ratelimit: the same for scripts", function()
    local g = policy.start { top = [[ local l = gw.ratelimit { algorithm = "fixed", limit = 2, window = 60, prefix = "mine" } ]],
      routes = [[ gw.route("GET /take", function(req)
          local r = l:take("k", tonumber(req.args.c))
          return gw.response(200, r) end) ]] }
    local r = cjson.decode(g:ask("GET /p/take").body)
    assert.same({ true, 2, 1, false }, { r.allowed, r.limit, r.remaining, r.degraded })
    assert.is_true(r.reset > 59 and r.reset <= 60)
    assert.is_nil(r.retry_after)
    r = cjson.decode(g:ask("GET /p/take?c=2").body)
    assert.same({ false, 1 }, { r.allowed, r.remaining })
    assert.is_true(r.retry_after > 59)
    local text, code = policy.check { top = [[ gw.ratelimit { limit = 0 } ]] }
    assert.not_equal(0, code)
    assert.truthy(text:find('gateway.lua:%d+: gw.ratelimit: option "limit" must be at least 1'), text)
    assert.equal(0, select(2, policy.check { top = [[ gw.ratelimit { limit = 5 } ]] }))
  end)
end)
