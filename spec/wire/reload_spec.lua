--- Promise 1: a saved file is live in all workers, and no connection and no request is lost.
local gateway = require "spec.support.gateway"
local upstream = require "spec.support.upstream"
local cjson = require "cjson"
local socket = require "socket"
local wait = require "posix.sys.wait"

local head = [[
  local gw = require "moonlatch"
  gw.listen { port = PORT, host = "127.0.0.1" }
]]

local function site(answer)
  return head .. ([[gw.route("GET /", { respond = function() return gw.response(200, "%s") end })]]):format(answer)
end

local function status(g)
  return cjson.decode((g:command("status", "--json")))
end

local function reload(g, expected)
  local text, code = g:command("reload", "--wait")
  assert.equal(expected or 0, code, text)
  return text
end

-- One GET on a connection that stays open; body and fields.
local function get(s, path)
  s:send("GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n")
  local answer = gateway.parse(assert(upstream.head(s)):gsub("\n", "\r\n") .. "\r\n\r\n")
  return s:receive(tonumber(answer.headers["content-length"])), answer.headers
end

local function wait_for_connections(g, count)
  gateway.eventually(function()
    local sum = 0
    for _, w in ipairs(status(g).workers) do sum = sum + w.connections end
    return sum == count
  end, count .. " connections")
end

-- Resident memory of a process in KiB.
local function rss_kib(pid)
  return tonumber(gateway.read("/proc/" .. pid .. "/status"):match("VmRSS:%s*(%d+) kB"))
end

