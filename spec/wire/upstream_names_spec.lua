--- Servers that DNS names: every address of a name, and SRV records.
local backend = require "spec.support.backend"
local dns = require "spec.support.dns"
local gateway = require "spec.support.gateway"
local cjson = require "cjson"

local function site(url, options)
  return ([[
    local gw = require "moonlatch"
    gw.listen { port = PORT, host = "127.0.0.1" }
    gw.upstream("up", { %q, %s })
    gw.route("GET /", { to = "up" })
  ]]):format(url, options)
end

local function spread(g, n)
  local got = {}
  for _ = 1, n do
    local code, body = g:get("/")
    body = code == 200 and body or tostring(code)
    got[body] = (got[body] or 0) + 1
  end
  return got
end

local function servers(g)
  local list = {}
  for _, s in ipairs(cjson.decode((g:command("status", "--json"))).upstreams) do list[s.server] = s end
  return list
end

local function becomes(g, wanted)
  gateway.eventually(function()
    local got = spread(g, 12)
    for name in pairs(got) do if not wanted[name] then return false end end
    for name in pairs(wanted) do if not got[name] then return false end end
    return true
  end, "other servers")
end

describe("servers from DNS", function()
  local names, one, two

  before_each(function()
    names = dns.start()
    one = backend.start("one", "127.0.0.2")
    two = backend.start("two", "127.0.0.3", one.port)
  end)
  after_each(function()
    dns.stop_all()
    backend.stop_all()
    gateway.stop_all()
  end)

  local function start(url, options)
    return gateway.start({ ["gateway.lua"] = site(url, options) }, { env = { MOONLATCH_DNS = names.address } })
  end

  it("are all addresses of a name, each with its own health, and follow it", function()
    names:zone { ["app.test"] = { "127.0.0.2", "127.0.0.3" } }
    local g = start("http://app.test:" .. one.port .. "/v1", [[resolve = "all", fail_timeout = 60]])
    becomes(g, { one = true, two = true })
    local list = servers(g)
    assert.truthy(list[one:url() .. "/v1"] and list[two:url() .. "/v1"])
    assert.truthy(one:last("/v1/"):find("|Host: app.test:" .. one.port .. "|", 1, true))
    one:kill()
    assert.same({ two = 8 }, spread(g, 8))
    list = servers(g)
    assert.equal("down", list[one:url() .. "/v1"].state)
    assert.equal("up", list[two:url() .. "/v1"].state)
    one:restart()
    names:zone { ["app.test"] = { "127.0.0.2" } }
    becomes(g, { one = true })
    assert.is_nil(servers(g)[two:url() .. "/v1"])
    names:zone {} -- no answer is no reason to forget the one before
    assert.same({ one = 4 }, spread(g, 4))
  end)

  it("may not be known yet when the first request comes", function()
    local g = start("http://late.test:" .. one.port, [[resolve = "all", connect_timeout = 0.3]])
    assert.same({ ["503"] = 1 }, spread(g, 1))
    names:zone { ["late.test"] = { "127.0.0.3" } }
    becomes(g, { two = true })
  end)

  it("are those of SRV records: hosts, ports, weights and priorities", function()
    local three = backend.start("three", "127.0.0.4")
    local records = { { host = "one.test", port = one.port, priority = 1, weight = 3 },
                      { host = "two.test", port = two.port, priority = 1, weight = 1 },
                      { host = "three.test", port = three.port, priority = 2, weight = 1 } }
    local zone = { ["one.test"] = { "127.0.0.2" }, ["two.test"] = { "127.0.0.3" }, ["three.test"] = { "127.0.0.4" },
                   ["_http._tcp.app.test"] = records }
    names:zone(zone)
    local g = start("srv://_http._tcp.app.test", "fail_timeout = 60")
    becomes(g, { one = true, two = true })
    local list = servers(g)
    assert.same({ 3, false }, { list["http://one.test:" .. one.port].weight, list["http://one.test:" .. one.port].backup })
    assert.truthy(list["http://three.test:" .. three.port].backup)
    one:kill()
    two:kill()
    becomes(g, { three = true })
    zone["_http._tcp.app.test"] = { records[3] }
    names:zone(zone)
    gateway.eventually(function() return not servers(g)["http://one.test:" .. one.port] end, "the records that are left")
    assert.falsy(servers(g)["http://three.test:" .. three.port].backup)
  end)

  it("need not be awaited any longer when a script sets others", function()
    local mute = require("socket").udp()
    assert(mute:setsockname("127.0.0.1", 0))
    local _, port = mute:getsockname()
    local text = site("srv://_http._tcp.mute.test", "connect_timeout = 20") .. ([[
      gw.route("POST /set", { respond = function()
        return gw.response(gw.upstreams.up:set_servers { %q } and 200 or 500)
      end })
    ]]):format(one:url())
    local g = gateway.start({ ["gateway.lua"] = text }, { env = { MOONLATCH_DNS = "127.0.0.1:" .. port },
                                                          args = { "--workers", "1" } })
    local s = g:connect()
    s:send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    gateway.eventually(function()
      return cjson.decode((g:command("status", "--json"))).workers[1].connections > 0
    end, "a request that waits")
    assert.equal(200, g:ask("POST /set").status)
    assert.truthy(s:receive("*a"):find("\r\n\r\none$"))
    s:close()
    mute:close()
  end)
end)
