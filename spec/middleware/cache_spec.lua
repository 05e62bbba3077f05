-- The policy `cache`, on the real binary: what is kept, for whom, and what is answered from it.
local caching = require "spec.support.caching"
local policy = require "spec.support.policy"

local escape, query, get, got, count, tell, start, twice, fresh, STALE =
  caching.escape, caching.query, caching.get, caching.got, caching.count, caching.tell, caching.start,
  caching.twice, caching.fresh, caching.STALE

describe("cache", function()
  teardown(policy.stop_all)

  it("answers from memory, for all workers, with Age and everything that the upstream sent", function()
    local g = start(nil, { workers = 2 })
    local q = query { "Cache-Control:max-age=60", "Age:5", "X-Two:a", "X-Two:b", "Content-Type:text/css", 'ETag:"e"' }
    local first = get(g, "/x" .. q)
    assert.equal("MISS 1", got(first))
    for _ = 1, 10 do
      local res = get(g, "/x" .. q)
      assert.equal("HIT 1", got(res))
      assert.equal(first.body, res.body)
      for _, name in ipairs { "date", "etag", "content-type", "x-two", "cache-control", "content-length", "x-n" } do
        assert.equal(first.headers[name], res.headers[name], name)
      end
      local age = tonumber(res.headers.age)
      assert.truthy(age >= 5 and age < 20, res.headers.age)
    end
    assert.equal(1, count(g, "/x"))
  end)

  it("keeps an encoded answer as it came", function()
    local g = start(nil, { inside = ', { "compress", min_length = 1, encodings = { "gzip" } }' })
    local target, gzip = "/x" .. query({ "Cache-Control:max-age=60", "Content-Type:text/css" }, "size=500"),
      "Accept-Encoding: gzip\r\n"
    local first = get(g, target, gzip)
    assert.equal("\31\139", first.body:sub(1, 2))
    local second = get(g, target, gzip)
    assert.equal("HIT", second.headers["x-cache"])
    assert.equal("gzip", second.headers["content-encoding"])
    assert.equal(first.body, second.body)
    assert.equal("n=2" .. ("x"):rep(500), get(g, target).body)
  end)

  it("tells when a response was made, also one of a script, and spells its fields as they were", function()
    local g = start(nil, { routes = [[ gw.route("GET /script", { respond = function()
      return gw.response(200, "n=1", { ["Cache-Control"] = "max-age=60", ["X-UPPER-lower"] = "1" })
    end }) ]] })
    get(g, "/script")
    local first = get(g, "/script")
    local second
    policy.eventually(function()
      second = get(g, "/script")
      return tonumber(second.headers.age) > tonumber(first.headers.age)
    end, "another second", 5)
    assert.equal("HIT 1", got(second))
    assert.equal(first.headers.date, second.headers.date)
    assert.truthy(second.head:find("\r\nX-UPPER-lower: 1", 1, true))
  end)

  it("keeps only what states a lifetime, and no longer than that", function()
    local g = start()
    for field, expected in pairs {
      ["Cache-Control:max-age=60"] = "HIT 1", ["Cache-Control:s-maxage=60, max-age=0"] = "HIT 1",
      ["Cache-Control:public"] = "MISS 2", ["Cache-Control:max-age=0"] = "MISS 2", ["X-A:1"] = "MISS 2",
      ["Cache-Control:MAX-AGE=60"] = "HIT 1", ['Cache-Control:max-age="60"'] = "HIT 1",
      ["Cache-Control:max-age=1x"] = "MISS 2", ["Cache-Control:max-age=-1"] = "MISS 2",
      ["Cache-Control:max-age=60, s-maxage=0"] = "MISS 2", ["Cache-Control:max-age=60, max-age=0"] = "MISS 2",
      ["Cache-Control:no-store, max-age=60"] = "MISS 2", ["Cache-Control:private, max-age=60"] = "MISS 2",
      ['Cache-Control:private="x-a", max-age=60'] = "MISS 2", ["Cache-Control:no-cache, max-age=60"] = "MISS 2",
      ['Cache-Control:no-cache="set-cookie", max-age=60'] = "MISS 2", ['Cache-Control:x="a,no-store", max-age=60'] = "HIT 1",
      ["Expires:Fri, 01 Jan 2100 00:00:00 GMT"] = "HIT 1", ["Expires:Friday, 01-Jan-60 00:00:00 GMT"] = "HIT 1",
      ["Expires:Fri Jan  1 00:00:00 2100"] = "HIT 1",
      ["Expires:Thu, 01 Jan 1970 00:00:00 GMT"] = "MISS 2", ["Expires:0"] = "MISS 2",
    } do
      assert.equal(expected, twice(g, "/" .. escape(field):gsub("%%", "_") .. query { field }), field)
    end
    assert.equal("MISS 2", twice(g, "/both" .. query { "Cache-Control:max-age=0", "Expires:Fri, 01 Jan 2100 00:00:00 GMT" }))
    assert.equal("MISS 2", twice(g, "/aged" .. query { "Cache-Control:max-age=60", "Age:60" }))
    assert.equal("MISS 2", twice(g, "/dated" .. query { "Cache-Control:max-age=60", "Date:Sun, 06 Nov 1994 08:49:37 GMT" }))
  end)

  it("keeps a response no longer than its lifetime, and than max_ttl", function()
    for _, t in ipairs { { nil, "max-age=1" }, { "max_ttl = 1", "max-age=600" } } do
      local g = start(t[1])
      local q = query { "Cache-Control:" .. t[2] }
      assert.equal("HIT 1", twice(g, "/x" .. q))
      policy.eventually(function() return got(get(g, "/x" .. q)) == "MISS 2" end, "its end", 5)
    end
  end)

  it("takes a lifetime of the site's only for requests that are nobody's", function()
    local g = start "default_ttl = 60"
    assert.equal("HIT 1", twice(g, "/a?x=1"))
    assert.equal("MISS 2", twice(g, "/b?x=1", "Cookie: a=1\r\n"))
    assert.equal("MISS 2", twice(g, "/c?x=1", "Authorization: Basic eDp5\r\n"))
    assert.equal("MISS 2", twice(g, "/d?status=500"))
    assert.equal("MISS 2", twice(g, "/e" .. query { "Cache-Control:no-store" }))
    assert.equal("HIT 1", twice(g, "/f?status=404"))
  end)

  it("keeps the statuses that may be, and never a part or what sets cookies", function()
    local g = start()
    for status, expected in pairs { [200] = "HIT", [203] = "HIT", [301] = "HIT", [404] = "HIT", [410] = "HIT",
                                    [206] = "MISS", [500] = "MISS", [403] = "MISS", [401] = "MISS" } do
      local res = twice(g, "/s" .. status .. fresh .. "&status=" .. status)
      assert.equal(expected, res:match("^%u+"), tostring(status))
    end
    local q = query { "Cache-Control:max-age=60", "Set-Cookie:a=1" }
    assert.equal("MISS 2", twice(g, "/cookie" .. q))
    assert.equal("MISS 2", twice(g, "/range" .. query { "Cache-Control:max-age=60", "Content-Range:bytes 0-1/2" }))
    assert.equal("MISS 2", twice(g, "/events" .. query { "Cache-Control:max-age=60", "Content-Type:text/event-stream" }))
    g = start "strip_set_cookie = true"
    assert.equal("a=1", get(g, "/cookie" .. q).headers["set-cookie"])
    local res = get(g, "/cookie" .. q)
    assert.equal("HIT 1", got(res))
    assert.is_nil(res.headers["set-cookie"])
  end)

  it("keeps nothing of a gateway's own error", function()
    local g = start "statuses = { 200, 502, 503, 504 }, default_ttl = 60"
    for _ = 1, 2 do
      local res = get(g, "/dead")
      assert.truthy(res.status >= 502)
      assert.equal("MISS", res.headers["x-cache"])
    end
  end)

  it("knows URLs apart by host, path and query, and by what a function adds", function()
    local g = start "key = function(req) return req:header 'x-tenant' end"
    get(g, "/x" .. fresh)
    assert.equal("MISS 2", got(get(g, "/x" .. fresh .. "&a=1")))
    assert.equal("MISS 3", got(g:ask("GET /p/x" .. fresh, { host = "other.example" })))
    assert.equal("MISS 1", got(get(g, "/y" .. fresh)))
    assert.equal("MISS 4", got(get(g, "/x" .. fresh, "X-Tenant: a\r\n")))
    assert.equal("HIT 4", got(get(g, "/x" .. fresh, "X-Tenant: a\r\n")))
    assert.equal("HIT 1", got(get(g, "/x" .. fresh)))
  end)

  it("gives what belongs to a signed-in client to nobody else, and nobody's to him", function()
    local g = start()
    local auth = "Authorization: Bearer a\r\n"
    assert.equal("MISS 2", twice(g, "/a" .. fresh, auth))
    assert.equal("MISS 3", got(get(g, "/a" .. fresh)))
    assert.equal("MISS 4", got(get(g, "/a" .. fresh, auth)))
    assert.equal("HIT 3", got(get(g, "/a" .. fresh)))
    for i, field in ipairs { "public, max-age=60", "s-maxage=60", "must-revalidate, max-age=60" } do
      local target = "/shared" .. i .. query { "Cache-Control:" .. field }
      assert.equal("HIT 1", twice(g, target, auth), field)
      assert.equal("HIT 1", got(get(g, target)), field)
    end
    g = start(nil, { before = "function(req) if req.args.user then req.user = { id = req.args.user } end end," })
    assert.equal("MISS 2", twice(g, "/u" .. fresh .. "&user=a"))
    g = start(nil, { inside = ", function(req) if req.args.user then req.user = { id = req.args.user } end end" })
    assert.equal("MISS 2", twice(g, "/u" .. fresh .. "&user=a")) -- a policy inside of the cache knows the client
    g = start(nil, { before = [[ { "session", secrets = ("s"):rep(32) },
      function(req) req.ctx.session.data.a = 1 end, ]] })
    local cookie = get(g, "/s" .. fresh).headers["set-cookie"]:match("^[^;]+")
    assert.equal("MISS 2", twice(g, "/t" .. fresh, "Cookie: " .. cookie .. "\r\n"))
  end)

  it("keeps one response for each value of what Vary names", function()
    local g = start()
    local target = "/x" .. query { "Cache-Control:max-age=60", "Vary:Accept-Language, x-b" }
    assert.equal("MISS 1", got(get(g, target, "Accept-Language: de\r\n")))
    assert.equal("MISS 2", got(get(g, target, "Accept-Language: en\r\n")))
    assert.equal("MISS 3", got(get(g, target)))
    assert.equal("MISS 4", got(get(g, target, "Accept-Language: de\r\nX-B: 1\r\n")))
    assert.equal("HIT 1", got(get(g, target, "accept-language:   de\r\n")))
    assert.equal("HIT 2", got(get(g, target, "Accept-Language: en\r\n")))
    assert.equal("HIT 3", got(get(g, target)))
    assert.equal("HIT 4", got(get(g, target, "X-B: 1\r\nAccept-Language: de\r\n")))
    assert.equal("MISS 2", twice(g, "/star" .. query { "Cache-Control:max-age=60", "Vary:a, *" }))
    g = start(nil, { inside = ", function(req) req:set_header('X-B', req:header 'x-who') end" })
    target = "/y" .. query { "Cache-Control:max-age=60", "Vary:X-B" } -- what varies is not what the client sent
    assert.equal("MISS 1", got(get(g, target, "X-Who: a\r\n")))
    assert.equal("MISS 2", got(get(g, target, "X-Who: b\r\n")))
  end)

  it("obeys Cache-Control of requests, unless told to ignore it", function()
    local g = start()
    local q = query { "Cache-Control:max-age=60", "Age:10" }
    local function ask(directives) return got(get(g, "/x" .. q, "Cache-Control: " .. directives .. "\r\n")) end
    assert.equal("HIT 1", twice(g, "/x" .. q))
    assert.equal("HIT 1", ask "max-age=30")
    assert.equal("MISS 2", ask "max-age=5")
    assert.equal("HIT 2", ask "min-fresh=30")
    assert.equal("MISS 3", ask "min-fresh=55")
    assert.equal("MISS 4", ask "no-cache")
    assert.equal("BYPASS 5", ask "no-store")
    assert.equal("HIT 4", ask "only-if-cached")
    assert.equal("MISS 6", got(get(g, "/x" .. q, "Pragma: no-cache\r\n")))
    local res = get(g, "/nothing", "Cache-Control: only-if-cached\r\n")
    assert.equal(504, res.status)
    assert.equal(0, count(g, "/nothing"))
    local old = query { "Cache-Control:max-age=60", STALE, 'ETag:"a"' }
    get(g, "/stale" .. old)
    assert.equal("STALE 1", got(get(g, "/stale" .. old, "Cache-Control: max-stale\r\n")))
    assert.equal("STALE 1", got(get(g, "/stale" .. old, "Cache-Control: max-stale=60\r\n")))
    assert.equal("MISS 2", got(get(g, "/stale" .. old, "Cache-Control: max-stale=10\r\n")))
    for _, directive in ipairs { "must-revalidate", "proxy-revalidate", "s-maxage=60" } do
      local target = "/" .. directive:sub(1, 3) .. query { "Cache-Control:max-age=60, " .. directive, STALE, 'ETag:"a"' }
      get(g, target)
      assert.equal("MISS 2", got(get(g, target, "Cache-Control: max-stale\r\n")), directive)
    end
    g = start "ignore_client = true"
    assert.equal("HIT 1", twice(g, "/x" .. q, nil, "Cache-Control: no-store, no-cache\r\nPragma: no-cache\r\n"))
  end)

  it("reloads of a page do not revalidate what is immutable", function()
    local g = start()
    local q = query { "Cache-Control:max-age=60, immutable" }
    assert.equal("HIT 1", twice(g, "/x" .. q, nil, "Cache-Control: max-age=0\r\n"))
    assert.equal("MISS 2", got(get(g, "/x" .. q, "Cache-Control: no-cache\r\n")))
  end)

  it("answers conditions of clients itself", function()
    local g = start()
    local q = query { "Cache-Control:max-age=60", 'ETag:W/"b"', "Last-Modified:Sun, 06 Nov 1994 08:49:37 GMT", "X-A:1" }
    local function status(headers) return get(g, "/x" .. q, headers).status end
    assert.equal("- -", get(g, "/x" .. q, 'If-None-Match: "other"\r\n').headers["x-got"]) -- a whole one is fetched
    local res = get(g, "/x" .. q, 'If-None-Match: "a", "b"\r\n')
    assert.equal(304, res.status)
    assert.equal("", res.body)
    assert.equal('W/"b"', res.headers.etag)
    assert.equal("max-age=60", res.headers["cache-control"])
    assert.equal("HIT", res.headers["x-cache"])
    assert.is_nil(res.headers["content-type"])
    assert.truthy(res.headers.age)
    assert.equal(304, status "If-None-Match: *\r\n")
    assert.equal(200, status 'If-None-Match: "c"\r\n')
    assert.equal(200, status 'If-None-Match: "c"\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n')
    assert.equal(304, status "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n")
    assert.equal(304, status "If-Modified-Since: Sun, 06 Nov 2022 08:49:37 GMT\r\n")
    assert.equal(200, status "If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n")
    assert.equal(200, status "If-Modified-Since: yesterday\r\n")
    assert.equal(1, count(g, "/x"))
    assert.equal(304, get(g, "/new" .. q, 'If-None-Match: "b"\r\n').status) -- also when it was just fetched
    assert.equal("HIT 1", got(get(g, "/new" .. q)))
  end)

  it("revalidates what is stale, and takes over the fields of the 304", function()
    local g = start()
    for name, field in pairs { etag = 'ETag:"a"', date = "Last-Modified:Sun, 06 Nov 1994 08:49:37 GMT" } do
      local value = field:match(":(.*)$")
      local target = "/" .. name .. query({ "Cache-Control:max-age=60", STALE, field, "X-A:old" }, "now=" .. escape(value))
      assert.equal("MISS 1", got(get(g, target)))
      tell(g, "h=" .. escape "Cache-Control:max-age=50")
      local res = get(g, target)
      assert.equal("REVALIDATED 1", got(res))
      assert.equal(200, res.status)
      assert.equal(name == "etag" and value .. " -" or "- " .. value, res.headers["x-got"])
      assert.equal("2", res.headers["x-n"])
      assert.equal("old", res.headers["x-a"])
      res = get(g, target)
      assert.equal("HIT 1", got(res)) -- the 304 had no Age: it is fresh again
      assert.equal("max-age=50", res.headers["cache-control"])
      assert.equal("3", tostring(count(g, "/" .. name) + 1))
      tell(g, "")
    end
  end)

  it("is as new as the 304, also when that has no date", function()
    local g = start(nil, { routes = [[ gw.route("GET /script", { respond = function(req)
      if req:header "if-none-match" then return gw.response(304, nil, { ["Cache-Control"] = "max-age=60" }) end
      return gw.response(200, "n=1", { ["Cache-Control"] = "max-age=60", ETag = '"a"',
                                       Date = "Sun, 06 Nov 1994 08:49:37 GMT" })
    end }) ]] })
    assert.equal("MISS 1", got(get(g, "/script")))
    assert.equal("REVALIDATED 1", got(get(g, "/script")))
    local res = get(g, "/script")
    assert.equal("HIT 1", got(res))
    assert.falsy(res.headers.date:find("1994", 1, true))
  end)

  it("revalidates with no-cache each time, replaces what changed, and answers the client's own condition", function()
    local g = start()
    local target = "/x" .. query({ "Cache-Control:no-cache", 'ETag:"a"' }, "now=" .. escape '"a"')
    assert.equal("MISS 1", got(get(g, target)))
    assert.equal("REVALIDATED 1", got(get(g, target)))
    local res = get(g, target, 'If-None-Match: "a"\r\n')
    assert.equal(304, res.status)
    assert.equal("REVALIDATED", res.headers["x-cache"])
    tell(g, "now=" .. escape '"b"')
    assert.equal("MISS 4", got(get(g, target)))
    tell(g, "")
    assert.equal("REVALIDATED 4", got(get(g, target)))
  end)

  it("asks again when a 304 speaks of another representation", function()
    local g = start()
    local target = "/x" .. query({ "Cache-Control:no-cache", 'ETag:"a"' }, "now=" .. escape '"a"')
    get(g, target)
    tell(g, "h=" .. escape 'ETag:"b"')
    local res = get(g, target)
    assert.equal("MISS 3", got(res))
    assert.equal("- -", res.headers["x-got"])
  end)

  it("answers HEAD from what GET brought, and keeps nothing of a HEAD", function()
    local g = start()
    local res = g:ask("HEAD /p/x" .. fresh)
    assert.equal("MISS", res.headers["x-cache"])
    assert.equal("MISS 2", got(get(g, "/x" .. fresh)))
    res = g:ask("HEAD /p/x" .. fresh)
    assert.equal("HIT", res.headers["x-cache"])
    assert.equal("3", res.headers["content-length"])
    assert.equal("", res.body)
    assert.equal(2, count(g, "/x"))
  end)

  it("lets ranges, upgrades, bodies and If-Match through", function()
    local g = start "bypass = function(req) return req.args.pass ~= nil end"
    get(g, "/x" .. fresh)
    local n = 1
    for _, headers in ipairs { "Range: bytes=0-1\r\n", 'If-Match: "a"\r\n', "If-Unmodified-Since: x\r\n" } do
      n = n + 1
      assert.equal("BYPASS " .. n, got(get(g, "/x" .. fresh, headers)), headers)
    end
    assert.equal("BYPASS 5", got(g:ask("GET /p/x" .. fresh, { body = "a" })))
    assert.equal("HIT 1", got(get(g, "/x" .. fresh)))
    assert.equal("BYPASS 2", twice(g, "/y" .. fresh .. "&pass=1"))
  end)

  it("forgets what was changed by another method, also where the answer points to", function()
    local g = start()
    local function fill()
      for _, path in ipairs { "/a", "/b", "/c" } do assert.equal("HIT", twice(g, path .. fresh):match("%u+")) end
    end
    local function state()
      local list = {}
      for i, path in ipairs { "/a", "/b", "/c" } do list[i] = get(g, path .. fresh).headers["x-cache"] end
      return table.concat(list, " ")
    end
    for _, method in ipairs { "POST", "PUT", "PATCH", "DELETE" } do
      fill()
      assert.equal("BYPASS", g:ask(method .. " /p/a" .. fresh, { body = "x" }).headers["x-cache"])
      assert.equal("MISS HIT HIT", state(), method)
    end
    fill()
    g:ask("OPTIONS /p/a" .. fresh)
    assert.equal("HIT HIT HIT", state())
    g:ask("POST /p/a" .. fresh .. "&status=403", { body = "x" }) -- another URL: the query
    tell(g, "status=403")
    g:ask("POST /p/a" .. fresh, { body = "x" })
    tell(g, "")
    assert.equal("HIT HIT HIT", state())
    local function post(field)
      tell(g, "h=" .. escape(field))
      g:ask("POST /p/other", { body = "x" })
      tell(g, "")
    end
    post("Location:/p/b" .. fresh)
    assert.equal("HIT MISS HIT", state())
    post("Content-Location:http://test.example/p/c" .. fresh)
    assert.equal("HIT HIT MISS", state())
    post("Location:http://evil.example/p/b" .. fresh)
    post("Location://evil.example/p/b" .. fresh)
    assert.equal("HIT HIT HIT", state())
  end)

  it("does not keep what was asked for before a change, though it arrives after it", function()
    local g = start()
    tell(g, "hold=1")
    local s = g:connect()
    s:send("GET /p/x" .. fresh .. " HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n\r\n")
    policy.eventually(function() return count(g, "/x") == 1 end, "the fetch")
    assert.equal("BYPASS 2", got(g:ask("POST /p/x" .. fresh, { body = "x" })))
    tell(g, "")
    assert.truthy(s:receive("*a"):find("n=1", 1, true))
    s:close()
    assert.equal("MISS 3", got(get(g, "/x" .. fresh)))
    assert.equal("HIT 3", got(get(g, "/x" .. fresh)))
  end)

  it("purges a URL for clients that may", function()
    local g = start 'purge = { "127.0.0.1" }'
    local target = "/x" .. query { "Cache-Control:max-age=60", "Vary:X-B" }
    get(g, target, "X-B: 1\r\n")
    get(g, target, "X-B: 2\r\n")
    assert.equal("HIT 2", got(get(g, target, "X-B: 2\r\n")))
    local res = g:ask("PURGE /p" .. target, { headers = "X-Forwarded-For: 10.9.9.9\r\n" })
    assert.equal(403, res.status)
    assert.equal("HIT 2", got(get(g, target, "X-B: 2\r\n")))
    res = g:ask("PURGE /p" .. target)
    assert.equal(200, res.status)
    assert.equal('{"purged":true}', res.body)
    assert.equal(404, g:ask("PURGE /p" .. target).status)
    assert.equal("MISS 3", got(get(g, target, "X-B: 1\r\n")))
    assert.equal("MISS 4", got(get(g, target, "X-B: 2\r\n")))
    g = start()
    assert.equal("BYPASS 1", got(g:ask("PURGE /p/x"))) -- not allowed to anybody: it is the upstream's
  end)

  it("refuses at load what can not be kept or is no network", function()
    for options, text in pairs { ["statuses = { 206 }"] = "can not be kept", ['purge = { "here" }'] = "is no address",
                                 ["max_body = 99999999"] = "at most", ['header = "a b"'] = "no name of a header" } do
      local out, code = policy.check { use = '{ "cache", ' .. options .. " }" }
      assert.equal(1, code, options)
      assert.truthy(out:find(text, 1, true), out)
    end
  end)
end)
