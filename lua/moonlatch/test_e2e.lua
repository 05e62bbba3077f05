--- The real program with the calls of a simulation (core/kit/module.c): real processes and connections, in a
-- world whose time and network are the test's.
--
-- A library is preloaded into the program (core/kit/shim): it asks the test for the time, which stands still
-- until it is moved, and leads every connection that the program makes to a socket of this process.  A name
-- server in this process knows every name.  Who waits, and until when, the program tells the same way; so it
-- is known when nothing more will happen by itself.
--
-- A shell keeps the program: when this process ends in whatever way, the shell's input ends, and it ends the
-- program.
local App = require "moonlatch.test_app"
local dns = require "moonlatch.test_dns"
local native = require "moonlatch.test_native"

local Real = {}
Real.__index = Real
local WAIT_S, READ_MAX = 20, 65536
local PRIVATE_PORTS = { 15000, 32000 } -- none that the kernel gives to outgoing connections

local ffi = require "ffi"
ffi.cdef "int fcntl(int fd, int command, ...);"
local F_SETFD, FD_CLOEXEC = 2, 1

-- No program that is started later keeps the socket open.
local function private(s)
  ffi.C.fcntl(s:getfd(), F_SETFD, ffi.cast("int", FD_CLOEXEC))
  s:settimeout(0)
  return s
end

