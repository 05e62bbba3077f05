--- What is lost when something around the gateway is gone: what was on the dead part, and nothing else.
-- The table of docs/operations.md, "What happens when", in tests.
local backend = require "spec.support.backend"
local dns = require "spec.support.dns"
local gateway = require "spec.support.gateway"
local redis = require "spec.support.redis"
local signal = require "posix.signal"
local socket = require "socket"

local SITE = [[
local gw = require "moonlatch"
gw.settings { access_log = "%s" }
gw.listen { host = "127.0.0.1", port = PORT }
gw.upstream("one", { "%s", fail_timeout = 0.3, connect_timeout = 0.5, first_byte_timeout = 0.5 })
gw.upstream("two", { "%s", connect_timeout = 0.5, first_byte_timeout = 0.5 })
gw.route("GET /one", { to = "one" })
gw.route("GET /two", { to = "two" })
gw.route("GET /own", { respond = function() return gw.response(200, "ok") end })
%s
gw.mount("metrics")
]]

describe("when", function()
  after_each(function()
    gateway.stop_all()
    backend.stop_all()
    redis.stop_all()
    dns.stop_all()
  end)

  local function start(one, two, more, log, env)
    return gateway.start({ ["gateway.lua"] = SITE:format(log or "off", one, two, more or "") }, { env = env })
  end

  --- Statuses of n requests.
  local function statuses(g, path, n)
    local seen = {}
    for _ = 1, n or 20 do
      local status = (g:get(path)) or "nothing"
      seen[status] = (seen[status] or 0) + 1
    end
    return seen
  end

  it("an upstream is gone: its requests fail at once, the others' do not, and it is back when it is", function()
    local one, two = backend.start("one"), backend.start("two")
    local g = start(one:url(), two:url())
    assert.equal(200, (g:get("/one")))
    one:kill()
    local begin = socket.gettime()
    for status in pairs(statuses(g, "/one")) do assert.is_true(status == 502 or status == 503, tostring(status)) end
    assert.is_true(socket.gettime() - begin < 5)
    assert.same({ [200] = 20 }, statuses(g, "/two"))
    assert.same({ [200] = 20 }, statuses(g, "/own"))
    one:restart()
    gateway.eventually(function() return (g:get("/one")) == 200 end, "its return", 5)
  end)

  it("an upstream hangs: its requests time out, and nobody else waits", function()
    local one, two = backend.start("one"), backend.start("two")
    local g = start(one:url(), two:url())
    assert.equal(200, (g:get("/one")))
    one:hang()
    local stuck = {}
    for i = 1, 20 do
      stuck[i] = g:connect()
      stuck[i]:send("GET /one HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    end
    assert.same({ [200] = 20 }, statuses(g, "/two"))
    for i = 1, 20 do
      local all, err, part = stuck[i]:receive("*a")
      local status = tonumber(assert(all or part ~= "" and part, err):match("^HTTP/1.1 (%d+)"))
      assert.is_true(status >= 502 and status <= 504, tostring(status))
    end
    one:go_on()
    gateway.eventually(function() return (g:get("/one")) == 200 end, "its return", 5)
  end)

  it("Redis is gone: what only it knows is answered with an error, at once, and the rest goes on", function()
    local server, one = redis.start(), backend.start("one")
    local g = start(one:url(), one:url(), ([[
      local r = gw.redis("redis://127.0.0.1:%d")
      gw.route("GET /kept", { respond = function()
        local n, err = r:incr("n")
        if err then return gw.error(503, "unavailable", "no Redis") end
        return gw.response(200, tostring(n))
      end })
    ]]):format(server.port))
    assert.equal(200, (g:get("/kept")))
    server:kill()
    local begin = socket.gettime()
    assert.same({ [503] = 20 }, statuses(g, "/kept"))
    assert.is_true(socket.gettime() - begin < 5)
    assert.same({ [200] = 20 }, statuses(g, "/one"))
    server:run()
    gateway.eventually(function() return (g:get("/kept")) == 200 end, "its return", 10)
  end)

  it("the disk of the log is full: lines are lost and counted, requests are not", function()
    local one = backend.start("one")
    local g = start(one:url(), one:url(), nil, "/dev/full")
    local long = "/own?" .. ("x"):rep(8000) -- so that what waits for the disk is soon too much
    assert.same({ [200] = 20 }, statuses(g, "/one"))
    gateway.eventually(function()
      assert.same({ [200] = 50 }, statuses(g, long, 50))
      local _, page = g:get("/metrics")
      local lost = 0
      for n in page:gmatch("moonlatch_log_[%w_]*dropped[%w_]*{?[^\n ]* (%d+)") do lost = lost + tonumber(n) end
      return lost > 0
    end, "the count of what was lost")
  end)

  it("DNS is gone: addresses that are known stay in use", function()
    local one, server = backend.start("one"), dns.start()
    server:zone { ["one.test"] = { "127.0.0.1" } }
    local g = start(("http://one.test:%d"):format(one.port), one:url(), nil, nil, { MOONLATCH_DNS = server.address })
    gateway.eventually(function() return (g:get("/one")) == 200 end, "the name")
    for _ = 1, 10 do g:get("/one") end -- both workers know it
    dns.stop_all()
    local deadline = socket.gettime() + 2.5 -- the records live for one second
    repeat
      assert.same({ [200] = 10 }, statuses(g, "/one", 10))
      assert.same({ [200] = 10 }, statuses(g, "/own", 10))
    until socket.gettime() > deadline
  end)

  it("a worker dies: what it had in hand is lost, and no new connection", function()
    local one = backend.start("one")
    local g = start(one:url(), one:url())
    for pid in g:command("status", "--json"):gmatch('"pid":%s*(%d+)') do
      if tonumber(pid) ~= g.pid then
        signal.kill(tonumber(pid), signal.SIGKILL)
        assert.same({ [200] = 40 }, statuses(g, "/own", 40))
      end
    end
  end)
end)
