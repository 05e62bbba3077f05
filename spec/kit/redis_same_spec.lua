--- The simulated Redis of moonlatch.test answers what a real one answers, byte for byte.
package.path = "./lua/?.lua;" .. package.path
local t = require "moonlatch.test"
local gateway = require "spec.support.gateway"
local redis = require "spec.support.redis"
local scripts = require "moonlatch.ratelimit_scripts"
local socket = require "socket"

if not t.simulated then return end

local function words_of(line)
  local words = {}
  for word in line:gmatch("%S+") do words[#words + 1] = word end
  return words
end

local function encode(words)
  local parts = { "*" .. #words .. "\r\n" }
  for i, word in ipairs(words) do parts[i + 1] = ("$%d\r\n%s\r\n"):format(#word, word) end
  return table.concat(parts)
end

-- One reply as its bytes.
local function read_reply(s)
  local line = assert(s:receive("*l"))
  local kind, n = line:sub(1, 1), tonumber(line:sub(2))
  if kind == "$" and n >= 0 then return line .. "\r\n" .. assert(s:receive(n + 2)) end
  local parts = { line .. "\r\n" }
  if kind == "*" then
    for i = 1, n do parts[i + 1] = read_reply(s) end
  end
  return table.concat(parts)
end

local commands = [[
SET a 1 | SET a 2 NX | SET a 2 XX | SET b 2 XX | SET a 3 GET | SET b 9 GET | SET c x EX 0 | SET c x PX abc
SET c x NX XX | SET c x EX 10 KEEPTTL | SET c x FOO | SET c x EX | GET c | SET c x EX 100 | TTL c | SET c y KEEPTTL | TTL c
SET c z | TTL c | PTTL c | SETEX c 100 v | TTL c | SETEX c 0 v | PSETEX c 100000 v | TTL c | SETNX c n | SETNX d n
GETSET d m | GETDEL d | GETDEL d | GETEX c | GETEX c PERSIST | TTL c | MGET a b zz | MSET m1 1 m2 2 | MSET m1
APPEND m1 23 | STRLEN m1 | STRLEN zz | INCR a | INCRBY a 10 | DECR a | DECRBY a 100 | INCR c | INCRBY a x | INCRBYFLOAT a 0.5
INCRBYFLOAT a x | GET a | EXISTS a b zz a | DEL zz | DEL m1 m2 | TYPE a | TYPE zz | EXPIRE a 100 | EXPIRE zz 1 | TTL a | TTL zz
EXPIRE a 50 GT | EXPIRE a 50 LT | EXPIRE a 10 NX | PERSIST a | PERSIST a | EXPIRE a 10 XX | EXPIRE a 0 | EXISTS a | RENAME zz a
RENAME b b2 | GET b2 | SET ab 1 | KEYS a* | DBSIZE | TYPE ab | PEXPIRE ab -1 | EXISTS ab
HSET h a 1 b 2 | HSET h a 3 c | HSET h a 3 c 4 | HGET h a | HGET h z | HMGET h a z | HGETALL h | HGETALL zz | HKEYS h | HVALS h
HLEN h | HEXISTS h a | HEXISTS h q | HINCRBY h a 5 | HINCRBY h new -3 | HSET h t x | HINCRBY h t 1 | HDEL h a b zz | HGETALL h
HSETNX h c 1 | HSETNX h q 1 | HMSET h q 2 | GET h | HGET b2 x | TYPE h | HDEL h c new t q | EXISTS h
SADD s x y x | SADD s y | SCARD s | SISMEMBER s x | SISMEMBER s q | SMISMEMBER s x q | SREM s x q | SMEMBERS s | SREM s y | EXISTS s
SMEMBERS zz | LPUSH l a b c | RPUSH l d | LRANGE l 0 -1 | LRANGE l 1 2 | LRANGE l -2 -1 | LRANGE l 5 9 | LRANGE zz 0 -1 | LLEN l
LINDEX l 0 | LINDEX l -1 | LINDEX l 9 | LPOP l | RPOP l | LPOP l 5 | LPOP l | RPUSH l a b a c a | LREM l 2 a | LRANGE l 0 -1
LREM l -1 a | LRANGE l 0 -1 | LTRIM l 1 5 | LRANGE l 0 -1 | LTRIM l 5 9 | EXISTS l | LPUSH h2 x | TYPE h2 | SADD h2 y
ZADD z 1 a 2 b 1.5 c | ZADD z 5 a | ZADD z NX 9 a 9 n | ZADD z XX 4 n 4 q | ZADD z GT 1 n | ZADD z GT CH 10 n | ZADD z x a
ZADD z 1 | ZADD z NX GT 1 a | ZRANGE z 0 -1 | ZRANGE z 0 -1 WITHSCORES | ZRANGE z 1 2 | ZREVRANGE z 0 0 WITHSCORES | ZSCORE z a
ZSCORE z zz | ZCARD z | ZCOUNT z 2 5 | ZCOUNT z (2 +inf | ZRANGEBYSCORE z -inf +inf | ZRANGEBYSCORE z 2 5 WITHSCORES
ZRANGEBYSCORE z -inf +inf LIMIT 1 2 | ZREVRANGEBYSCORE z +inf 2 | ZRANK z b | ZRANK z zz | ZINCRBY z 0.5 a | ZINCRBY z 1 fresh
ZREMRANGEBYSCORE z -inf (2 | ZRANGE z 0 -1 | ZREMRANGEBYRANK z 0 0 | ZREM z a n zz | ZCARD z | ZRANGEBYSCORE z x 1 | ZADD h2 1 a
PING | PING hello | ECHO x | GET | SET a | SELECT x | SELECT 1 | GET b2 | SELECT 0 | GET b2 | EXEC | MULTI | SET t 1 | INCR t | EXEC
MULTI | SET t 5 | DISCARD | GET t | MULTI | LPUSH t 1 | GET t | EXEC | PUBLISH ch x | FLUSHALL | DBSIZE
]]

local evals = {
  "return 3.99", "return -3.99", "return true", "return false", "return nil", "return 'x'", "return {1,2,nil,3}",
  "return {1,{2,'x'},false,true}", "return {ok='FINE'}", "return {err='MY fault'}", "return KEYS[1] .. ARGV[1]",
  "return redis.call('SET', KEYS[1], 1.5)", "return redis.call('GET', KEYS[1])",
  "redis.call('SET', KEYS[1], 1e12) return redis.call('GET', KEYS[1])",
  "redis.call('SET', KEYS[1], 0.1) return redis.call('GET', KEYS[1])",
  "return type(redis.call('GET', 'none'))", "return redis.call('INCR', 'counter') + 0.5",
  "return redis.pcall('GET').err and 'failed'", "return redis.call('PING').ok",
  "return tostring(tonumber(ARGV[1]))", "return redis.sha1hex('')", "return string.format('%.0f', 2^40)",
  "return cjson.decode('{\"a\":[1,2]}').a[2]", "return #KEYS + #ARGV * 10", "return redis.error_reply('WRONG x')",
  "return redis.status_reply('YES')", "local t = {} for i = 1, 3 do t[i] = i * i end return t", "return {}",
  "return {1.5, 2.5}", "return redis.call('HGETALL', 'none')",
}

describe("the simulated Redis", function()
  local real, s, app, state
  teardown(function()
    redis.stop_all()
    gateway.stop_all()
  end)

  setup(function()
    real = redis.start()
    s = assert(socket.connect("127.0.0.1", real.port))
    s:settimeout(10)
    app = t.load { ["gateway.lua"] = "" }
    state = app.redis:connection("127.0.0.1", 1)
  end)

  -- Does the real one say what ours says?  Times of a running clock and of one that stands differ a little.
  local function compare(words)
    local bytes = encode(words)
    s:send(bytes)
    local expected, got = read_reply(s), app.redis:feed(state, bytes)
    expected, got = expected:gsub(":%d%d%d%d%d%d%d%d%d+", ":time"), got:gsub(":%d%d%d%d%d%d%d%d%d+", ":time")
    assert.equal(expected, got, table.concat(words, " "))
  end

  it("answers commands alike", function()
    for line in commands:gmatch("[^|\n]+") do compare(words_of(line)) end
  end)

  it("answers scripts alike", function()
    for _, script in ipairs(evals) do
      compare { "EVAL", script, "1", "key", "12" }
      compare { "EVALSHA", app.redis.scripts.sha1(script), "1", "key", "12" }
    end
    compare { "EVALSHA", ("0"):rep(40), "0" }
    compare { "EVAL", "return 1", "x" }
    compare { "EVAL", "return 1", "3", "a" }
    compare { "SCRIPT", "EXISTS", ("0"):rep(40), app.redis.scripts.sha1("return 'x'") }
  end)

  it("runs the scripts of limits alike", function()
    for _, name in ipairs { "fixed", "concurrency" } do
      for _ = 1, 5 do compare { "EVAL", scripts[name], "1", "limit:" .. name, "3", "60000000", "1", "lease" } end
    end
    compare { "EVAL", scripts.release, "1", "limit:concurrency", "lease", "1" }
    compare { "ZCARD", "limit:concurrency" }
  end)
end)
