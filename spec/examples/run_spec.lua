--- tools/run-hospital.sh, the end of `make run`: what it prints works, and nothing is left behind.
local gateway = require "spec.support.gateway"
local signal = require "posix.signal"
local socket = require "socket"
local wait = require "posix.sys.wait"

local function run_file(text)
  local f = gateway.folder() .. "/line"
  gateway.write(f, text)
  local p = io.popen("sh " .. f .. " 2>/dev/null")
  local out = p:read("*a")
  p:close()
  return out
end

-- How far the ports of the example are moved: below those of gateway.free_port, and all of them are free.
local function free_offset()
  for _ = 1, 100 do
    local offset, free = math.random(2000, 11800), true
    for _, port in ipairs { 3001, 3002, 3003, 3004, 3005, 3006, 3007, 3008, 3009, 3011, 3100 } do
      local s = socket.bind("127.0.0.1", port + offset)
      free = free and s ~= nil
      if s then s:close() end
    end
    if free then return offset end
  end
  error("no ports are free")
end

describe("make run", function()
  local base, log, offset, pid
  before_each(function()
    base = gateway.folder() -- a copy: one of the lines writes into the site
    log, offset = base .. "/log", free_offset()
    assert(os.execute(("cp -r examples tools '%s' && cp -r examples '%s/before'"):format(base, base)) == 0)
  end)
  after_each(function()
    if pid then
      signal.kill(pid, signal.SIGTERM)
      wait.wait(pid)
      pid = nil
    end
    gateway.stop_all()
  end)

  local function start()
    local program = gateway.binary:find("^/") and gateway.binary or io.popen("pwd"):read("*l") .. "/" .. gateway.binary
    pid = gateway.spawn({ "sh", base .. "/tools/run-hospital.sh", program }, { PORT_OFFSET = tostring(offset), PORT = "",
                                                                               HOST = "127.0.0.1" }, log)
  end
  local function ended()
    local done, how, code = wait.wait(pid, wait.WNOHANG)
    if done ~= pid then return nil end
    pid = nil
    return { how, code }
  end
  local function ready()
    return gateway.eventually(function()
      local text = gateway.read(log)
      assert.falsy(text:find("did not start", 1, true), text)
      return text:find("Ctrl-C ends both", 1, true) and text
    end, "the lines to try")
  end
  local function listening(port)
    local s = socket.connect("127.0.0.1", port + offset)
    if s then s:close() end
    return s ~= nil
  end

  it("prints three lines, which do what they say", function()
    start()
    local lines = {}
    for line in ready():gmatch("\n  (%l%l%l%l [^\n]+)") do lines[#lines + 1] = line end
    assert.equal(3, #lines)
    assert.truthy(run_file(lines[1]):find("^HTTP/1.1 200 .*Dr%. Ada Lin"))
    assert.truthy(run_file(lines[2]):find("^HTTP/1.1 400 "))
    lines[3] = lines[3]:gsub("sleep 1; curl %-i", "for i in 1 2 3 4 5 6 7 8 9; do sleep 1; curl -sf ") -- a slow machine
    assert.truthy(run_file(lines[3] .. " && break; done"):find("hello"))
    local undo = assert(gateway.read(log):match('"(rm [^"]+)" undoes it'))
    assert.equal("", run_file(undo .. (" && cd '%s' && diff -r before examples"):format(base)))
  end)

  for _, name in ipairs { "SIGTERM", "SIGINT", "SIGHUP" } do
    it("ends both programs on " .. name, function()
      start()
      ready()
      signal.kill(pid, signal[name])
      assert.same({ "exited", 0 }, gateway.eventually(ended, "the end"))
      for _, port in ipairs { 3001, 3011, 3100 } do assert.is_false(listening(port)) end
      local log_text = gateway.read(log)
      assert.equal(2, select(2, log_text:gsub('"message":"stopped"', "")))
    end)
  end

  it("says which port is taken, and leaves nothing running", function()
    for _, port in ipairs { 3100, 3003 } do
      local taken = assert(socket.bind("127.0.0.1", port + offset))
      start()
      assert.same({ "exited", 3 }, gateway.eventually(ended, "the end"))
      taken:close()
      assert.truthy(gateway.read(log):find(("127.0.0.1:%d: the address is in use"):format(port + offset), 1, true))
      assert.truthy(gateway.read(log):find("PORT and PORT_OFFSET choose other ports", 1, true))
      assert.is_false(listening(3001))
    end
  end)
end)
