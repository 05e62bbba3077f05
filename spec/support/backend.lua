--- Servers for tests of upstreams, each a process of its own that can be stopped, hung and killed.
--
--   local b = backend.start("one")      -- answers "one" to everything, 200 to /health
--   b:say("/health", 503)               -- from now on
--   b:kill()  b:restart()  b:hang()  b:go_on()
--   b:count("/health")                  -- requests for that path so far
--
-- Driven by files of a folder, so that neither side waits for the other.
local gateway = require "spec.support.gateway"
local posix = { signal = require "posix.signal", wait = require "posix.sys.wait" }

local M = {}
local Backend = {}
Backend.__index = Backend
local running = {}

local program = [[
local socket = require "socket"
local port, dir, name = tonumber(arg[1]), arg[2], arg[3]
local listener = assert(socket.bind(arg[4], port))
local clients, begun = { listener }, {}
local function read(path)
  local f = io.open(path, "rb")
  if not f then return nil end
  local text = f:read("*a")
  f:close()
  return text
end
local function log(line)
  local f = io.open(dir .. "/log", "ab")
  f:write(line, "\n")
  f:close()
end
local function drop(s)
  s:close()
  begun[s] = nil
  for i, c in ipairs(clients) do if c == s then table.remove(clients, i) break end end
end
local function answer(s, head)
  local path = head:match("^%u+ (%S+)")
  local told = read(dir .. "/say" .. path:gsub("/", "_"))
  local status, body = 200, name
  if told then status, body = told:match("^(%d+)\n(.*)$") end
  log(head:gsub("\r\n", "|"))
  if status == "0" then return end -- silence
  s:send(("HTTP/1.1 %s X\r\nContent-Length: %d\r\n\r\n%s"):format(status, #body, body))
  if head:lower():find("connection: close", 1, true) then drop(s) end
end
log("started")
while true do
  for _, s in ipairs(socket.select(clients)) do
    if s == listener then
      local c = s:accept()
      if c then c:settimeout(0) clients[#clients + 1] = c begun[c] = "" log("connected") end
    else
      local all, err, part = s:receive(8192)
      begun[s] = (begun[s] or "") .. (all or part or "")
      if err == "closed" then drop(s)
      else
        local rest = begun[s]
        while rest and begun[s] do
          local head, after = rest:match("^(.-\r\n)\r\n(.*)$")
          if not head then break end
          answer(s, head)
          rest = after
        end
        if begun[s] then begun[s] = rest end
      end
    end
  end
end
]]

local function starts(self)
  return select(2, self:log():gsub("started\n", ""))
end

local function launch(self)
  local before, output = starts(self), self.dir .. "/output"
  self.pid = gateway.spawn({ "luajit", self.dir .. "/program.lua", tostring(self.port), self.dir, self.name,
                             self.address },
                           nil, output)
  running[self] = true
  gateway.eventually(function()
    assert(gateway.read(output) == "", gateway.read(output))
    return starts(self) > before
  end, "start of the server")
end

--- Starts a server on a port of its own.
-- @param address of this machine, 127.0.0.1 by default; port to share between addresses
function M.start(name, address, port)
  local self = setmetatable({ name = name, port = port or gateway.free_port(), dir = gateway.folder(),
                              address = address or "127.0.0.1" }, Backend)
  gateway.write(self.dir .. "/program.lua", program)
  launch(self)
  return self
end

function Backend:url() return ("http://%s:%d"):format(self.address, self.port) end
function Backend:log() return gateway.read(self.dir .. "/log") end

--- Status 0: it reads the request and stays silent.
function Backend:say(path, status, body)
  local file = self.dir .. "/say" .. path:gsub("/", "_")
  gateway.write(file .. ".new", status .. "\n" .. (body or self.name))
  assert(os.rename(file .. ".new", file))
end

--- Requests for a path so far.
function Backend:count(path)
  local n = 0
  for line in self:log():gmatch("[^\n]+") do
    if line:match("^%u+ (%S+) ") == path then n = n + 1 end
  end
  return n
end

--- The last request for a path, "|" at the ends of its lines.
function Backend:last(path)
  local last
  for line in self:log():gmatch("[^\n]+") do
    if line:match("^%u+ (%S+) ") == path then last = line end
  end
  return last
end

function Backend:kill()
  if not running[self] then return end
  running[self] = nil
  posix.signal.kill(self.pid, posix.signal.SIGKILL)
  posix.wait.wait(self.pid)
end

function Backend:restart()
  self:kill()
  launch(self)
end

function Backend:hang() posix.signal.kill(self.pid, posix.signal.SIGSTOP) end
function Backend:go_on() posix.signal.kill(self.pid, posix.signal.SIGCONT) end

function M.stop_all()
  for backend in pairs(running) do backend:kill() end
end

return M
