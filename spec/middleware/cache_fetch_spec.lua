-- The policy `cache`, on the real binary: who asks the upstream, when, and what of its answer is kept.
local caching = require "spec.support.caching"
local policy = require "spec.support.policy"
local upstream = require "spec.support.upstream"

local escape, query, get, got, count, tell, start, twice, fresh, STALE =
  caching.escape, caching.query, caching.get, caching.got, caching.count, caching.tell, caching.start,
  caching.twice, caching.fresh, caching.STALE

describe("cache, asking the upstream", function()
  teardown(policy.stop_all)

  it("serves what is stale while it asks in the background", function()
    local g = start(nil, { workers = 2 })
    local target = "/x" .. query { "Cache-Control:max-age=60, stale-while-revalidate=600", STALE }
    assert.equal("MISS 1", got(get(g, target)))
    tell(g, "hold=1&h=" .. escape "Cache-Control:max-age=60")
    for _ = 1, 5 do -- at once, though the upstream does not answer
      local res = get(g, target)
      assert.equal("STALE 1", got(res))
      assert.truthy(tonumber(res.headers.age) >= 100)
    end
    policy.eventually(function() return count(g, "/x") == 2 end, "the refresh")
    tell(g, "h=" .. escape "Cache-Control:max-age=60")
    policy.eventually(function() return got(get(g, target)) == "HIT 2" end, "the new one")
    assert.equal(2, count(g, "/x"))
    target = "/must" .. query { "Cache-Control:max-age=60, must-revalidate, stale-while-revalidate=600", STALE, 'ETag:"a"' }
    tell(g, "")
    assert.equal("MISS 2", twice(g, target))
    assert.equal("MISS 2", twice(g, "/late" .. query { "Cache-Control:max-age=60, stale-while-revalidate=20", STALE }))
    g = start "stale_while_revalidate = 600"
    assert.equal("STALE 1", twice(g, "/x" .. query { "Cache-Control:max-age=60", STALE }))
    assert.equal("MISS 2", twice(g, "/s" .. query { "Cache-Control:s-maxage=60", STALE }))
  end)

  it("refreshes in the background with a 304 too, with the client's route and context", function()
    local g = start(nil, { before = "function(req) req.ctx.tenant = req.args.t end,",
                           inside = ", function(req) if not req.ctx.tenant then error('no tenant') end end" })
    local target = "/x" .. query({ "Cache-Control:max-age=60, stale-while-revalidate=600", STALE, 'ETag:"a"' },
                                 "t=1&now=" .. escape '"a"')
    get(g, target)
    tell(g, "h=" .. escape "Cache-Control:max-age=60")
    assert.equal("STALE 1", got(get(g, target)))
    policy.eventually(function() return got(get(g, target)) == "HIT 1" end, "fresh again")
    assert.equal(2, count(g, "/x"))
    assert.falsy(g:output():find("no tenant", 1, true))
  end)

  it("a reload ends what asks in the background, and keeps what is kept", function()
    local g = start()
    local target = "/x" .. query { "Cache-Control:max-age=60, stale-while-revalidate=600", STALE }
    get(g, target)
    get(g, "/kept" .. fresh)
    tell(g, "hold=1")
    assert.equal("STALE 1", got(get(g, target)))
    policy.eventually(function() return count(g, "/x") == 2 end, "the refresh")
    g:save("lib/new.lua", "return 1")
    policy.eventually(function() return g:command("status", "--json"):find('"generation":2', 1, true) end, "a reload")
    assert.equal("HIT 1", got(get(g, "/kept" .. fresh)))
    tell(g, "")
    assert.equal("STALE 1", got(get(g, target)))
    g:signal "TERM"
    assert.equal("exited", (g:wait()))
  end)

  it("serves what is stale when the upstream fails, if it may", function()
    local g = start()
    local function fails(name, directives, headers)
      local target = "/" .. name .. query { "Cache-Control:max-age=60" .. directives, STALE, 'ETag:"a"' }
      get(g, target)
      tell(g, "status=503")
      local res = get(g, target, headers)
      tell(g, "")
      return res.headers["x-cache"] .. " " .. res.status
    end
    assert.equal("STALE 200", fails("a", ", stale-if-error=600"))
    assert.equal("MISS 503", fails("b", ""))
    assert.equal("MISS 503", fails("c", ", stale-if-error=10"))
    assert.equal("MISS 503", fails("d", ", stale-if-error=600, must-revalidate"))
    assert.equal("STALE 200", fails("e", "", "Cache-Control: stale-if-error=600\r\n"))
    g = start "stale_if_error = 600"
    assert.equal("STALE 200", fails("a", ""))
    assert.equal("MISS 503", fails("b", ", s-maxage=60"))
  end)

  it("many clients, one fetch", function()
    local g = start(nil, { workers = 2 })
    tell(g, "hold=1")
    local clients = {}
    for i = 1, 50 do
      clients[i] = g:connect()
      clients[i]:send("GET /p/x" .. fresh .. " HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n\r\n")
    end
    policy.eventually(function() return count(g, "/x") >= 1 end, "the fetch")
    for _ = 1, 20 do count(g, "/x") end -- both workers have had their turns
    tell(g, "")
    local how = { MISS = 0, HIT = 0 }
    for _, s in ipairs(clients) do
      local text = s:receive("*a")
      assert.truthy(text:find("\r\n\r\nn=1$"), text)
      local word = text:match("X%-Cache: (%u+)")
      how[word] = how[word] + 1
      s:close()
    end
    assert.same({ MISS = 1, HIT = 49 }, how)
    assert.equal(1, count(g, "/x"))
  end)

  it("waits for nobody who fetches what can not be shared, and no longer than told", function()
    local g = start("wait = 0.3")
    tell(g, "hold=1")
    local s = g:connect()
    s:send("GET /p/x" .. fresh .. " HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n\r\n")
    policy.eventually(function() return count(g, "/x") == 1 end, "the first")
    local begin = policy.gettime()
    local t = g:connect()
    t:send("GET /p/x" .. fresh .. " HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n\r\n")
    policy.eventually(function() return count(g, "/x") == 2 end, "the second")
    assert.truthy(policy.gettime() - begin >= 0.2)
    tell(g, "")
    s:close()
    t:close()
    g = start("wait = 60")
    get(g, "/y") -- nothing to keep
    tell(g, "hold=1")
    local clients = {}
    for i = 1, 5 do
      clients[i] = g:connect()
      clients[i]:send("GET /p/y HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n\r\n")
    end
    policy.eventually(function() return count(g, "/y") == 6 end, "all of them")
    tell(g, "")
    for _, c in ipairs(clients) do c:close() end
  end)

  it("the client that fetches may leave: the next one goes", function()
    local g = start("wait = 60")
    tell(g, "hold=1")
    local s = g:connect()
    s:send("GET /p/x" .. fresh .. " HTTP/1.1\r\nHost: test.example\r\n\r\n")
    policy.eventually(function() return count(g, "/x") == 1 end, "the first")
    local t = g:connect()
    t:send("GET /p/x" .. fresh .. " HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n\r\n")
    s:close()
    policy.eventually(function() return count(g, "/x") == 2 end, "the second")
    tell(g, "")
    assert.truthy(t:receive("*a"):find("n=2", 1, true))
    t:close()
  end)

  it("keeps bodies of up to max_body in parts, and passes larger ones on whole", function()
    local g = start("max_body = 100000", { workers = 2 })
    for _, size in ipairs { 8000, 9000, 50000, 99990 } do
      local target = "/s" .. size .. fresh .. "&size=" .. size
      local first = get(g, target)
      local second = get(g, target)
      assert.equal("HIT 1", got(second), size)
      assert.equal(first.body, second.body)
      assert.equal(size + 3, #second.body)
    end
    for _, size in ipairs { 100000, 1000000 } do
      local target = "/l" .. size .. fresh .. "&size=" .. size
      get(g, target)
      local res = get(g, target)
      assert.equal("MISS 2", got(res))
      assert.equal(size + 3, #res.body)
    end
  end)

  it("never keeps a body that broke off", function()
    policy.real_only "an upstream at a port"
    local raw = upstream.listen()
    local g = start("default_ttl = 60, stale_if_error = 60", { top = ('gw.upstream("raw", { "%s", retries = 0, max_fails = 0 })')
      :format(raw:url()), routes = 'gw.route("* /raw/*rest", { to = "raw" })' })
    local function exchange(target, bytes)
      local s = g:connect()
      s:send("GET /p/raw" .. target .. " HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n\r\n")
      local conn = raw:accept()
      assert(upstream.head(conn))
      conn:send(bytes)
      conn:close()
      local all, _, part = s:receive("*a")
      s:close()
      return all or part
    end
    local head = "HTTP/1.1 200 OK\r\nConnection: close\r\nCache-Control: max-age=60\r\n"
    for i, rest in ipairs { "Content-Length: 10\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n5\r\nhalf" } do
      exchange("/" .. i, head .. rest)
      local whole = exchange("/" .. i, head .. "Content-Length: 5\r\n\r\nwhole") -- it is asked again
      assert.truthy(whole:find("X-Cache: MISS", 1, true) and whole:find("whole", 1, true), whole)
      assert.equal("whole", get(g, "/raw/" .. i).body)
    end
    exchange("/old", head .. "Age: 70\r\nETag: \"a\"\r\nContent-Length: 5\r\n\r\nwhole")
    local stale = exchange("/old", head .. "Content-Length: 10\r\n\r\nhalf")
    assert.truthy(stale:find("X-Cache: STALE", 1, true) and stale:find("whole", 1, true), stale)
    raw:close()
  end)
end)
