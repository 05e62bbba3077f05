--- The last words of a worker that crashes.
local gateway = require "spec.support.gateway"
local signal = require "posix.signal"

local SITE = [[
local gw = require "moonlatch"
gw.settings { script_budget_ms = 60000, heartbeat_timeout = 60 }
gw.listen { host = "127.0.0.1", port = PORT }
gw.route("GET /", { respond = function() return gw.response(200, "ok") end })
gw.route("GET /busy/:id", { respond = function()
  gw.log.info("busy now")
  local n = 0
  while n >= 0 do n = math.floor(n + 1) % 1000 end
end })
]]

--- Programs with sanitizers keep the handlers of those.
local function sanitized()
  local p = io.popen("nm -D '" .. gateway.binary .. "' 2>/dev/null | grep -c __asan_init")
  local n = tonumber(p:read("*l"))
  p:close()
  return n and n > 0
end

describe("a worker that crashes", function()
  after_each(gateway.stop_all)

  local function worker(g)
    local pids = {}
    for pid in g:command("status", "--json"):gmatch('"pid":%s*(%d+)') do
      if tonumber(pid) ~= g.pid then pids[#pids + 1] = tonumber(pid) end
    end
    assert.equal(1, #pids)
    return pids[1]
  end

  local function field(event, name)
    return event:match('"' .. name .. '":"([^"]*)"') or tonumber(event:match('"' .. name .. '":(%d+)'))
  end

  local function crash(g, name)
    local pid = worker(g)
    signal.kill(pid, signal[name])
    local log = g:wait_for_log('"worker died"')
    return log:match('[^\n]*"worker crashed"[^\n]*'), pid, log
  end

  it("names the request, the route, the script's position, and where it was", function()
    if sanitized() then return end
    local g = gateway.start({ ["gateway.lua"] = SITE }, { args = { "--workers", "1" } })
    local s = g:connect()
    s:send("GET /busy/7 HTTP/1.1\r\nHost: a\r\n\r\n")
    g:wait_for_log("busy now")
    local event, pid, log = crash(g, "SIGSEGV")
    assert.truthy(event, log)
    assert.equal(pid, field(event, "workerPid"))
    assert.equal(11, field(event, "signal"))
    assert.equal(1, field(event, "generation"))
    assert.equal("GET", field(event, "method"))
    assert.equal("/busy/:id", field(event, "route"))
    assert.equal(32, #field(event, "requestId"))
    assert.truthy(field(event, "position"):find("gateway.lua:%d+$"), event)
    assert.truthy(field(event, "buildId"):find("^%x+$"))
    assert.truthy(field(event, "backtrace"):find("^0x%x+ 0x%x+"))
    assert.truthy(log:find("dies of signal 11", 1, true)) -- also what only stderr gets
    assert.truthy(log:find("signal 11 (Segmentation fault)", 1, true)) -- it died of the signal, as without the handler
    gateway.eventually(function() return (g:get("/")) == 200 end, "its successor")
  end)

  for _, name in ipairs { "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL" } do
    it("tells when nothing was in hand: " .. name, function()
      if sanitized() then return end
      local g = gateway.start({ ["gateway.lua"] = SITE }, { args = { "--workers", "1" } })
      local event, _, log = crash(g, name)
      assert.truthy(event, log)
      assert.equal(signal[name], field(event, "signal"))
      assert.equal("", field(event, "requestId"))
      assert.equal("", field(event, "position"))
    end)
  end

  it("leaves core dumps as they are", function()
    local g = gateway.start({ ["gateway.lua"] = SITE }, { args = { "--workers", "1" } })
    local limits = gateway.read("/proc/" .. worker(g) .. "/limits")
    assert.equal(gateway.read("/proc/self/limits"):match("Max core file size[^\n]*"),
      limits:match("Max core file size[^\n]*"))
  end)
end)
