--- Another program takes the place of the one that runs: nothing is lost, and a bad one changes nothing.
local gateway = require "spec.support.gateway"
local posix = { signal = require "posix.signal" }
local socket = require "socket"
local websocket = require "spec.support.websocket"

local TEXT = 1

local SITE = [[
local gw = require "moonlatch"
gw.settings { upgrade_timeout = %g, shutdown_timeout = 5 }
gw.listen { host = "127.0.0.1", port = PORT }
gw.route("GET /", { respond = function() return gw.response(200, "ok") end })
gw.route("GET /ws", { respond = gw.websocket({}, function(ws)
  for message in ws:messages() do ws:send(message) end
end) })
gw.route("GET /slow", { respond = function() gw.sleep(1) return gw.response(200, "slow") end })
]]

describe("an upgrade", function()
  local successors, binary, program = {}, gateway.binary, nil -- the path that a gateway runs

  local function gone(pid) return posix.signal.kill(pid, 0) ~= 0 end

  after_each(function()
    gateway.binary = binary
    gateway.stop_all()
    for _, pid in ipairs(successors) do
      posix.signal.kill(pid, posix.signal.SIGKILL)
      gateway.eventually(function() return gone(pid) end, "the end of a successor")
    end
    successors = {}
  end)

  --- A gateway whose program can be replaced.
  local function start(timeout_s)
    local dir = gateway.folder()
    assert(os.execute(("cp '%s' '%s/moonlatch'"):format(binary, dir)))
    program = dir .. "/moonlatch"
    gateway.binary = program
    local g = gateway.start({ ["gateway.lua"] = SITE:format(timeout_s or 600) })
    gateway.binary = binary
    return g
  end

  local function upgrade(g)
    local text, code = g:command("upgrade")
    local pid = tonumber(text:match("^process (%d+) serves"))
    if pid then successors[#successors + 1] = pid end
    return pid, code, text
  end

  local function pid_of_status(g) return tonumber((g:command("status", "--json"):match('"pid":%s*(%d+)'))) end

  --- Replaces the program, in one step as packages do.
  local function replace(text, mode)
    gateway.write(program .. ".new", text)
    assert(os.execute(("chmod %s '%s.new' && mv '%s.new' '%s'"):format(mode, program, program, program)))
  end

  --- Clients that ask all the time, on kept connections and on new ones, until over() is true.
  local function load_until(g, over)
    local clients, count, failures = {}, 0, {}
    repeat
      for i = 1, 8 do
        local s = clients[i] or g:connect()
        s:send("GET / HTTP/1.1\r\nHost: a\r\n" .. (i > 4 and "Connection: close\r\n" or "") .. "\r\n")
        clients[i] = s
      end
      for i, s in pairs(clients) do
        local head, line, err = {}, s:receive("*l")
        while line and line ~= "" do
          head[#head + 1] = line
          line, err = s:receive("*l")
        end
        head = table.concat(head, "\n"):lower()
        count = count + 1
        if err or not head:find("^http/1.1 200") or s:receive(2) ~= "ok" then
          failures[#failures + 1] = err or head
          clients[i] = nil
        elseif head:find("connection: close", 1, true) then
          s:close()
          clients[i] = nil
        end
      end
    until over()
    for _, s in pairs(clients) do s:close() end
    return count, failures
  end

  it("loses no request and no tunnel, and the new process answers", function()
    local g, tunnels = start(), {}
    for i = 1, 20 do tunnels[i] = websocket.open(g:connect(), "/ws") end
    local slow = g:connect()
    slow:send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    local out = g.base .. "/upgrade"
    gateway.spawn({ binary, "upgrade", "--control", g.control }, nil, out)
    local count, failures = load_until(g, function()
      return gateway.read(out) ~= "" and g:output():find('"upgraded"', 1, true)
    end)
    local more, late = load_until(g, function() return true end)
    local pid = tonumber(gateway.read(out):match("^process (%d+) serves"))
    successors[1] = assert(pid, gateway.read(out))
    assert.same({}, failures)
    assert.same({}, late)
    assert.is_true(count > 20 and more > 0)
    assert.equal(pid, pid_of_status(g))
    assert.truthy(slow:receive("*a"):find("slow", 1, true))
    for i = 1, 20 do
      tunnels[i]:send(TEXT, "still here " .. i)
      assert.equal("still here " .. i, tunnels[i]:frame().payload)
    end
    assert.is_true(g:alive()) -- for the tunnels' sake
    for i = 1, 20 do tunnels[i]:bye() end
    assert.same({ "exited", 0 }, { g:wait() })
    assert.equal(200, (g:get("/")))
    g:save("gateway.lua", (SITE:format(600):gsub('"ok"', '"changed"')))
    gateway.eventually(function() return select(2, g:get("/")) == "changed" end, "a reload by the successor")
  end)

  it("is asked for by SIGUSR2, again and again", function()
    local g = start()
    local before = g.pid
    for _ = 1, 3 do
      posix.signal.kill(before, posix.signal.SIGUSR2)
      local now
      gateway.eventually(function()
        now = pid_of_status(g)
        return now and now ~= before
      end, "a successor")
      successors[#successors + 1] = now
      gateway.eventually(function() return before == g.pid and not g:alive() or gone(before) end, "the end of the old")
      assert.equal(200, (g:get("/")))
      before = now
    end
  end)

  it("gives tunnels an end when the time is over, and at SIGTERM", function()
    local g = start(0)
    local ws = websocket.open(g:connect(), "/ws")
    assert(upgrade(g))
    assert.same({ "close 1001", "end" }, { (ws:rest()[1]:gsub("^(close %d+).*", "%1")), "end" })
    assert.same({ "exited", 0 }, { g:wait() })

    local other = start(600)
    ws = websocket.open(other:connect(), "/ws")
    assert(upgrade(other))
    other:signal("TERM")
    assert.truthy(ws:rest()[1]:find("close 1001", 1, true))
    assert.same({ "exited", 0 }, { other:wait() })
    assert.equal(200, (other:get("/")))
  end)

  local function goes_on(g, text, code)
    assert.equal(1, code)
    assert.truthy(g:wait_for_log('"upgrade failed"'))
    assert.equal(200, (g:get("/")))
    assert.equal(g.pid, pid_of_status(g))
    return text
  end

  it("to a program that can not run changes nothing", function()
    local g = start()
    replace("no program", "644")
    local _, code, text = upgrade(g)
    assert.truthy(goes_on(g, text, code):find("cannot run", 1, true))
  end)

  it("to a program that crashes changes nothing; the next one may work", function()
    local g = start()
    replace("#!/bin/sh\nkill -SEGV $$\n", "755")
    local _, code, text = upgrade(g)
    assert.truthy(goes_on(g, text, code):find("signal 11", 1, true), text)
    assert(os.execute(("cp '%s' '%s.new' && mv '%s.new' '%s'"):format(binary, program, program, program)))
    assert(upgrade(g))
    assert.same({ "exited", 0 }, { g:wait() })
    assert.equal(200, (g:get("/")))
  end)

  it("with a site that the new program refuses changes nothing", function()
    local g = start()
    g:save("gateway.lua", "syntax error")
    local _, code, text = upgrade(g)
    assert.truthy(goes_on(g, text, code):find("gateway.lua:1", 1, true), text)
  end)

  it("ends with the one that it was for", function()
    local g = start()
    replace("#!/bin/sh\necho $$ >>" .. g.base .. "/pid\nexec sleep 1000\n", "755")
    g:signal("USR2")
    local pid = gateway.eventually(function() return tonumber(gateway.read(g.base .. "/pid")) end, "the new process")
    g:signal("TERM")
    assert.same({ "exited", 0 }, { g:wait() })
    gateway.eventually(function() return gone(pid) end, "its end")
    assert.is_nil(socket.connect("127.0.0.1", g.port))
  end)
end)
