--- A service manager: what it is told, its watchdog, and sockets that it passes.
local gateway = require "spec.support.gateway"
local posix = {
  socket = require "posix.sys.socket", unistd = require "posix.unistd", signal = require "posix.signal",
  stdlib = require "posix.stdlib", poll = require "posix.poll",
}

local SITE = [[
local gw = require "moonlatch"
gw.settings { heartbeat_timeout = 60 }
gw.listen { host = "127.0.0.1", port = PORT }
gw.route("GET /", { respond = function() return gw.response(200, "ok") end })
]]

describe("under a service manager", function()
  local managers = {}

  after_each(function()
    gateway.stop_all()
    for _, m in ipairs(managers) do posix.unistd.close(m.fd) end
    managers = {}
  end)

  --- The socket that a manager listens on; heard() is all that came so far, one message per line.
  local function manager()
    local m = { path = gateway.folder() .. "/notify", all = {} }
    m.fd = posix.socket.socket(posix.socket.AF_UNIX, posix.socket.SOCK_DGRAM, 0)
    assert(posix.socket.bind(m.fd, { family = posix.socket.AF_UNIX, path = m.path }))
    managers[#managers + 1] = m
    function m.heard()
      while posix.poll.rpoll(m.fd, 0) == 1 do
        m.all[#m.all + 1] = (posix.socket.recv(m.fd, 4096):gsub("\n", " "))
      end
      return m.all
    end
    --- Waits for a message from the first-th on with this text; it, and its number.
    function m.wait(text, first)
      local found, at
      gateway.eventually(function()
        for i = first or 1, #m.heard() do
          if m.all[i]:find(text, 1, true) then
            found, at = m.all[i], i
            return true
          end
        end
      end, text .. " in " .. table.concat(m.all, "|"))
      return found, at
    end
    return m
  end

  it("says when it serves, reloads and stops", function()
    local m = manager()
    local g = gateway.start({ ["gateway.lua"] = SITE }, { env = { NOTIFY_SOCKET = m.path } })
    local ready = m.wait("READY=1")
    assert.truthy(ready:find("STATUS=generation 1, 2 of 2 workers serve", 1, true), ready)
    assert.equal(ready, m.all[1])

    g:save("gateway.lua", SITE .. "\n-- changed")
    local reloading, at = m.wait("RELOADING=1")
    assert.truthy(tonumber(reloading:match("MONOTONIC_USEC=(%d+)")) > 0)
    m.wait("READY=1 STATUS=generation 2", at)

    at = #m.heard()
    g:save("gateway.lua", "nonsense")
    m.wait("RELOADING=1", at + 1)
    m.wait("READY=1 STATUS=generation 2, 2 of 2 workers serve; the last reload failed: ", at + 1)

    g:signal("TERM")
    m.wait("STOPPING=1")
    assert.same({ "exited", 0 }, { g:wait() })
  end)

  it("answers a reload by signal with a time that is later than the signal", function()
    local m = manager()
    local g = gateway.start({ ["gateway.lua"] = SITE }, { env = { NOTIFY_SOCKET = m.path } })
    m.wait("READY=1")
    local at = #m.heard()
    g:signal("HUP") -- nothing has changed: it is answered all the same
    m.wait("RELOADING=1", at + 1)
    m.wait("READY=1", at + 1)
  end)

  it("is told of a failed start by the end alone", function()
    local m = manager()
    local g = gateway.start({ ["gateway.lua"] = "nonsense" }, { env = { NOTIFY_SOCKET = m.path }, wait = false })
    assert.same({ "exited", 1 }, { g:wait() })
    assert.same({}, m.heard())
  end)

  it("pings while its workers live, and not when none does", function()
    local m = manager()
    local g = gateway.start({ ["gateway.lua"] = (SITE:gsub("heartbeat_timeout = 60", "heartbeat_timeout = 1")) },
      { env = { NOTIFY_SOCKET = m.path, WATCHDOG_USEC = "100000" } })
    local _, at = m.wait("WATCHDOG=1")
    m.wait("WATCHDOG=1", at + 1)
    for pid in g:command("status", "--json"):gmatch('"pid":%s*(%d+)') do
      if tonumber(pid) ~= g.pid then posix.signal.kill(tonumber(pid), posix.signal.SIGSTOP) end
    end
    g:wait_for_log('"worker stuck"') -- they are killed and replaced: the pings go on
    m.wait("WATCHDOG=1", #m.heard() + 1)
    assert.equal(200, (g:get("/")))
  end)

  it("does not ping for another process", function()
    local mine, other = manager(), manager()
    gateway.start({ ["gateway.lua"] = SITE },
      { env = { NOTIFY_SOCKET = other.path, WATCHDOG_USEC = "20000", WATCHDOG_PID = "1" } })
    gateway.start({ ["gateway.lua"] = SITE }, { env = { NOTIFY_SOCKET = mine.path, WATCHDOG_USEC = "20000" } })
    other.wait("READY=1")
    local at = 0
    for _ = 1, 5 do at = select(2, mine.wait("WATCHDOG=1", at + 1)) end
    assert.equal(1, #other.heard())
  end)

  it("names its successor", function()
    local m = manager()
    local g = gateway.start({ ["gateway.lua"] = SITE },
      { env = { NOTIFY_SOCKET = m.path, WATCHDOG_USEC = "100000", WATCHDOG_PID = "1" },
        args = { "--workers", "2", "--pid-file", gateway.folder() .. "/pid" } })
    m.wait("READY=1")
    local pid = tonumber(g:command("upgrade"):match("^process (%d+)"))
    local _, at = m.wait("READY=1", 2)
    m.wait("MAINPID=" .. pid)
    m.wait("WATCHDOG=1", at + 1) -- of the new one, which WATCHDOG_PID means now
    assert.same({ "exited", 0 }, { g:wait() })
    posix.signal.kill(pid, posix.signal.SIGTERM)
    m.wait("STOPPING=1")
    gateway.eventually(function() return posix.signal.kill(pid, 0) ~= 0 end, "its end")
  end)

  it("finds its process in a file", function()
    local path = gateway.folder() .. "/pid"
    local g = gateway.start({ ["gateway.lua"] = SITE }, { args = { "--pid-file", path } })
    assert.equal(g.pid .. "\n", gateway.read(path))
    local pid = g:command("upgrade"):match("^process (%d+)")
    g:wait()
    assert.equal(pid .. "\n", gateway.read(path))
    posix.signal.kill(tonumber(pid), posix.signal.SIGTERM)
    gateway.eventually(function() return posix.signal.kill(tonumber(pid), 0) ~= 0 end, "its end")
    assert.equal("", gateway.read(path))
  end)

  -- as systemd does: the socket is descriptor 3 of a process whose id is in LISTEN_PID
  local function activate(g_files, address, listen)
    local dir = gateway.folder()
    local script = dir .. "/start.py"
    gateway.write(script, ([[
import os, socket, sys
s = socket.socket(socket.AF_INET6 if ":" in "%s" else socket.AF_INET)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if s.family == socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(("%s", int(sys.argv[1])))
s.listen(10)
r, w = os.pipe()
os.dup2(s.fileno(), 3)
os.dup2(r, 4)
os.set_inheritable(3, True)
os.set_inheritable(4, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="%d", LISTEN_FDNAMES="web:odd")
os.execv(sys.argv[2], sys.argv[2:])
]]):format(address, address, listen))
    local real = gateway.binary
    gateway.write(dir .. "/moonlatch", ("#!/bin/sh\nexec python3 '%s' \"$TEST_PORT\" '%s' \"$@\"\n"):format(script, real))
    os.execute("chmod +x '" .. dir .. "/moonlatch'")
    local port = gateway.free_port()
    gateway.binary = dir .. "/moonlatch"
    local g = gateway.start({ ["gateway.lua"] = (g_files:gsub("PORT", tostring(port))) },
      { env = { TEST_PORT = tostring(port) } })
    gateway.binary = real
    return g, port
  end

  for address, host in pairs { ["127.0.0.1"] = "127.0.0.1", ["::"] = "0.0.0.0" } do
    it("serves at a socket that was passed: " .. address, function()
      local g, port = activate(SITE:gsub("127%.0%.0%.1", host), address, 2)
      local served = {}
      for _ = 1, 20 do assert.equal(200, (g:get("/", nil, port))) end
      assert.truthy(g:output():find("what was passed is no listening socket", 1, true))
      assert.truthy(g:output():find('"odd"', 1, true))
      -- all workers share it, and it is the one that was passed: nobody else listens there
      for pid in g:command("status", "--json"):gmatch('"pid":%s*(%d+)') do served[pid] = true end
      local holders, distinct = {}, 0
      for pid in pairs(served) do
        local p = io.popen("ls -l /proc/" .. pid .. "/fd 2>/dev/null")
        for inode in p:read("*a"):gmatch("socket:%[(%d+)%]") do
          holders[inode] = holders[inode] or {}
          holders[inode][pid] = true
        end
        p:close()
      end
      local list = io.popen("cat /proc/net/tcp /proc/net/tcp6 2>/dev/null")
      for line in list:lines() do
        local at, state, inode = line:match("^%s*%d+: %x+:(%x+) %S+ (%x+) %S+ %S+ %S+%s+%d+%s+%d+ (%d+)")
        if at and tonumber(at, 16) == port and state == "0A" then
          distinct = distinct + 1
          assert.same(served, holders[inode]) -- two workers and the supervisor
        end
      end
      list:close()
      assert.equal(1, distinct)
      g:signal("TERM")
      assert.same({ "exited", 0 }, { g:wait() })
    end)
  end
end)