describe("a reload", function()
  after_each(gateway.stop_all)

  it("makes a saved file live in all workers", function()
    local g = gateway.start { ["gateway.lua"] = site "one" }
    assert.equal("one", g:ask("GET /").body)
    g:save("gateway.lua", site "two")
    gateway.eventually(function() return g:ask("GET /").body == "two" end, "new answer")
    for _ = 1, 20 do assert.equal("two", g:ask("GET /").body) end
  end)

  it("is answered by `reload --wait`: the generation, or file and line; exit code 0 or 1", function()
    local g = gateway.start { ["gateway.lua"] = site "one" }
    g:save("gateway.lua", site "two")
    assert.truthy(reload(g):find("^generation 2 %(%x+%) is live"))
    assert.equal("two", g:ask("GET /").body)
    g:save("gateway.lua", site "three" .. "\nlocal x = = 1\n")
    assert.equal("gateway.lua:4: unexpected symbol near '='\n", reload(g, 1))
    assert.equal("two", g:ask("GET /").body)
    local now = status(g)
    assert.same({ 2, 1 }, { now.generation, #now.workers == 2 and now.reloadFailures })
    assert.truthy(now.lastReload.error:find("gateway.lua:4", 1, true))
    assert.truthy(g:output():find("gateway.lua:4", 1, true))
    g:save("gateway.lua", site "four")
    assert.truthy(reload(g):find("^generation 3 "))
    assert.equal("four", g:ask("GET /").body)
    local text, code = g:command("reload")
    assert.equal(0, code, text)
  end)

  it("lets requests end with the generation that they began with", function()
    local up = upstream.listen()
    local function text(n)
      return head .. ([[
        gw.upstream("up", { "%s" })
        gw.use { function(_, next) local res = next() res:set_header("x-generation", "%s") return res end }
        gw.route("GET /up/*rest", { to = "up" })
        gw.route("GET /sleep", function() gw.sleep(1) return gw.response(200, "%s") end)
        gw.route("GET /", function() return gw.response(200, "%s") end)
      ]]):format(up:url(), n, n, n)
    end
    local g = gateway.start { ["gateway.lua"] = text "one" }
    local slow, stream, sleeper = g:connect(), g:connect(), g:connect()
    slow:send("GET /up/slow HTTP/1.1\r\nHost: a\r\n\r\n")
    local slow_server = up:accept()
    assert(upstream.head(slow_server))
    stream:send("GET /up/stream HTTP/1.1\r\nHost: a\r\n\r\n")
    local stream_server = up:accept()
    assert(upstream.head(stream_server))
    stream_server:send("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" .. ("a"):rep(100000))
    assert.truthy(upstream.head(stream):find("x-generation: one", 1, true))
    assert.equal(100000, #stream:receive(100000))
    sleeper:send("GET /sleep HTTP/1.1\r\nHost: a\r\n\r\n")
    wait_for_connections(g, 3)

    g:save("gateway.lua", text "two")
    reload(g)
    assert.equal("two", g:ask("GET /").body)

    slow_server:send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")
    assert.truthy(upstream.head(slow):find("x-generation: one", 1, true))
    assert.equal("slow", (slow:receive(4)))
    stream_server:send(("b"):rep(100000))
    assert.equal(("b"):rep(100000), (stream:receive(100000)))
    assert.truthy(upstream.head(sleeper):find("x-generation: one", 1, true))
    assert.equal("one", (sleeper:receive(3)))
    for _, s in ipairs { slow, stream, sleeper } do -- the next request of the same connections
      local body, fields = get(s, "/")
      assert.same({ "two", "two" }, { body, fields["x-generation"] })
    end
    up:close()
  end)

  it("keeps the connections of clients and those to upstreams", function()
    local up = upstream.listen()
    local function text(n)
      return head .. ([[
        gw.upstream("up", { "%s" })
        gw.use { function(_, next) local res = next() res:set_header("x-generation", "%s") return res end }
        gw.route("GET /", { to = "up" })
      ]]):format(up:url(), n)
    end
    local g = gateway.start({ ["gateway.lua"] = text "0" }, { args = { "--workers", "1" } })
    local client, server = g:connect(), nil
    for n = 0, 5 do
      if n > 0 then
        g:save("gateway.lua", text(n))
        reload(g)
      end
      client:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      server = server or up:accept()
      assert(upstream.head(server))
      server:send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
      assert.truthy(upstream.head(client):find("x-generation: " .. n, 1, true))
      assert.equal("ok", (client:receive(2)))
    end
    assert.is_nil(up:accept(0.1)) -- one connection for all
    up:close()
  end)

  it("loses no request under load: ten reloads, answers of scripts and of an upstream", function()
    local back = gateway.start({ ["gateway.lua"] = site "back" }, { args = { "--workers", "1" } })
    local function text(n)
      return site("n" .. n) .. ([[
        gw.upstream("back", { "http://127.0.0.1:%d" })
        gw.route("GET /back", { function(req) req:set_path("/") end, to = "back" })
      ]]):format(back.port)
    end
    local g = gateway.start { ["gateway.lua"] = text(0) }
    local runs = {}
    for i, path in ipairs { "/", "/back" } do
      runs[i] = { out = g.base .. "/wrk" .. i }
      runs[i].pid = gateway.spawn({ "wrk", "-t1", "-c16", "-d4", ("http://127.0.0.1:%d%s"):format(g.port, path) }, {},
                                  runs[i].out)
    end
    wait_for_connections(g, 32)
    for n = 1, 10 do
      g:save("gateway.lua", text(n))
      reload(g)
      assert.equal("n" .. n, g:ask("GET /").body)
    end
    for _, run in ipairs(runs) do
      wait.wait(run.pid)
      local report = gateway.read(run.out)
      assert.truthy(report:find("%d+ requests in"), report)
      assert.falsy(report:find("Socket errors"), report)
      assert.falsy(report:find("Non%-2xx"), report)
    end
  end)

  it("mends a site that loads, and then kills each worker that serves it", function()
    local function text(body)
      return head .. [[
        gw.settings { unsafe_files = { "routes/deadly.lua" } }
        gw.route("GET /fine", function() return gw.response(200, "fine") end)
      ]], ([[require("moonlatch").route("GET /", function() %s end)]]):format(body)
    end
    local main, good = text 'return require("moonlatch").response(200, "good")'
    local _, deadly = text 'os.exit(3)'
    local g = gateway.start { ["gateway.lua"] = main, ["routes/deadly.lua"] = good }
    g:save("routes/deadly.lua", deadly)
    reload(g)
    for n = 1, 3 do
      gateway.eventually(function()
        local s = socket.connect("127.0.0.1", g.port)
        if not s then return false end
        s:settimeout(10)
        s:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.is_nil((s:receive("*l"))) -- the worker died
        s:close()
        return g:output():find('"worker died"', 1, true)
      end, "death " .. n)
    end
    gateway.eventually(function() return g:ask("GET /fine").body == "fine" end, "another route")
    g:save("routes/deadly.lua", good)
    reload(g)
    gateway.eventually(function()
      local s = g:connect()
      s:send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
      local all = s:receive("*a")
      return all and all:find("good", 1, true)
    end, "the mended site")
    for _ = 1, 10 do assert.equal("good", g:ask("GET /").body) end
  end)

  it("frees the generations before it: memory does not grow over 50 reloads", function()
    local function text(n)
      return site("n" .. n) .. ("\nlocal big = {} for i = 1, 20000 do big[i] = i .. '-%d' end"):format(n)
             .. "\ngw.route('GET /big', function() return gw.response(200, big[1]) end)"
    end
    local g = gateway.start({ ["gateway.lua"] = text(0) }, { args = { "--workers", "1" } })
    local s = g:connect() -- a client that stays does not hold a generation
    local warm
    for n = 1, 50 do
      g:save("gateway.lua", text(n))
      reload(g)
      assert.equal("n" .. n, (get(s, "/")))
      if n == 10 then warm = rss_kib(status(g).workers[1].pid) end
    end
    local now = status(g)
    local grown = rss_kib(now.workers[1].pid) - warm -- one generation of these holds about 1.5 MiB
    assert.same({ 51, 51, 0 }, { now.generation, now.workers[1].generation, now.workers[1].restarts })
    assert.truthy(grown < 12 * 1024, ("grew by %d KiB"):format(grown))
  end)
end)