local function quote(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

local function slurp(path)
  local f = io.open(path, "rb")
  if not f then return "" end
  local text = f:read("*a")
  f:close()
  return text
end

-- ---- files of the site ----

local function write_files(dir, files)
  for name, text in pairs(files) do
    local path = dir .. "/" .. name
    if not text then
      os.execute("rm -rf " .. quote(path))
    else
      os.execute("mkdir -p " .. quote((path:match("^(.*)/"))))
      local f = assert(io.open(path, "wb"))
      f:write(text)
      f:close()
    end
  end
end

-- The folder of the site, in base when files are given.
local function site_folder(conf, base)
  if not conf.files then return conf.dir end
  local dir = base .. "/site"
  os.execute("mkdir -p " .. quote(dir))
  if conf.dir then os.execute(("cp -r %s/. %s"):format(quote(conf.dir), quote(dir))) end
  write_files(dir, conf.files)
  return dir
end

-- ---- connections ----

local Connection = {}
Connection.__index = Connection

local function connected(self, s, host)
  private(s):setoption("tcp-nodelay", true)
  local c = setmetatable({ real = self, socket = s, host = host, text = "", out = "" }, Connection)
  self.connections[s] = c
  return c
end

function Connection:flush()
  if self.out == "" or not self.socket then return false end
  local last, err, partial = self.socket:send(self.out)
  if err and err ~= "timeout" then
    self.out = "" -- nobody reads it any more
    return true
  end
  last = last or partial
  self.out = self.out:sub(last + 1)
  return last > 0
end

function Connection:read()
  if self.eof or not self.socket then return false end
  local bytes, err, part = self.socket:receive(READ_MAX)
  bytes = bytes or part or ""
  self.text = self.text .. bytes
  if err and err ~= "timeout" then self.eof, self.broken = true, err ~= "closed" end
  return bytes ~= "" or self.eof == true
end

function Connection:send(bytes)
  if not self.socket then error("the connection is closed", 2) end
  self.out, self.handed = self.out .. bytes, false
  self:flush()
end

--- What came since, as it is.
function Connection:take()
  local text = self.text
  self.text = ""
  return text
end

function Connection:ended() return not self.socket or self.eof == true end

function Connection:close()
  local s = self.socket
  if not s then return end
  self.socket, self.real.connections[s] = nil, nil
  if self.host and self.real.hosts[self.host].mode == "reset" then
    s:setoption("linger", { on = true, timeout = 0 })
  end
  s:close()
end

--- The answer to a request of that method; or nil, "again" | "closed" | "reset" | what is wrong.
function Connection:response(method)
  local raw, used = native.parse(self.text, self.eof == true, method)
  if raw then
    self.text, self.status = self.text:sub(used + 1), raw.status
    return raw
  end
  if self.eof and used ~= "again" then used = self.broken and "reset" or "closed" end
  return nil, used
end

-- ---- what became of an exchange: the trace that the program writes ----

local function read_trace(self)
  local text = slurp(self.base .. "/trace"):sub(self.trace_at + 1)
  self.trace_at = self.trace_at + #text
  for line in text:gmatch("[^\n]+") do
    local step = assert(native.json_decode(line))
    local list = self.steps[step.n] or {}
    self.steps[step.n] = list
    if step.what ~= "done" then
      list[#list + 1] = ("%s\31%s\31%s\30"):format(step.what, step.name, step.detail)
    else
      step.trace, self.steps[step.n] = table.concat(list), nil
      self.outcomes[#self.outcomes + 1] = step
    end
  end
end

local nothing = { trace = "", id = "", route = "", upstream = "", server = "", user = "", tries = 0 }

--- As a simulation keeps it.  Exchanges are told apart by what was asked, in their order.
function Connection:record()
  read_trace(self.real)
  local method, target = (self.asked or ""):match("^(%S+) (%S+)")
  for i, outcome in ipairs(self.real.outcomes) do
    if outcome.method == method and outcome.target == target and outcome.status == self.status then
      return table.remove(self.real.outcomes, i)
    end
  end
  return nothing
end

-- ---- the network ----

-- A port of 127.0.0.1 that stays this app's own, also beside other tests: who holds the UDP port of the
-- same number may use it.
local function claim_port(self)
  for _ = 1, 1000 do
    local port, claim = math.random(unpack(PRIVATE_PORTS)), private(assert(self.socket.udp()))
    local probe = claim:setsockname("127.0.0.1", port) and self.socket.bind("127.0.0.1", port)
    if probe then
      probe:close()
      self.claims[#self.claims + 1] = claim
      return port
    end
    claim:close()
  end
  error("no port is free", 0)
end

--- The index of a host, made when it is new; it refuses connections.
function Real:host(name, port)
  for i = 0, self.host_count - 1 do
    if self.hosts[i].name == name and self.hosts[i].port == port then return i end
  end
  local index = self.host_count
  self.hosts[index] = { name = name, port = port, mode = "refuse", address = self.names:address(name) }
  self.host_count = index + 1
  return index
end

local function listen(self, host)
  if host.listener or not host.address then return end
  host.listens_at = host.listens_at or claim_port(self)
  host.listener = private(assert(self.socket.bind("127.0.0.1", host.listens_at)))
  self.listeners[host.listener] = host
  self.world:place(host.address, host.port, host.listens_at)
end

local function stop_listening(self, host)
  if not host.listener then return end
  self.world:place(host.address, host.port, 0)
  self.listeners[host.listener] = nil
  host.listener:close()
  host.listener = nil
end

--- "accept" | "refuse" | "reset"; connections that were made before break.
function Real:mode(index, mode)
  local host = self.hosts[index]
  host.index = index
  for _, c in pairs(self.connections) do
    if c.host == index and not c.handed then c:close() end
  end
  host.mode = mode
  if mode == "refuse" then stop_listening(self, host) else listen(self, host) end
end

--- A connection to the listener with that port of the site (0: the first), from that address.
function Real:client(ip, port)
  local at = port == 0 and self.ports[1] or self.port_of[port]
  if not at then error(("the site has no listener with port %d"):format(port), 2) end
  local s = self.socket.tcp()
  assert(s:bind("127.0.0.1", 0))
  local _, own = s:getsockname()
  self.world:client(tonumber(own), ip)
  s:settimeout(WAIT_S)
  assert(s:connect("127.0.0.1", at))
  local c = connected(self, s)
  c.send = function(_, bytes)
    c.asked = bytes
    Connection.send(c, bytes)
  end
  return c
end

--- What an upstream got and nobody has seen yet: connection, index of the host, request, or bytes for Redis.
function Real:request()
  for _, c in pairs(self.connections) do
    if c.host and c.text:find("^\22\3") then
      c:close()
      error("TLS to an upstream or a Redis is played in simulations only", 0)
    end
    if c.host and not c.handed and c.text ~= "" then
      if self.redis[c.host] then
        local bytes = c.text
        c.text = ""
        return c, c.host, bytes
      end
      local raw, used = native.parse(c.text, c.eof == true)
      if raw then
        c.text, c.handed = c.text:sub(used + 1), true
        return c, c.host, raw
      end
    end
    if c.host and c.eof then c:close() end
  end
end

-- ---- time ----

-- Lets sockets move, for at most seconds; did any?
local function pump(self, seconds)
  local reading, writing, busy = { self.names.socket }, {}, false
  for s in pairs(self.listeners) do reading[#reading + 1] = s end
  for s, c in pairs(self.connections) do
    if not c.eof then reading[#reading + 1] = s end
    if c.out ~= "" then writing[#writing + 1] = s end
  end
  local ready, writable = self.socket.select(reading, writing, seconds)
  for _, s in ipairs(writable) do busy = self.connections[s]:flush() or busy end
  for _, s in ipairs(ready) do
    local host, c = self.listeners[s], self.connections[s]
    if s == self.names.socket then
      busy = self.names:serve() or busy
    elseif host then
      local accepted = s:accept()
      if accepted then connected(self, accepted, host.index) end
      busy = true
    elseif c then
      busy = c:read() or busy
    end
  end
  return busy
end

-- Waits until all processes have looked for events since; their sum, or nil when a socket moved first.
local function all_idle(self)
  local deadline = self.socket.gettime() + WAIT_S
  self.world:ask()
  while true do
    local idle, sum = self.world:idle()
    if idle then return sum end
    if pump(self, 0.0002) then return nil end
    if self.socket.gettime() > deadline then error("the program does not come to rest", 0) end
  end
end

--- Lets everything happen that happens without time passing.
function Real:settle()
  if not self.shell then error("the app is closed", 0) end
  local before
  while true do
    local sum = not pump(self, 0) and all_idle(self)
    if sum and sum == before and not pump(self, 0) then return end
    before = sum or nil
  end
end

function Real:next() return self.world:next() end
function Real:move(seconds) self.world:move(seconds) end
function Real:clock() return self.world:clock() end

-- ---- the program ----

local function folder(path) return path:match("^(.*/)") or "./" end

-- The library to preload, which is where the kit is.
local function library()
  local binary = folder(os.getenv("MOONLATCH") or "build/moonlatch")
  for _, dir in ipairs { folder(os.getenv("MOONLATCH_KIT") or "./"), binary, binary .. "../lib/lua/5.1/" } do
    local f = io.open(dir .. "moonlatch_world.so", "rb")
    if f then
      f:close()
      return dir .. "moonlatch_world.so"
    end
  end
  error("moonlatch_world.so was not found beside the program", 0)
end

local function environment(conf, self, facts)
  local words = { "env -i PATH=" .. quote(os.getenv("PATH") or "/usr/bin:/bin") }
  local function set(name, value) words[#words + 1] = name .. "=" .. quote(value) end
  for name, value in pairs(conf.env) do set(name, value) end
  local addresses = {}
  for i, port in ipairs(facts.ports) do
    self.ports[i] = claim_port(self)
    self.port_of[port] = self.ports[i]
    addresses[i] = "127.0.0.1:" .. self.ports[i]
    self.world:place("127.0.0.1", port, self.ports[i])
  end
  set("MOONLATCH_LISTEN", table.concat(addresses, ","))
  set("MOONLATCH_DNS", "127.0.0.1:" .. self.names.port)
  set("MOONLATCH_TRACE", self.base .. "/trace")
  set("MOONLATCH_WORLD", self.base .. "/world")
  set("LD_PRELOAD", library())
  set("ASAN_OPTIONS", (os.getenv("ASAN_OPTIONS") or "detect_leaks=0") .. ":verify_asan_link_order=0")
  return table.concat(words, " ")
end

local function until_ready(self)
  local deadline = self.socket.gettime() + WAIT_S
  while true do
    local text = slurp(self.base .. "/events")
    if text:find('"ready"', 1, true) then return #text end
    if text:find('"message":"the site does not load', 1, true) then error(text, 0) end
    if self.socket.gettime() > deadline then error("the gateway is not ready: " .. text, 0) end
    pump(self, 0.002)
    if self.world:next() and self.world:idle() then self.world:move(0.001) end -- its own timers at the begin
    self.world:ask()
  end
end

local function run(self, conf, facts)
  local env = environment(conf, self, facts)
  local binary = os.getenv("MOONLATCH") or "build/moonlatch"
  local base = quote(self.base)
  -- nobody waits for time that stands still, so its workers are ended with the program
  self.shell = assert(io.popen(("exec 2>/dev/null; %s %s run %s --workers 1 --control %s/control "
    .. ">%s/access 2>%s/events & pid=$!; read _; all=\"$pid $(cat /proc/$pid/task/$pid/children)\"; "
    .. "kill -9 $all; wait $pid; rm -rf %s"):format(env, quote(binary),
    quote(site_folder(conf, self.base)), base, base, base, base), "w"))
  until_ready(self)
  self:settle()
  self.logs_at = #slurp(self.base .. "/events")
  self.world:begin(conf.now)
end

function Real:facts() return self.known end

function Real:log(which)
  if not self.shell then error("the app is closed", 2) end
  if which == "access" then return slurp(self.base .. "/access") end
  return slurp(self.base .. "/events"):sub(self.logs_at + 1)
end

--- The page of metrics after the last exchange.
function Real:metrics() return slurp(self.base .. "/trace.metrics") end

--- Ends the program.
function Real:close()
  local shell = self.shell
  self.shell = nil
  if not shell or io.type(shell) ~= "file" then return end -- the collector may have closed it already
  shell:close()
  for s in pairs(self.listeners) do s:close() end
  for _, c in pairs(self.connections) do c:close() end
  for _, claim in ipairs(self.claims) do claim:close() end
  self.names.socket:close()
  self.world:close()
end

local function known_hosts(self, facts)
  for _, host in ipairs(facts.hosts) do self:host(host.name, host.port) end
  for _, server in ipairs(facts.redis) do
    self.redis[server.index] = true
    self:mode(server.index, "accept")
  end
end

local M = {}

--- @param conf { dir =, files =, env =, now =, seed = }
function M.new(conf)
  local ok, socket = pcall(require, "socket")
  if not ok then error("tests of the real program need LuaSocket; on Debian: apt install lua-socket", 0) end
  local sim, why = native.load(conf)
  if not sim then return nil, why end
  local facts = sim:facts()
  sim:close()
  local p = assert(io.popen("mktemp -d"))
  local base = p:read("*l")
  p:close()
  local world = native.world(base .. "/world", conf.seed)
  local self = setmetatable({ socket = socket, base = base, world = world,
    claims = {}, listeners = {}, connections = {}, hosts = {}, host_count = 0, redis = {}, ports = {},
    port_of = {}, known = facts, trace_at = 0, steps = {}, outcomes = {}, sentinel = newproxy(true) }, Real)
  getmetatable(self.sentinel).__gc = function() self:close() end
  self.names = dns.new(private(assert(socket.udp())))
  known_hosts(self, facts)
  local fine, wrong = pcall(run, self, conf, facts)
  if not fine then
    self:close()
    return nil, wrong
  end
  return App.over(self, conf)
end

return M
