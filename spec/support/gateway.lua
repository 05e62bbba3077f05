--- Starts the real binary on a throw-away site and on free ports, and ends it again.
--
--   local g = gateway.start { ["gateway.lua"] = [[ ... gw.listen { port = PORT } ... ]] }
--   g:request("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
--   g:stop()
--
-- Waits for conditions with an upper bound, never for a time.  Everything started here is ended by
-- gateway.stop_all, which each spec calls in its teardown.
local posix = {
  unistd = require "posix.unistd", wait = require "posix.sys.wait", signal = require "posix.signal",
  stdlib = require "posix.stdlib", stat = require "posix.sys.stat", fcntl = require "posix.fcntl",
}
local socket = require "socket"

local M = {}
local Gateway = {}
Gateway.__index = Gateway
local running = {}
math.randomseed(posix.unistd.getpid())

M.binary = os.getenv("MOONLATCH") or "build/moonlatch"
-- Is it built with ML_HARD: byte by byte, slow on purpose?
M.hard = os.getenv("MOONLATCH_HARD") == "1"

--- Calls test() until it gives something true, for at most limit_s (20) seconds; else fails.
function M.eventually(test, what, limit_s)
  local deadline = socket.gettime() + (limit_s or 20)
  repeat
    local result = test()
    if result then return result end
    socket.select(nil, nil, 0.01)
  until socket.gettime() > deadline
  error("did not happen in time: " .. (what or "condition"), 2)
end

local reserved = {}

--- A port of 127.0.0.1 that is free and stays this process's own, also beside other specs: who holds
-- the UDP port of the same number may use it.  It is none that the kernel gives to outgoing connections.
function M.free_port()
  for _ = 1, 1000 do
    local port = math.random(15000, 32000)
    local claim, probe = socket.udp(), nil
    if claim:setsockname("127.0.0.1", port) then probe = socket.bind("127.0.0.1", port) end
    if probe then
      probe:close()
      reserved[#reserved + 1] = claim
      return port
    end
    claim:close()
  end
  error("no port is free")
end

function M.write(path, text)
  local dir = path:match("^(.*)/[^/]*$")
  os.execute("mkdir -p '" .. dir .. "'")
  local f = assert(io.open(path, "wb"))
  f:write(text)
  f:close()
end

function M.read(path)
  local f = io.open(path, "rb")
  if not f then return "" end
  local text = f:read("*a")
  f:close()
  return text
end

--- A new empty folder, removed by stop_all.
function M.folder()
  local dir = posix.stdlib.mkdtemp("/tmp/moonlatch-spec-XXXXXX")
  running[#running + 1] = { remove = dir }
  return dir
end

--- Runs a program in the background: argv, environment additions, file for its output.  Its pid.
function M.spawn(argv, env, output)
  local pid = assert(posix.unistd.fork())
  if pid ~= 0 then return pid end
  for name, value in pairs(env or {}) do posix.stdlib.setenv(name, value) end
  local fd = posix.fcntl.open(output or "/dev/null", posix.fcntl.O_WRONLY + posix.fcntl.O_CREAT
                              + posix.fcntl.O_APPEND, 420)
  posix.unistd.dup2(fd, 1)
  posix.unistd.dup2(fd, 2)
  for inherited = 3, 255 do posix.unistd.close(inherited) end -- sockets of the test, which it may close
  local args = {}
  for i = 2, #argv do args[i - 1] = argv[i] end
  posix.unistd.execp(argv[1], args)
  posix.unistd._exit(127)
end

--- Starts `moonlatch run` on a folder with these files.  PORT in gateway.lua is the number of a
-- free port, as are PORT2.. when they occur.
-- @param files table name -> text
-- @param opts table { env = {}, args = {}, wait = false: do not wait for the listener,
--   dir = a folder that is there already }
function M.start(files, opts)
  opts = opts or {}
  local self = setmetatable({ base = M.folder(), ports = {} }, Gateway)
  self.dir = opts.dir or self.base .. "/site"
  for name, text in pairs(files) do self:save(name, text) end
  self.port = self:port_of("PORT")
  self.log, self.control = self.base .. "/output", self.base .. "/control.sock"
  local argv = { M.binary, "run", self.dir, "--control", self.control }
  for _, arg in ipairs(opts.args or { "--workers", "2" }) do argv[#argv + 1] = arg end
  self.pid = M.spawn(argv, opts.env, self.log)
  running[#running + 1] = self
  if opts.wait ~= false then
    M.eventually(function()
      assert(self:alive(), "the gateway ended: " .. M.read(self.log))
      return self:output():find('"ready"', 1, true)
    end, "ready")
  end
  return self
end

function Gateway:port_of(name)
  self.ports[name] = self.ports[name] or M.free_port()
  return self.ports[name]
end

--- Writes a file of the site as an editor that renames would; PORT words become numbers.
function Gateway:save(name, text)
  text = text:gsub("%f[%w_]PORT%d*%f[^%w_]", function(word) return tostring(self:port_of(word)) end)
  local path = self.dir .. "/" .. name
  M.write(path .. ".new~", text)
  assert(os.rename(path .. ".new~", path))
end

function Gateway:output()
  return M.read(self.log)
end

function Gateway:alive()
  if self.exit then return false end
  local pid, how, code = posix.wait.wait(self.pid, posix.wait.WNOHANG)
  if pid == self.pid then
    self.exit = { how = how, code = code }
    return false
  end
  return true
end

function Gateway:signal(name)
  posix.signal.kill(self.pid, posix.signal["SIG" .. name])
end

--- Waits for the end of the process: "exited", 0.
function Gateway:wait(limit_s)
  M.eventually(function() return not self:alive() end, "end of the gateway", limit_s or 40)
  return self.exit.how, self.exit.code
end

--- The status as JSON text, from the command line.
function Gateway:command(...)
  local argv = table.concat({ M.binary, ... }, " ") .. " --control " .. self.control .. " 2>&1"
  local p = io.popen(argv .. "; echo \"exit=$?\"")
  local text = p:read("*a")
  p:close()
  local code = tonumber(text:match("exit=(%d+)%s*$"))
  return (text:gsub("exit=%d+%s*$", "")), code
end

function Gateway:connect(port)
  local s = assert(socket.connect("127.0.0.1", port or self.port))
  s:settimeout(M.hard and 100 or 10)
  s:setoption("tcp-nodelay", true)
  return s
end

--- Sends raw bytes on a connection of its own; everything until the end, and how it ended.
function Gateway:raw(bytes, port)
  local s = self:connect(port)
  s:send(bytes)
  local all, err, part = s:receive("*a")
  s:close()
  return all or part, err
end

--- One request with Connection: close; status, body, raw head.
function Gateway:get(path, headers, port)
  local text = self:raw("GET " .. path .. " HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n"
                        .. (headers or "") .. "\r\n", port)
  local head, body = text:match("^(.-)\r\n\r\n(.*)$")
  return tonumber((head or text):match("^HTTP/1%.1 (%d%d%d)")), body, head or text
end

-- name (lower case) -> value; values of a name that occurs again are joined by "|"
local function fields_of(head)
  local fields = {}
  for name, value in head:gmatch("\r\n([^:\r\n]+):[ \t]*([^\r\n]*)") do
    name = name:lower()
    fields[name] = fields[name] and fields[name] .. "|" .. value or value
  end
  return fields
end

local function dechunk(body)
  local parts, at = {}, 1
  while true do
    local size, after = body:match("^(%x+)[^\r\n]*\r\n()", at)
    size = assert(tonumber(size or "", 16), "a chunk size is expected")
    if size == 0 then return table.concat(parts) end
    assert(body:sub(after + size, after + size + 1) == "\r\n", "a chunk is cut off")
    parts[#parts + 1] = body:sub(after, after + size - 1)
    at = after + size + 2
  end
end

--- Takes the bytes of one answer apart: { status, headers, body, head, interim }.
function M.parse(bytes)
  local head, rest = bytes:match("^(.-)\r\n\r\n(.*)$")
  assert(head, "no answer: " .. bytes)
  local status = tonumber(head:match("^HTTP/1%.1 (%d%d%d)"))
  if status < 200 and status ~= 101 then
    local answer = M.parse(rest)
    answer.interim = status
    return answer
  end
  local headers = fields_of(head)
  if headers["transfer-encoding"] == "chunked" then rest = dechunk(rest) end
  return { status = status, headers = headers, body = rest, head = head }
end

--- One request on a connection of its own.
-- @param what "METHOD /target"
-- @param opts { headers = "X-A: 1\r\n", body = "text", host = "name", port = number }
function Gateway:ask(what, opts)
  opts = opts or {}
  local body = opts.body and ("Content-Length: %d\r\n"):format(#opts.body) or ""
  return M.parse((self:raw(("%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s%s\r\n%s"):format(what,
    opts.host or "test.example", body, opts.headers or "", opts.body or ""), opts.port)))
end

M.ask, M.get = Gateway.ask, Gateway.get -- for others that have :raw

--- Waits until the log has this text; the whole log.
function Gateway:wait_for_log(text)
  return M.eventually(function()
    local log = self:output()
    return log:find(text, 1, true) and log
  end, "in the log: " .. text)
end

function Gateway:stop()
  if self:alive() then
    self:signal("KILL")
    self:wait()
  end
end

--- Ends and removes everything that was started; also children by their command line.
function M.stop_all()
  for i = #running, 1, -1 do
    local it = running[i]
    if it.remove then os.execute("rm -rf '" .. it.remove .. "'") else it:stop() end
    running[i] = nil
  end
end

return M
