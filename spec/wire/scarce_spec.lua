--- Descriptors or memory run out: idle clients make room, new ones are told, what is in hand is finished.
local gateway = require "spec.support.gateway"

local SITE = [[
local gw = require "moonlatch"
gw.settings { %s script_budget_ms = 5000, script_memory = 256 * 1024 * 1024 }
gw.listen { host = "127.0.0.1", port = PORT }
gw.route("GET /", { respond = function() return gw.response(200, "ok") end })
gw.route("GET /wait", { respond = function()
  while not gw.shared("state"):get("go") do gw.sleep(0.02) end
  return gw.response(200, "done")
end })
gw.route("GET /go", { respond = function() gw.shared("state"):set("go", true) return gw.response(200, "ok") end })
gw.route("GET /fill", { respond = function()
  local parts = {}
  for i = 1, 96 do parts[i] = ("x"):rep(1024 * 1024 - i) end
  gw.log.info("filled")
  while #parts > 0 do gw.sleep(0.02) end
end })
gw.mount("metrics")
]]

describe("a worker", function()
  local real = gateway.binary
  after_each(function()
    gateway.binary = real
    gateway.stop_all()
  end)

  --- A gateway with one worker, of which each process may have so many descriptors.
  local function start(settings, descriptors)
    if descriptors then
      local dir = gateway.folder()
      gateway.write(dir .. "/moonlatch", ("#!/bin/sh\nulimit -n %d\nexec '%s' \"$@\"\n"):format(descriptors, real))
      os.execute("chmod +x '" .. dir .. "/moonlatch'")
      gateway.binary = dir .. "/moonlatch"
    end
    local g = gateway.start({ ["gateway.lua"] = SITE:format(settings) }, { args = { "--workers", "1" } })
    gateway.binary = real
    return g
  end

  --- A request on a connection that stays open; the answer's status.
  local function ask(s, path)
    s:send("GET " .. (path or "/") .. " HTTP/1.1\r\nHost: a\r\n\r\n")
    local line = s:receive("*l")
    local length = 0
    repeat
      local field = s:receive("*l")
      length = field and tonumber(field:lower():match("^content%-length: (%d+)")) or length
    until not field or field == ""
    s:receive(length)
    return line and tonumber(line:match("^HTTP/1.1 (%d+)"))
  end

  local function is_open(s)
    s:settimeout(0)
    local _, err = s:receive(1)
    s:settimeout(10)
    return err == "timeout"
  end

  it("closes the clients that were idle for longest when descriptors are short", function()
    local g, clients = start("", 96), {}
    for i = 1, 200 do
      clients[i] = g:connect()
      assert.equal(200, ask(clients[i]))
    end
    assert.is_false(is_open(clients[1]))
    assert.is_true(is_open(clients[200]))
    local oldest
    for i = 1, 200 do
      if is_open(clients[i]) then oldest = oldest or i else assert.is_nil(oldest, "an older one stays open") end
    end
    local _, page = g:get("/metrics")
    assert.truthy(tonumber(page:match("moonlatch_connections_reclaimed_total (%d+)")) >= oldest - 1)
    assert.is_nil(g:output():find("worker died", 1, true))
  end)

  local function cpu_of_worker(g)
    local sum = 0
    for pid in g:command("status", "--json"):gmatch('"pid":%s*(%d+)') do
      if tonumber(pid) ~= g.pid then
        local user, system = gateway.read("/proc/" .. pid .. "/stat"):match("%) " .. ("%S+ "):rep(11) .. "(%d+) (%d+)")
        sum = sum + tonumber(user) + tonumber(system)
      end
    end
    return sum
  end

  it("tells new clients when all are busy, does not spin, and goes on when some have left", function()
    local g, busy, refused = start("", 96), {}, 0
    for i = 1, 150 do
      busy[i] = g:connect()
      busy[i]:send("GET /wait HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    end
    g:wait_for_log('"clients are not accepted"')
    local before = cpu_of_worker(g)
    for _ = 1, 20 do
      local text = g:raw("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
      if text:find("HTTP/1.1 503", 1, true) then refused = refused + 1 end
    end
    assert.equal(20, refused)
    assert.is_true(cpu_of_worker(g) - before < 50) -- hundredths of a second
    for i, s in pairs(busy) do -- those that were told make no difference; one that waits leaves
      if is_open(s) then
        s:close()
        busy[i] = nil
        break
      end
    end
    gateway.eventually(function() return (g:get("/")) == 200 end, "room")
    assert.equal(200, (g:get("/go")))
    local done = 0
    for _, s in pairs(busy) do
      if (s:receive("*a") or ""):find("done", 1, true) then done = done + 1 end
    end
    assert.is_true(done > 20, "done: " .. done)
    assert.is_nil(g:output():find("worker died", 1, true))
  end)

  it("above memory_limit refuses new work, finishes what it has, and recovers", function()
    local g = start("memory_limit = 80 * 1024 * 1024,")
    local kept, waiting, filled = g:connect(), g:connect(), g:connect()
    assert.equal(200, ask(kept))
    waiting:send("GET /wait HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    filled:send("GET /fill HTTP/1.1\r\nHost: a\r\n\r\n")
    g:wait_for_log('"memory is short: new work is refused"')
    gateway.eventually(function() return (g:get("/")) == 503 end, "a refusal")
    gateway.eventually(function() return not is_open(kept) end, "the end of an idle connection")
    filled:close()
    g:wait_for_log('"memory is free again"')
    assert.equal(200, (g:get("/go")))
    assert.truthy(waiting:receive("*a"):find("done", 1, true))
  end)
end)
