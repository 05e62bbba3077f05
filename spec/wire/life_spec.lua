--- The life of the processes: a killed worker, a graceful end.
local gateway = require "spec.support.gateway"
local socket = require "socket"

local function site()
  return [[
    local gw = require "moonlatch"
    gw.listen { port = PORT, host = "127.0.0.1" }
    gw.route("GET /", { respond = function() return gw.response(200, "ok") end })
    gw.route("GET /slow", { respond = function() gw.sleep(1) return gw.response(200, "slow") end })
  ]]
end

local function workers(g)
  local pids = {}
  for pid in g:command("status", "--json"):gmatch('"pid":%s*(%d+)') do
    if tonumber(pid) ~= g.pid then pids[#pids + 1] = tonumber(pid) end
  end
  return pids
end

describe("the processes", function()
  after_each(gateway.stop_all)

  it("replace a killed worker; its port goes on answering", function()
    local g = gateway.start { ["gateway.lua"] = site() }
    local before = workers(g)
    assert.equal(2, #before)
    require("posix.signal").kill(before[1], 9)
    gateway.eventually(function()
      local now = workers(g)
      return #now == 2 and now[1] ~= before[1]
    end, "a new worker")
    for _ = 1, 20 do assert.equal(200, (g:get("/"))) end
  end)

  it("end gracefully: what is in flight is finished, exit code 0", function()
    local g = gateway.start { ["gateway.lua"] = site() }
    local s = g:connect()
    s:send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    gateway.eventually(function()
      return g:command("status", "--json"):find('"connections":%s*1')
    end, "the request in flight")
    g:signal("TERM")
    local answer = s:receive("*a")
    assert.truthy(answer:find("slow", 1, true))
    assert.truthy(answer:lower():find("connection: close", 1, true))
    local how, code = g:wait()
    assert.equal("exited", how)
    assert.equal(0, code)
    assert.is_nil(socket.connect("127.0.0.1", g.port))
  end)
end)
