--- gw.redis against real Redis servers: values, sign-in, order, outages, reloads, a cluster.
local cjson = require "cjson.safe"
local gateway = require "spec.support.gateway"
local redis = require "spec.support.redis"
local socket = require "socket"

local head = [[
local gw = require "moonlatch"
gw.listen { port = PORT, host = "127.0.0.1" }
local function get(path, fn) gw.route("GET " .. path, { respond = fn }) end
get("/alive", function() return gw.response(200, "yes") end)
-- Values with nil as "NIL", so that JSON shows where they are.
local function tell(...)
  local t = gw.json.array {}
  for i = 1, select("#", ...) do
    local v = select(i, ...)
    if v == nil then v = "NIL" end
    t[i] = v
  end
  return gw.response(200, t)
end
]]

local function start(text, opts)
  opts = opts or {}
  opts.args = opts.args or { "--workers", "1" }
  return gateway.start({ ["gateway.lua"] = head .. text }, opts)
end

local function ask(g, path)
  local answer = g:ask("GET " .. path)
  assert.equal(200, answer.status, answer.body)
  return cjson.decode(answer.body)
end

local function site(url, text, opts)
  return start(('local r = gw.redis("%s"%s)\n'):format(url, opts or "") .. text)
end

local function stop_all()
  gateway.stop_all()
  redis.stop_all()
end

