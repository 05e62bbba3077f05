--- Starts real Redis servers for specs: single ones and clusters; in folders of their own.
--
--   local r = redis.start { "--requirepass", "x" }     r.port r.socket r:call("SET", "a", 1)
--   r:signal("STOP") r:kill() r:restart()
--   local c = redis.cluster(3)                          c[1].port, all slots covered
--
-- Everything ends with redis.stop_all.
local gateway = require "spec.support.gateway"
local signal = require "posix.signal"
local socket = require "socket"
local wait = require "posix.sys.wait"

local M = {}
local Server = {}
Server.__index = Server
local running = {}

local function encode(words)
  local parts = { ("*%d\r\n"):format(#words) }
  for i, word in ipairs(words) do
    word = tostring(word)
    parts[i + 1] = ("$%d\r\n%s\r\n"):format(#word, word)
  end
  return table.concat(parts)
end

local function read_reply(s)
  local line = assert(s:receive("*l"))
  local kind, rest = line:sub(1, 1), line:sub(2)
  if kind == "+" then return rest end
  if kind == ":" then return tonumber(rest) end
  if kind == "-" then return nil, rest end
  local n = tonumber(rest)
  if n < 0 then return nil end
  if kind == "$" then return (assert(s:receive(n + 2)):sub(1, -3)) end
  local list = {}
  for i = 1, n do list[i] = read_reply(s) or false end
  return list
end

--- One command on a connection of its own; value, or nil and the error.
function Server:call(...)
  local s = assert(socket.connect("127.0.0.1", self.port))
  s:settimeout(10)
  if self.password then
    s:send(encode { "AUTH", self.password })
    assert(read_reply(s))
  end
  s:send(encode { ... })
  local value, wrong = read_reply(s)
  s:close()
  return value, wrong
end

local function answers(self)
  local s = socket.connect("127.0.0.1", self.port)
  if not s then return false end
  s:settimeout(1)
  s:send("PING\r\n")
  local line = s:receive("*l")
  s:close()
  return line ~= nil
end

local function ended(self)
  return wait.wait(self.pid, wait.WNOHANG) == self.pid
end

--- Starts it (again); false when it ended at once, because somebody else took the port.
function Server:run()
  self.pid = gateway.spawn(self.argv, nil, self.folder .. "/log")
  local how = gateway.eventually(function()
    return ended(self) and "ended" or answers(self) and "answers"
  end, "an answer of redis-server")
  if how == "answers" then return true end
  self.pid = nil
  return false
end

function Server:signal(name)
  signal.kill(self.pid, signal["SIG" .. name])
end

function Server:kill()
  if not self.pid then return end
  self:signal("KILL")
  wait.wait(self.pid)
  self.pid = nil
end

--- Ends it and starts it again on the same port, with nothing in it.
function Server:restart()
  self:kill()
  assert(self:run(), "redis-server ended at once")
end

-- A port for redis-server; for a node of a cluster its bus port (10000 above) exists too.
local function pick_port(highest)
  for _ = 1, 1000 do
    local port = gateway.free_port()
    if port < highest then return port end
  end
  error("there is no port below " .. highest)
end

--- @param args list of more arguments
-- @param password string or nil, for :call
-- @param highest number or nil, bound of the port
function M.start(args, password, highest)
  for _ = 1, 5 do
    local self = setmetatable({ folder = gateway.folder(), port = pick_port(highest or 65536),
                                password = password }, Server)
    self.socket = self.folder .. "/redis.sock"
    self.argv = { "redis-server", "--port", tostring(self.port), "--bind", "127.0.0.1", "--dir", self.folder,
                  "--unixsocket", self.socket, "--save", "", "--appendonly", "no", "--daemonize", "no" }
    for _, arg in ipairs(args or {}) do self.argv[#self.argv + 1] = arg end
    running[#running + 1] = self
    if self:run() then return self end
  end
  error("redis-server ends at once: " .. gateway.read(running[#running].folder .. "/log"))
end

--- Arguments for TLS beside the plain port, and its port.
-- @param pair, ca of spec/support/pki.lua
-- @param auth "yes": clients need a certificate
function M.tls(pair, ca, auth)
  local port = pick_port(22000) -- its bus port, 10000 above, is below those of outgoing connections then
  return { "--tls-port", tostring(port), "--tls-cert-file", pair.cert, "--tls-key-file", pair.key,
           "--tls-ca-cert-file", ca.cert, "--tls-auth-clients", auth or "no" }, port
end

--- n masters with all slots, in equal parts; each knows it.
-- @param pair, ca when given: the cluster speaks TLS; nodes have a tls_port then
function M.cluster(n, pair, ca)
  local nodes, share = {}, math.ceil(16384 / n)
  for i = 1, n do
    local args, tls_port = {}, nil
    if pair then args, tls_port = M.tls(pair, ca) end
    for _, arg in ipairs { "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf",
                           "--cluster-node-timeout", "2000", "--tls-cluster", pair and "yes" or "no" } do
      args[#args + 1] = arg
    end
    nodes[i] = M.start(args, nil, 22000)
    nodes[i].tls_port = tls_port
  end
  for i, node in ipairs(nodes) do
    local first, last = (i - 1) * share, math.min(i * share, 16384) - 1
    assert(node:call("CLUSTER", "ADDSLOTSRANGE", first, last))
    assert(node:call("CLUSTER", "SET-CONFIG-EPOCH", i))
    if i > 1 then assert(node:call("CLUSTER", "MEET", "127.0.0.1", nodes[1].tls_port or nodes[1].port)) end
  end
  for _, node in ipairs(nodes) do
    gateway.eventually(function()
      local info = node:call("CLUSTER", "INFO")
      return info:find("cluster_state:ok", 1, true) and info:find("cluster_known_nodes:" .. n, 1, true)
    end, "a complete cluster", 40)
  end
  return nodes
end

function M.stop_all()
  for i = #running, 1, -1 do
    running[i]:kill()
    running[i] = nil
  end
end

return M
