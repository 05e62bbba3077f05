--- Supervisor and workers: what is bound, who is told what, and what a reload can not do.
local gateway = require "spec.support.gateway"
local socket = require "socket"
local cjson = require "cjson"
local signal = require "posix.signal"

local function site(answer, more)
  return ([[
    local gw = require "moonlatch"
    gw.listen { port = PORT, host = "127.0.0.1" }
    gw.route("GET /", { respond = function() return gw.response(200, "%s") end })
    gw.route("GET /slow", { respond = function() gw.sleep(1) return gw.response(200, "slow") end })
    %s
  ]]):format(answer, more or "")
end

local function status(g)
  return cjson.decode((g:command("status", "--json")))
end

local function serving(g)
  for _, w in ipairs(status(g).workers) do
    if w.state ~= "serving" then return false end
  end
  return true
end

local function answer(g, port)
  return select(2, g:get("/", nil, port))
end

-- One request on a connection that stays open; body and head.
local function exchange(s)
  local head = ""
  s:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
  repeat
    local line = assert(s:receive("*l"))
    head = head .. line:lower() .. "\n"
  until line == ""
  return s:receive(tonumber(head:match("\ncontent%-length: (%d+)"))), head
end

describe("the supervisor", function()
  after_each(gateway.stop_all)

  it("refuses a port that somebody listens on, also another gateway", function()
    local first = gateway.start { ["gateway.lua"] = site("one") }
    local text = site("two"):gsub("PORT", tostring(first.port))
    local second = gateway.start({ ["gateway.lua"] = text }, { wait = false })
    local how, code = second:wait()
    assert.same({ "exited", 3 }, { how, code })
    assert.truthy(second:output():find("127.0.0.1:" .. first.port, 1, true))
    assert.truthy(second:output():find("in use", 1, true))
    assert.equal("one", answer(first))
  end)

  it("ends with 1 and file:line when the site does not load", function()
    local g = gateway.start({ ["gateway.lua"] = "local x = = 1\n" }, { wait = false })
    local how, code = g:wait()
    assert.same({ "exited", 1 }, { how, code })
    assert.truthy(g:output():find("gateway.lua:1", 1, true))
  end)

  it("slows a crash loop down and says so", function()
    local g = gateway.start { ["gateway.lua"] = site("one") }
    for restarts = 1, 3 do
      signal.kill(status(g).workers[1].pid, 9)
      gateway.eventually(function()
        local w = status(g).workers[1]
        return w.state == "serving" and w.restarts == restarts
      end, "restart " .. restarts)
    end
    assert.truthy(g:output():find('"restartIn":0,', 1, true) or g:output():find('"restartIn":0}', 1, true))
    assert.truthy(g:output():find('"restartIn":0.2', 1, true))
    assert.truthy(g:output():find("signal 9", 1, true))
  end)

  it("leaves no worker and no bound port behind when it is killed", function()
    local g = gateway.start { ["gateway.lua"] = site("one") }
    local s = g:connect()
    s:send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    gateway.eventually(function()
      for _, w in ipairs(status(g).workers) do
        if w.connections > 0 then return true end
      end
    end, "the request in flight")
    local pids = {}
    for _, w in ipairs(status(g).workers) do pids[#pids + 1] = w.pid end
    g:signal("KILL")
    g:wait()
    assert.truthy(s:receive("*a"):find("slow", 1, true)) -- in flight: finished
    gateway.eventually(function()
      for _, pid in ipairs(pids) do
        if signal.kill(pid, 0) then return false end
      end
      return not socket.connect("127.0.0.1", g.port)
    end, "the end of the workers")
  end)

  it("says Connection: close during the delay and accepts until it is over", function()
    local g = gateway.start { ["gateway.lua"] = site("one", "gw.settings { shutdown_delay = 1 }") }
    g:signal("TERM")
    gateway.eventually(function() return g:output():find('"stopping"', 1, true) end, "stopping")
    gateway.eventually(function()
      local body, head = exchange(g:connect())
      assert.equal("one", body)
      return head:find("\nconnection: close\n", 1, true)
    end, "Connection: close")
    local how, exit = g:wait()
    assert.same({ "exited", 0 }, { how, exit })
  end)

  it("cuts what is in flight at the deadline, and at once at the second SIGINT", function()
    local g = gateway.start { ["gateway.lua"] = site("one", "gw.settings { shutdown_timeout = 0.2 }") }
    g:connect():send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    g:signal("TERM")
    assert.equal(0, select(2, g:wait()))
    g = gateway.start { ["gateway.lua"] = site("one") }
    local s = g:connect()
    s:send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    gateway.eventually(function()
      for _, w in ipairs(status(g).workers) do
        if w.connections > 0 then return true end
      end
    end, "the request in flight")
    g:signal("INT")
    gateway.eventually(function() return g:output():find('"stopping"', 1, true) end, "stopping")
    g:signal("INT")
    assert.equal(130, select(2, g:wait()))
  end)

  it("reopens log files", function()
    local dir = gateway.folder()
    local g = gateway.start {
      ["gateway.lua"] = site("one", ("gw.settings { access_log = %q }"):format(dir .. "/access")),
    }
    g:get("/")
    gateway.eventually(function() return gateway.read(dir .. "/access") ~= "" end, "a line")
    assert(os.rename(dir .. "/access", dir .. "/access.1"))
    g:signal("USR1")
    gateway.eventually(function() return io.open(dir .. "/access") end, "the new file")
    gateway.eventually(function()
      g:get("/")
      return gateway.read(dir .. "/access") ~= ""
    end, "a line in the new file")
  end)
end)

describe("a reload", function()
  after_each(gateway.stop_all)

  it("opens and closes listeners; connections of the others go on", function()
    local g = gateway.start { ["gateway.lua"] = site("one") }
    local kept = g:connect()
    assert.equal("one", exchange(kept))
    g:save("gateway.lua", site("two", "gw.listen { port = PORT2, host = '127.0.0.1' }"))
    assert.equal(0, select(2, g:command("reload", "--wait")))
    assert.equal("two", answer(g))
    assert.equal("two", answer(g, g:port_of("PORT2")))
    assert.equal("two", exchange(kept))
    g:save("gateway.lua", site("three"))
    assert.equal(0, select(2, g:command("reload", "--wait")))
    assert.is_nil(socket.connect("127.0.0.1", g:port_of("PORT2")))
    assert.equal("three", answer(g))
  end)

  it("changes nothing when a new port is taken", function()
    local g = gateway.start { ["gateway.lua"] = site("one") }
    local taken = assert(socket.bind("127.0.0.1", 0))
    local _, port = taken:getsockname()
    g:save("gateway.lua", site("two", ("gw.listen { port = %d, host = '127.0.0.1' }"):format(port)))
    local text, code = g:command("reload", "--wait")
    assert.equal(1, code)
    assert.truthy(text:find("127.0.0.1:" .. port, 1, true))
    assert.equal("one", answer(g))
    taken:close()
    assert.equal(0, select(2, g:command("reload", "--wait")))
    assert.equal("two", answer(g))
  end)

  it("reports what counts at the start only", function()
    local g = gateway.start { ["gateway.lua"] = site("one") }
    g:save("gateway.lua", site("two", "gw.settings { workers = 7 }"))
    assert.equal(0, select(2, g:command("reload", "--wait")))
    assert.equal(2, #status(g).workers)
    assert.truthy(status(g).notes[1]:find("workers = 7 needs a restart", 1, true))
    assert.truthy(g:output():find("needs a restart", 1, true))
  end)

  it("of the same content is no new generation", function()
    local g = gateway.start { ["gateway.lua"] = site("one") }
    local text, code = g:command("reload", "--wait")
    assert.equal(0, code)
    assert.truthy(text:find("nothing had changed", 1, true))
    assert.equal(1, status(g).generation)
  end)

  it("is whole while workers are killed all the time", function()
    local g = gateway.start { ["gateway.lua"] = site("zero") }
    for n = 1, 10 do
      local pid = status(g).workers[n % 2 + 1].pid
      g:save("gateway.lua", site("n" .. n))
      if type(pid) == "number" then signal.kill(pid, 9) end
      g:command("reload", "--wait")
    end
    gateway.eventually(function()
      g:command("reload", "--wait")
      return serving(g) and answer(g) == "n10"
    end, "the last generation")
    for _ = 1, 20 do assert.equal("n10", answer(g)) end
  end)
end)