describe("gw.redis: values", function()
  local g, server
  setup(function()
    server = redis.start()
    g = site("redis://127.0.0.1:" .. server.port, [[
      get("/set", function() return tell(r:set("k", "v", "EX", 100)) end)
      get("/get", function() return tell(r:get("k")) end)
      get("/none", function() return tell(r:get("none")) end)
      get("/ttl", function() return tell(r:ttl("k")) end)
      get("/hash", function() r:hset("h", "f", 1, "g", 2.5) return tell(r:hgetall("h")) end)
      get("/mget", function() return tell(r:mget("none", "k", "none")) end)
      get("/error", function() return tell(r:incr("k")) end)
      get("/unknown", function() return tell(r:no_such_command(1)) end)
      get("/command", function() return tell(r:command("echo", "x")) end)
      get("/binary", function()
        local bytes = "\0\r\n\255$5\r\n"
        r:set("b", bytes)
        return tell(r:get("b") == bytes, r:strlen("b"))
      end)
      get("/large", function()
        r:set("l", ("x"):rep(300000))
        return tell(#r:get("l"))
      end)
      get("/numbers", function()
        r:rpush("n", 1e15, -7, 0.1, 2 ^ 53 - 1)
        return tell(unpack(r:lrange("n", 0, -1)))
      end)
      get("/pipeline", function()
        return tell(unpack(r:pipeline { { "SET", "p", 1 }, { "INCR", "p" }, { "GET", "none" }, { "INCR", "k" } }))
      end)
      get("/empty", function() return tell(r:pipeline {}) end)
      get("/atomic", function()
        return tell(r:pipeline({ { "SET", "p", 1 }, { "INCR", "p" }, { "GET", "none" } }, { atomic = true }))
      end)
      get("/abort", function()
        return tell(r:pipeline({ { "SET", "q", 1 }, { "NO-SUCH" } }, { atomic = true }))
      end)
      get("/eval", function()
        return tell(r:eval("return { KEYS[1], ARGV[1], 3, false, { 'deep' } }", { "k" }, { "a" }))
      end)
      get("/eval-bare", function() return tell(r:eval("return redis.status_reply('FINE')")) end)
      get("/eval-error", function() return tell(r:eval("return redis.error_reply('MINE no')")) end)
      get("/state", function() return tell(r:state()) end)
      local function wrong(fn) return select(2, pcall(fn)) end
      get("/wrong", function()
        return tell(wrong(function() r:set("k", true) end), wrong(function() r:set("k", nil) end),
          wrong(function() r:set("k", 0 / 0) end), wrong(function() r.get("k") end),
          wrong(function() r:blpop("k", 0) end), wrong(function() r:subscribe("k") end),
          wrong(function() r:multi() end), wrong(function() r:pipeline({ { "EXEC" } }) end),
          wrong(function() r:pipeline({ "GET" }) end), wrong(function() r:command() end),
          wrong(function() r:eval(1) end), wrong(function() r:pipeline({ { "GET", "k" } }, { atmic = true }) end),
          wrong(function() gw.redis("redis://h") end), r:get("k"))
      end)
    ]], ", { timeout = 20 }")
  end)
  teardown(stop_all)

  it("come as Lua has them", function()
    assert.same({ "OK" }, ask(g, "/set"))
    assert.same({ "v" }, ask(g, "/get"))
    assert.same({ "NIL" }, ask(g, "/none"))
    assert.same({ 100 }, ask(g, "/ttl"))
    assert.same({ { "f", "1", "g", "2.5" } }, ask(g, "/hash"))
    assert.same({ { false, "v", false } }, ask(g, "/mget"))
    assert.same({ "x" }, ask(g, "/command"))
    assert.same({ true, 8 }, ask(g, "/binary"))
    assert.same({ 300000 }, ask(g, "/large"))
    assert.same({ "1000000000000000", "-7", "0.10000000000000001", "9007199254740991" }, ask(g, "/numbers"))
    assert.same({ "ready" }, ask(g, "/state"))
  end)
  it("errors are nil, redis_error and the text", function()
    local r = ask(g, "/error")
    assert.same({ "NIL", "redis_error" }, { r[1], r[2] })
    assert.truthy(r[3]:find("not an integer", 1, true))
    assert.truthy(ask(g, "/unknown")[3]:find("unknown command", 1, true))
  end)
  it("pipelines give a list, transactions too", function()
    local r = ask(g, "/pipeline")
    assert.same({ "OK", 2, false }, { r[1], r[2], r[3] })
    assert.truthy(r[4].err:find("not an integer", 1, true))
    assert.same({ {} }, ask(g, "/empty"))
    assert.same({ { "OK", 2, false } }, ask(g, "/atomic"))
    r = ask(g, "/abort")
    assert.same({ "NIL", "redis_error" }, { r[1], r[2] })
    assert.truthy(r[3]:find("unknown command", 1, true))
    assert.is_nil(server:call("GET", "q"))
  end)
  it("scripts run, also when the server has forgotten them", function()
    local whole = { { "k", "a", 3, false, { "deep" } } }
    assert.same(whole, ask(g, "/eval"))
    assert.same(whole, ask(g, "/eval"))
    server:call("SCRIPT", "FLUSH")
    assert.same(whole, ask(g, "/eval"))
    assert.same({ "FINE" }, ask(g, "/eval-bare"))
    assert.same({ "NIL", "redis_error", "MINE no" }, ask(g, "/eval-error"))
  end)
  it("mistakes of scripts are errors that say what is wrong, and spoil nothing", function()
    local r = ask(g, "/wrong")
    local expected = { "boolean", "nil", "finite", "redis handle", "block the shared connection",
      "subscription", "atomic = true", "atomic = true", "no list", "begins with its name", "string expected",
      "unknown option", "once the site is loaded" }
    for i, text in ipairs(expected) do
      assert.truthy(tostring(r[i]):find(text, 1, true), tostring(r[i]) .. " has no " .. text)
    end
    assert.equal("v", r[#expected + 1])
  end)
end)

describe("gw.redis: loading", function()
  after_each(stop_all)

  local function refusal(text)
    local folder = gateway.folder()
    gateway.write(folder .. "/gateway.lua", (head:gsub("PORT", "1")) .. text)
    local p = io.popen(gateway.binary .. " check " .. folder .. " 2>&1")
    local out = p:read("*a")
    p:close()
    return out
  end

  it("names what is wrong with a URL or an option, with file and line, without the secret", function()
    for url, text in pairs {
      ["http://h"] = "redis://", ["rediss:/:topsecret@h"] = "redis://", ["redis://u:topsecret@h:0"] = "port",
      ["redis://topsecret@h"] = "needs a password", ["redis://:topsecret@h/x"] = "database",
      ["redis+cluster://:topsecret@h/1"] = "host",
    } do
      local out = refusal(('\ngw.redis("%s")\n'):format(url))
      assert.truthy(out:find(text, 1, true), out)
      assert.truthy(out:find("gateway.lua:16", 1, true), out)
      assert.is_nil(out:find("topsecret", 1, true), out)
    end
    assert.truthy(refusal('gw.redis("redis://h", { tiemout = 1 })'):find("tiemout", 1, true))
    assert.truthy(refusal('gw.redis("redis://h", { timeout = 0 })'):find("timeout must be", 1, true))
    assert.truthy(refusal('gw.redis("redis+cluster://h", { db = 1 })'):find("only database 0", 1, true))
    assert.truthy(refusal('gw.redis("redis://h"):get("k")'):find("while the site is loaded", 1, true))
  end)
  it("connects to nothing", function()
    local listener = assert(socket.bind("127.0.0.1", 0))
    local _, port = listener:getsockname()
    local out = refusal(('gw.redis("redis://127.0.0.1:%d")'):format(port))
    local g = site("redis://127.0.0.1:" .. port, "")
    assert.equal(200, g:ask("GET /alive").status)
    listener:settimeout(0)
    assert.is_nil((listener:accept()), out)
    listener:close()
  end)
end)

describe("gw.redis: signing in", function()
  after_each(stop_all)

  local text = 'get("/", function() return tell(r:set("k", "v"), r:get("k")) end)\n'

  it("by password, in the URL or as an option; the wrong one is an outage and stays secret", function()
    local server = redis.start({ "--requirepass", "p@ss" }, "p@ss")
    local g = start(([[
      local port = %d
      local r = gw.redis("redis://:p%%40ss@127.0.0.1:" .. port .. "/3")
      local o = gw.redis("redis://127.0.0.1:" .. port, { password = "p@ss", db = 3 })
      local w = gw.redis("redis://:wrongsecret@127.0.0.1:" .. port)
      local n = gw.redis("redis://127.0.0.1:" .. port)
      get("/", function() return tell(r:set("k", "v"), o:get("k")) end)
      get("/w", function() return tell(w:get("k")) end)
      get("/n", function() return tell(n:get("k")) end)
    ]]):format(server.port))
    assert.same({ "OK", "v" }, ask(g, "/"))
    local w, n = ask(g, "/w"), ask(g, "/n")
    assert.same({ "NIL", "redis_unavailable" }, { w[1], w[2] })
    assert.truthy(w[3]:find("WRONGPASS", 1, true), w[3])
    assert.same({ "NIL", "redis_unavailable" }, { n[1], n[2] })
    assert.truthy(n[3]:find("NOAUTH", 1, true), n[3])
    g:wait_for_log("redis is unavailable")
    local status = g:command("status")
    for _, secret in ipairs { "wrongsecret", "p@ss", "p%40ss" } do
      assert.is_nil((g:output() .. status):find(secret, 1, true))
    end
  end)
  it("as a user of an ACL, who may not even PING", function()
    local server = redis.start()
    assert(server:call("ACL", "SETUSER", "app", "on", ">secret", "~*", "+get", "+set"))
    assert.same({ "OK", "v" }, ask(site(("redis://app:secret@127.0.0.1:%d"):format(server.port), text), "/"))
  end)
  it("over a unix socket", function()
    local server = redis.start()
    assert.same({ "OK", "v" }, ask(site("unix://" .. server.socket .. "?db=2", text), "/"))
    assert.truthy(server:call("INFO", "keyspace"):find("db2:keys=1", 1, true))
  end)
end)

-- Starts count requests, each on a connection of its own; what finish() gives is the list of bodies.
local function many(g, count, path)
  local all = {}
  for i = 1, count do
    all[i] = g:connect()
    all[i]:send(("GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"):format(path(i)))
  end
  return function()
    for i, s in ipairs(all) do
      local text = s:receive("*a")
      s:close()
      all[i] = gateway.parse(text).body
    end
    return all
  end
end

describe("gw.redis: many at a time", function()
  after_each(stop_all)

  it("each of 500 tasks gets the replies to its own commands", function()
    local server = redis.start()
    local g = site("redis://127.0.0.1:" .. server.port, [[
      get("/own/:id", function(req)
        local id = req.params.id
        for i = 1, 5 do
          local value = id .. "-" .. i
          if r:echo(value) ~= value then return tell("foreign") end
          local l = r:pipeline { { "SET", id, value }, { "GET", id }, { "ECHO", id } }
          if l[2] ~= value or l[3] ~= id then return tell("foreign") end
        end
        return tell("own", id)
      end)
    ]])
    local bodies = many(g, 500, function(i) return "/own/" .. i end)()
    for i = 1, 500 do assert.equal(('["own","%d"]'):format(i), bodies[i]) end
    assert.equal(1, tonumber(server:call("INFO", "clients"):match("connected_clients:(%d+)")) - 1)
  end)
  it("a client that goes away takes its reply along, and the others get theirs", function()
    local server = redis.start()
    local g = site("redis://127.0.0.1:" .. server.port, [[
      get("/slow", function() return tell(r:eval("local n = 0 for i = 1, 3e6 do n = n + i end return 'slow'")) end)
      get("/own/:id", function(req) return tell(r:echo(req.params.id)) end)
    ]], ", { timeout = 20 }")
    ask(g, "/own/0")
    local gone = g:connect()
    gone:send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    local finish = many(g, 20, function(i) return "/own/" .. i end)
    gone:close()
    for i, body in ipairs(finish()) do assert.equal(('["%d"]'):format(i), body) end
  end)
  it("two handles of a URL, and a reload, keep the one connection", function()
    local server = redis.start()
    local g = site("redis://127.0.0.1:" .. server.port, [[
      local other = gw.redis("redis://127.0.0.1:]] .. server.port .. [[")
      get("/id", function() return tell(r:client("id"), other:client("id"), "one") end)
    ]])
    local before = ask(g, "/id")
    assert.equal(before[1], before[2])
    g:save("gateway.lua", (gateway.read(g.dir .. "/gateway.lua"):gsub('"one"', '"two"')))
    local after = gateway.eventually(function()
      local r = ask(g, "/id")
      return r[3] == "two" and r
    end, "the new generation")
    assert.equal(before[1], after[1])
  end)
end)

describe("gw.redis: outages", function()
  local text = [[
    get("/", function()
      local began = gw.mono()
      local v, code = r:incr("n")
      return gw.response(200, { value = v, code = code, took = gw.mono() - began, state = r:state() })
    end)
  ]]
  after_each(stop_all)

  local function works(g)
    return gateway.eventually(function()
      local r = ask(g, "/")
      return r.value and r
    end, "an answer of Redis")
  end

  it("a server that was killed: refused at once, and back when it is", function()
    local server = redis.start()
    local g = site("redis://127.0.0.1:" .. server.port, text)
    assert.equal(1, ask(g, "/").value)
    server:kill()
    assert.equal("redis_unavailable", ask(g, "/").code)
    local r = gateway.eventually(function()
      local now = ask(g, "/")
      assert.equal("redis_unavailable", now.code)
      return now.state == "down" and now
    end, "down")
    assert.is_true(r.took < 0.1)
    assert.equal(200, g:ask("GET /alive").status)
    assert(server:run())
    works(g)
    local log = g:wait_for_log("redis is available again")
    assert.truthy(log:find("redis is unavailable", 1, true))
  end)
  it("a server that hangs: a timeout, then refused at once; other routes answer meanwhile", function()
    local server = redis.start()
    local g = site("redis://127.0.0.1:" .. server.port, text, ", { timeout = 0.5, connect_timeout = 0.5 }")
    assert.equal(1, ask(g, "/").value)
    server:signal("STOP")
    local finish = many(g, 50, function() return "/" end)
    local began = socket.gettime()
    for _ = 1, 20 do assert.equal(200, g:ask("GET /alive").status) end
    assert.is_true(socket.gettime() - began < 5)
    for _, body in ipairs(finish()) do
      assert.truthy(body:find("redis_timeout", 1, true) or body:find("redis_unavailable", 1, true), body)
    end
    local r = ask(g, "/")
    assert.same({ "redis_unavailable", "down" }, { r.code, r.state })
    assert.is_true(r.took < 0.1)
    server:signal("CONT")
    works(g)
  end)
  it("a server that was restarted: the next command connects", function()
    local server = redis.start()
    local g = site("redis://127.0.0.1:" .. server.port, text)
    assert.equal(1, ask(g, "/").value)
    server:restart()
    works(g)
  end)
  it("a server that is no Redis: unavailable, and the worker lives", function()
    local other = start ""
    local g = site("redis://127.0.0.1:" .. other.port, text)
    for _ = 1, 5 do assert.equal("redis_unavailable", ask(g, "/").code) end
    assert.equal(200, g:ask("GET /alive").status)
  end)
  it("a name that can not be resolved: unavailable", function()
    local g = site("redis://no-such-host.invalid", text)
    assert.truthy(ask(g, "/").code)
    assert.equal(200, g:ask("GET /alive").status)
  end)
end)

describe("gw.redis: a cluster", function()
  local g, nodes
  -- keys k1.. with the node that has each
  local function owner(key)
    local slot = nodes[1]:call("CLUSTER", "KEYSLOT", key)
    return math.floor(slot / math.ceil(16384 / 3)) + 1, slot
  end

  setup(function()
    nodes = redis.cluster(3)
    g = site(("redis+cluster://127.0.0.1:%d,127.0.0.1:%d"):format(nodes[1].port, nodes[2].port), [[
      get("/set/:k/:v", function(req) return tell(r:set(req.params.k, req.params.v)) end)
      get("/get/:k", function(req) return tell(r:get(req.params.k)) end)
      get("/all", function()
        local list = {}
        for i = 1, 100 do list[2 * i - 1], list[2 * i] = { "SET", "all" .. i, i }, { "GET", "all" .. i } end
        return tell(r:pipeline(list))
      end)
      get("/cross", function() return tell(r:mget("a", "b")) end)
      get("/cross-atomic", function() return tell(r:pipeline({ { "GET", "a" }, { "GET", "b" } }, { atomic = true })) end)
      get("/tagged", function()
        r:mset("{t}a", 1, "{t}b", 2)
        return tell(r:mget("{t}a", "{t}b"),
          r:pipeline({ { "INCR", "{t}a" }, { "INCR", "{t}b" } }, { atomic = true }),
          r:eval("return redis.call('GET', KEYS[1])", { "{t}b" }))
      end)
      get("/state", function() return tell(r:state()) end)
    ]], ", { timeout = 2 }")
  end)
  teardown(stop_all)

  it("has its keys on their nodes", function()
    local seen = {}
    for i = 1, 30 do
      assert.same({ "OK" }, ask(g, "/set/k" .. i .. "/" .. i))
      local index = owner("k" .. i)
      assert.equal(tostring(i), nodes[index]:call("GET", "k" .. i))
      seen[index] = true
      assert.same({ tostring(i) }, ask(g, "/get/k" .. i))
    end
    assert.same({ true, true, true }, seen)
  end)
  it("splits a pipeline and puts the results in order", function()
    local list = ask(g, "/all")[1]
    for i = 1, 100 do assert.same({ "OK", tostring(i) }, { list[2 * i - 1], list[2 * i] }) end
  end)
  it("explains keys of different slots", function()
    for _, path in ipairs { "/cross", "/cross-atomic" } do
      local r = ask(g, path)
      assert.same({ "NIL", "redis_error" }, { r[1], r[2] })
      assert.truthy(r[3]:find("CROSSSLOT", 1, true) and r[3]:find("{hash tag}", 1, true), r[3])
    end
    assert.same({ { "1", "2" }, { 2, 3 }, "3" }, ask(g, "/tagged"))
  end)
  it("follows ASK while a slot moves, and MOVED when it has", function()
    local from, slot = owner("mover")
    local to = from % 3 + 1
    local from_id, to_id = nodes[from]:call("CLUSTER", "MYID"), nodes[to]:call("CLUSTER", "MYID")
    assert.same({ "OK" }, ask(g, "/set/mover/1"))
    assert(nodes[to]:call("CLUSTER", "SETSLOT", slot, "IMPORTING", from_id))
    assert(nodes[from]:call("CLUSTER", "SETSLOT", slot, "MIGRATING", to_id))
    assert.same({ "1" }, ask(g, "/get/mover")) -- still there
    assert(nodes[from]:call("MIGRATE", "127.0.0.1", nodes[to].port, "mover", 0, 5000))
    local _, wrong = nodes[from]:call("GET", "mover")
    assert.truthy(wrong:find("ASK", 1, true))
    assert.same({ "1" }, ask(g, "/get/mover"))
    assert.same({ "OK" }, ask(g, "/set/mover/2"))
    for _, i in ipairs { to, from } do assert(nodes[i]:call("CLUSTER", "SETSLOT", slot, "NODE", to_id)) end
    _, wrong = nodes[from]:call("GET", "mover")
    assert.truthy(wrong:find("MOVED", 1, true))
    assert.same({ "2" }, ask(g, "/get/mover"))
    assert.equal("2", nodes[to]:call("GET", "mover"))
  end)
  it("goes on with the other nodes when one hangs or is gone, also without the first seed", function()
    local function gone(key)
      local r = ask(g, "/get/" .. key)
      return r[1] == "NIL" and r[2]
    end
    local by_owner = {}
    for i = 1, 30 do by_owner[(owner("k" .. i))] = "k" .. i end
    nodes[1]:signal("STOP")
    gateway.eventually(function() return gone(by_owner[1]) == "redis_unavailable" end, "node 1 down")
    assert.is_true(#ask(g, "/get/" .. by_owner[2])[1] > 0)
    assert.equal(200, g:ask("GET /alive").status)
    nodes[1]:kill()
    assert.truthy(gone(by_owner[1]))
    assert.is_true(#g:ask("GET /get/" .. by_owner[3]).body > 0)
    assert.equal(200, g:ask("GET /alive").status)
  end)
end)
