--- app.redis: the simulated Redis of moonlatch.test, asked by the gateway's own client.
package.path = "./lua/?.lua;" .. package.path
local t = require "moonlatch.test"

local site = { ["gateway.lua"] = [[
local gw = require "moonlatch"
gw.listen { port = 8080 }
local r = gw.redis(gw.env("REDIS_URL", "redis://redis.test:6379"), { timeout = 1 })
gw.route("POST /redis", { respond = function(req)
  local out = {}
  for i, words in ipairs(req:json().commands) do
    local value, code, message = r:command(unpack(words))
    out[i] = { value = value, code = code, message = message }
  end
  return gw.response(200, out)
end })
gw.route("POST /eval", { respond = function(req)
  local given = req:json()
  local value, code, message = r:eval(given.script, given.keys or {}, given.args or {})
  return gw.response(200, { value = value, code = code, message = message })
end })
gw.route("POST /atomic", { respond = function(req)
  local value, code, message = r:pipeline(req:json().commands, { atomic = true })
  return gw.response(200, { value = value, code = code, message = message })
end })
gw.route("GET /state", { respond = function() return gw.response(200, r:state()) end })
]] }

describe("app.redis", function()
  local app
  before_each(function() app = t.load(site) end)

  -- What the site sees of these commands: values, or "code: text".
  local function ask(...)
    local out = {}
    for i, each in ipairs(app:post("/redis", { json = { commands = { ... } } }).json) do
      out[i] = each.code and each.code .. (each.message and ": " .. each.message or "") or each.value
      if out[i] == nil then out[i] = "nil" end
    end
    return out
  end

  local function eval(script, keys, args)
    local res = app:post("/eval", { json = { script = script, keys = keys, args = args } }).json
    if res.code then return res.code .. ": " .. res.message end
    return res.value
  end

  it("keeps strings, with SET's options", function()
    assert.same({ "OK", "nil", "OK", "nil", "b", "c", 1, 5, 4, -6 }, ask(
      { "SET", "a", "b" }, { "SET", "a", "x", "NX" }, { "SET", "n", "0" },
      { "SET", "nothing", "x", "XX" }, { "SET", "a", "c", "GET" }, { "GET", "a" },
      { "INCR", "n" }, { "INCRBY", "n", 4 }, { "DECR", "n" }, { "DECRBY", "n", 10 }))
    assert.same({ { "c", false }, 2, 1, "redis_error: ERR value is not an integer or out of range" },
      ask({ "MGET", "a", "b" }, { "EXISTS", "a", "n", "z" }, { "DEL", "n" }, { "INCR", "a" }))
  end)

  it("keeps hashes, sets, lists and sorted sets", function()
    assert.same({ 2, 0, "2", { "a", "2", "b", "1" }, 7, 1, { "b", "1" } }, ask(
      { "HSET", "h", "a", 1, "b", 1 }, { "HSET", "h", "a", 2 }, { "HGET", "h", "a" }, { "HGETALL", "h" },
      { "HINCRBY", "h", "a", 5 }, { "HDEL", "h", "a", "z" }, { "HGETALL", "h" }))
    assert.same({ 2, 1, 0, { "x", "y" }, 1, { "y" } }, ask(
      { "SADD", "s", "x", "y", "x" }, { "SISMEMBER", "s", "x" }, { "SISMEMBER", "s", "z" }, { "SMEMBERS", "s" },
      { "SREM", "s", "x" }, { "SMEMBERS", "s" }))
    assert.same({ 2, 3, { "b", "a", "c" }, { "a", "c" }, "c", 2, "OK", { "a" } }, ask(
      { "LPUSH", "l", "a", "b" }, { "RPUSH", "l", "c" }, { "LRANGE", "l", 0, -1 }, { "LRANGE", "l", -2, 9 },
      { "RPOP", "l" }, { "LLEN", "l" }, { "LTRIM", "l", 1, 1 }, { "LRANGE", "l", 0, -1 }))
    assert.same({ 3, 0, { "b", "1", "a", "2.5", "c", "3" }, { "a" }, 1, 2, 1 }, ask(
      { "ZADD", "z", 2, "a", 1, "b", 3, "c" }, { "ZADD", "z", 2.5, "a" }, { "ZRANGE", "z", 0, -1, "WITHSCORES" },
      { "ZRANGEBYSCORE", "z", "(1", 2.5 }, { "ZREMRANGEBYSCORE", "z", "-inf", 1 }, { "ZCARD", "z" },
      { "ZREM", "z", "a", "q" }))
    assert.same({ "redis_error: WRONGTYPE Operation against a key holding the wrong kind of value" },
      ask({ "LPUSH", "h", 1 }))
  end)

  it("lets keys end by the app's clock", function()
    assert.same({ "OK", "OK", 1, 10, 10000, -1, -2 }, ask({ "SET", "a", 1, "EX", 10 }, { "SETEX", "b", 20, 1 },
      { "SADD", "c", 1 }, { "TTL", "a" }, { "PTTL", "a" }, { "TTL", "c" }, { "TTL", "z" }))
    app:advance(9.999)
    assert.same({ "1" }, ask { "GET", "a" })
    app:advance(0.001)
    assert.same({ "nil", "1", "OK", 10, 1, 0 }, ask({ "GET", "a" }, { "GET", "b" },
      { "SET", "b", 2, "KEEPTTL" }, { "TTL", "b" }, { "PEXPIRE", "b", 5 }, { "EXPIRE", "a", 5 }))
    app:advance(0.005)
    assert.is_nil(app.redis:get "b")
  end)

  it("is in the hand of the test", function()
    app.redis:set("a", "from the test", "EX", 60)
    app.redis:hset("h", "f", 12)
    assert.same({ "from the test", "12" }, ask({ "GET", "a" }, { "HGET", "h", "f" }))
    ask { "RPUSH", "list", "x" }
    assert.same({ "x" }, app.redis:lrange("list", 0, -1))
    assert.equal(60, app.redis:ttl "a")
    local value, why = app.redis:incr "a"
    assert.is_nil(value)
    assert.matches("not an integer", why)
    assert.equal(3, app.redis.calls)
    assert.same({ "RPUSH", "list", "x" }, app.redis.last)
    assert.same({ "GET", "a" }, app.redis.requests[1])
    app.redis:clear()
    assert.equal(0, app.redis.calls)
    app.redis:flushall()
    assert.is_nil(app.redis:get "a")
  end)

  it("says which command it does not have", function()
    assert.matches("redis_error: ERR unknown command 'GEOADD'", ask({ "GEOADD", "x", 1, 2, "y" })[1], 1, true)
    assert.matches("wrong number of arguments for 'get'", ask({ "GET" })[1], 1, true)
  end)

  it("has the database of the URL", function()
    app = t.load(site, { env = { REDIS_URL = "redis://user:pw@redis.test:6380/3" } })
    assert.same({ "OK" }, ask { "SET", "a", 1 })
    assert.equal("1", app.redis:get "a")
    app.redis.default_db = 0
    assert.is_nil(app.redis:get "a")
  end)

  it("is a cluster of one node, and a unix socket, too", function()
    local urls = { "redis+cluster://a.test:7000,b.test:7001" }
    if t.simulated then urls[2] = "unix:///run/redis.sock" end -- nothing leads the real program to such a path
    for _, url in ipairs(urls) do
      app = t.load(site, { env = { REDIS_URL = url } })
      assert.same({ "OK", "1" }, ask({ "SET", "a", 1 }, { "GET", "a" }))
      assert.equal("1", app.redis:get "a")
    end
  end)

  it("runs transactions", function()
    local res = app:post("/atomic", { json = { commands = { { "SET", "a", 1 }, { "INCR", "a" } } } }).json
    assert.same({ "OK", 2 }, res.value)
    res = app:post("/atomic", { json = { commands = { { "SET", "a", 9 }, { "NOSUCH" } } } }).json
    assert.equal("redis_error", res.code)
    assert.equal("2", app.redis:get "a")
  end)

  describe("down", function()
    it("refuses, until it is up and the gateway has found that out", function()
      ask { "SET", "a", 1 }
      app.redis:down()
      assert.matches("^redis_unavailable", ask({ "GET", "a" })[1])
      app.redis:up()
      app:advance(5)
      assert.same({ "1" }, ask { "GET", "a" })
    end)

    it("does not answer", function()
      ask { "PING" }
      app.redis:down("timeout")
      local before = app:now()
      assert.matches("^redis_timeout", ask({ "GET", "a" })[1])
      assert.near(1, app:now() - before, 0.01)
      assert.equal("down", app:get("/state").body)
    end)

    it("breaks connections", function()
      ask { "PING" }
      app.redis:down("reset")
      assert.matches("^redis_unavailable", ask({ "GET", "a" })[1])
    end)

    it("answers with an error", function()
      ask { "PING" }
      app.redis:down("READONLY You can't write against a read only replica.")
      assert.matches("redis_error: READONLY", ask({ "SET", "a", 1 })[1], 1, true)
      app.redis:up()
      assert.same({ "OK" }, ask { "SET", "a", 1 })
    end)
  end)

  it("may be late", function()
    app.redis:delay(0.2)
    local before = app:now()
    assert.same({ "OK" }, ask { "SET", "a", 1 })
    assert.is_true(app:now() - before >= 0.2)
  end)

  describe("scripts", function()
    it("get keys and arguments, and convert values as Redis does", function()
      assert.same({ "k", "a", 3, 1 }, eval("return { KEYS[1], ARGV[1], 3.9, true, nil, 'lost' }", { "k" }, { "a" }))
      assert.same({ 1, false, "x" }, eval("return { 1, false, 'x' }"))
      assert.equal(-3, eval "return -3.9")
      assert.equal("fine", eval "return redis.status_reply('fine')")
      assert.equal("redis_error: MY wrong", eval "return redis.error_reply('MY wrong')")
      assert.equal("number", eval "redis.call('SET', 'a', 5) return type(redis.call('INCR', 'a'))")
      assert.is_true(eval "return redis.call('GET', 'nothing') == false and 'yes'" == "yes")
      assert.equal("6", eval "return redis.call('GET', 'a')")
      assert.same({ "1.5", "1700000000000" }, eval [[redis.call('MSET', 'f', 1.5, 'i', 1700000000000)
        return redis.call('MGET', 'f', 'i')]])
    end)

    it("see errors of commands, and end with their own", function()
      assert.matches("WRONGTYPE", eval "redis.call('SADD', 's', 1) return redis.call('GET', 's')")
      assert.equal("caught", eval "local r = redis.pcall('GET', 's') return r.err and 'caught'")
      assert.matches("mine", eval "error('mine')")
      assert.matches("nonexistent global variable 'os'", eval "return os.time()")
      assert.matches("readonly table", eval "x = 1")
      assert.matches("Error compiling script", eval "return return")
    end)

    it("are known by their hash once they ran", function()
      assert.equal(1, eval "return 1")
      assert.equal(1, eval "return 1")
      local names = {}
      for i, words in ipairs(app.redis.requests) do names[i] = words[1] end
      assert.same({ "EVALSHA", "EVAL", "EVALSHA" }, names)
      assert.equal(3, app.redis:eval("return ARGV[1] + 1", 0, 2))
    end)
  end)

  describe("rate_limit with it", function()
    local function limiter(options)
      return t.load { ["gateway.lua"] = ([[
        local gw = require "moonlatch"
        gw.listen { port = 8080 }
        gw.route("GET /x", { { "rate_limit", redis = gw.redis "redis://redis.test", %s },
                             respond = function() return gw.response(204) end })
      ]]):format(options) }
    end

    for _, algorithm in ipairs { "gcra", "sliding", "fixed" } do
      it("admits exactly the limit: " .. algorithm, function()
        app = limiter(("algorithm = %q, limit = 3, window = 60"):format(algorithm))
        local seen = {}
        for i = 1, 5 do seen[i] = app:get("/x").status end
        assert.same({ 204, 204, 204, 429, 429 }, seen)
        assert.equal(1, app.redis:dbsize())
        app:advance(121)
        assert.equal(204, app:get("/x").status)
      end)
    end

    it("falls back to this node's share while it is down", function()
      app = limiter "limit = 4, window = 60, fallback = { share = 0.5 }"
      assert.equal(204, app:get("/x").status)
      app.redis:down()
      local seen = {}
      for i = 1, 4 do seen[i] = app:get("/x").status end
      assert.same({ 204, 204, 429, 429 }, seen)
    end)
  end)
end)
