--- A site in the real program, with the calls of a simulated app: real processes, connections and time.
--
-- The program is told by its environment to listen on a free port and to find its upstreams here
-- (MOONLATCH_LISTEN, MOONLATCH_UPSTREAM_NAME).  A shell keeps it: when this process ends in whatever way, the
-- shell's input ends, and it ends the program.
local jwt = require "moonlatch.test_jwt"
local message = require "moonlatch.test_message"
local native = require "moonlatch.test_native"
local Stub = require "moonlatch.test_stub"

local App = {}
local methods = {}
local WAIT_S = 15

-- The test can not go on like this: busted's pending(), which only the test's own environment has, ends it.
local function skip(what)
  local text = what .. " needs a simulation: not with MOONLATCH_TEST=e2e or t.start"
  for level = 2, 50 do
    local info = debug.getinfo(level, "f")
    if not info then break end
    local env = getfenv(info.func)
    if env ~= _G and type(env.pending) == "function" then env.pending(text) end
  end
  error(text, 3)
end

local ffi = require "ffi"
ffi.cdef "int fcntl(int fd, int command, ...);"
local F_SETFD, FD_CLOEXEC = 2, 1

-- No program that is started later keeps the socket open.
local function private(s)
  ffi.C.fcntl(s:getfd(), F_SETFD, ffi.cast("int", FD_CLOEXEC))
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

-- A port of 127.0.0.1 that stays this app's own, also beside other tests: who holds the UDP port of the
-- same number may use it.  It is none that the kernel gives to outgoing connections.
local function claim_port(self)
  for _ = 1, 1000 do
    local port, claim, probe = math.random(15000, 32000), private(assert(self.socket.udp())), nil
    if claim:setsockname("127.0.0.1", port) then probe = self.socket.bind("127.0.0.1", port) end
    if probe then
      probe:close()
      self.claims[#self.claims + 1] = claim
      return port
    end
    claim:close()
  end
  error("no port is free", 0)
end

-- ---- upstreams ----

local function drop_connections(self, stub)
  for s, connection in pairs(self.connections) do
    if connection.stub == stub then
      s:close()
      self.connections[s] = nil
    end
  end
end

local function listen(self, name)
  local server = { port = claim_port(self) }
  local function set_mode(mode)
    if mode == "refuse" then
      if server.socket then server.socket:close() end
      server.socket = nil
      drop_connections(self, server.stub)
    elseif not server.socket then
      server.socket = private(assert(self.socket.bind("127.0.0.1", server.port)))
      server.socket:settimeout(0)
    end
  end
  server.stub = Stub.new("upstream " .. name, set_mode, "accept")
  function server.stub.delay() skip("delay") end
  local fail = server.stub.fail
  function server.stub.fail(stub, how)
    if how == "timeout" then skip('fail("timeout")') end
    return fail(stub, how)
  end
  self.servers[#self.servers + 1] = server
  return server
end

local function reset(s)
  s:setoption("linger", { on = true, timeout = 0 })
  s:close()
end

local function serve(self, s, connection)
  local ok, bytes, failure = pcall(connection.stub.take, connection.stub, connection.raw)
  connection.raw = nil
  if not ok then self.problem = self.problem or bytes end
  if not ok or failure then
    self.connections[s] = nil
    return reset(s)
  end
  connection.out = connection.out .. bytes
end

-- What the socket takes without waiting; the rest.
local function flush(s, out)
  local last, err, partial = s:send(out)
  if err and err ~= "timeout" then return "" end -- reading will tell
  return out:sub((last or partial) + 1)
end

local function read_connection(self, s, connection)
  local bytes, err, part = s:receive(65536)
  connection.text = connection.text .. (bytes or part or "")
  local raw, used = native.parse(connection.text, false)
  if raw then
    connection.text = connection.text:sub(used + 1)
    connection.raw = raw
    serve(self, s, connection)
  elseif err == "closed" then
    s:close()
    self.connections[s] = nil
  end
end

-- Serves what the upstreams are asked.  Can client be read?
local function pump(self, client, left_s)
  local list, of, waiting = { client.socket }, {}, {}
  if client.out ~= "" then waiting[1] = client.socket end
  for _, server in ipairs(self.servers) do
    if server.socket then list[#list + 1], of[server.socket] = server.socket, server end
  end
  for s, connection in pairs(self.connections) do
    list[#list + 1] = s
    if connection.out ~= "" then waiting[#waiting + 1] = s end
  end
  local ready, writable = self.socket.select(list, waiting, left_s)
  for _, s in ipairs(writable) do
    local connection = self.connections[s] or client
    connection.out = flush(s, connection.out)
  end
  for _, s in ipairs(ready) do
    if of[s] then
      local accepted = s:accept()
      if accepted then
        private(accepted):settimeout(0)
        self.connections[accepted] = { stub = of[s].stub, text = "", out = "" }
      end
    elseif self.connections[s] then
      read_connection(self, s, self.connections[s])
    end
  end
  return ready[client.socket]
end

-- ---- the program ----

local function environment(conf, self, facts)
  local words = { "env -i PATH=" .. quote(os.getenv("PATH") or "/usr/bin:/bin") }
  local function set(name, value) words[#words + 1] = name .. "=" .. quote(value) end
  for name, value in pairs(conf.env) do set(name, value) end
  local addresses = {}
  for i, port in ipairs(facts.ports) do
    self.ports[i] = claim_port(self)
    self.port_of[port] = self.ports[i]
    addresses[i] = "127.0.0.1:" .. self.ports[i]
  end
  set("MOONLATCH_LISTEN", table.concat(addresses, ","))
  for _, each in ipairs(facts.upstreams) do
    local server = listen(self, each[1])
    self.upstreams[each[1]] = server.stub
    set("MOONLATCH_UPSTREAM_" .. each[1]:upper():gsub("[^%w]", "_"), "http://127.0.0.1:" .. server.port)
  end
  return table.concat(words, " ")
end

local function wait_for(self, what, test)
  local deadline = self.socket.gettime() + WAIT_S
  while not test() do
    if self.socket.gettime() > deadline then
      error(("the gateway is not %s: %s"):format(what, slurp(self.base .. "/events")), 0)
    end
    self.socket.select(nil, nil, 0.005)
  end
end

local function run(self, conf, facts)
  local env = environment(conf, self, facts)
  local binary = os.getenv("MOONLATCH") or "build/moonlatch"
  local base = quote(self.base)
  self.shell = assert(io.popen(("%s %s run %s --workers 1 --control %s/control >%s/access 2>%s/events & "
    .. "pid=$!; read _; kill $pid; wait $pid; rm -rf %s"):format(env, quote(binary),
    quote(site_folder(conf, self.base)), base, base, base, base), "w"))
  wait_for(self, "ready", function()
    local text = slurp(self.base .. "/events")
    if text:find('"ready"', 1, true) then return true end
    if text:find('"message":"the site does not load', 1, true) then error(text, 0) end
  end)
end

-- ---- requests ----

local function connect(self, r)
  if not self.shell then error("the app is closed", 3) end
  local ip, s = r.ip or "127.0.0.1", self.socket.tcp()
  if not ip:find("^127%.") then skip("ip = " .. ip) end
  assert(s:bind(ip, 0))
  private(s):settimeout(WAIT_S)
  assert(s:connect("127.0.0.1", r.port and (self.port_of[r.port] or r.port) or self.ports[1]))
  return s
end

local record = setmetatable({}, { __index = function(_, name) -- what only the kit knows
  if name == "id" then return "" end
  skip(name == "trace" and "decided_by or trace" or name)
end })

local function exchange(self, s, bytes, method)
  local deadline, text, raw, word = self.socket.gettime() + WAIT_S, "", nil, "again"
  local client = { socket = s, out = bytes }
  s:settimeout(0)
  repeat
    local left = deadline - self.socket.gettime()
    if left <= 0 then error("no answer within " .. WAIT_S .. " s", 0) end
    if pump(self, client, left) then
      local got, err, part = s:receive(65536)
      text = text .. (got or part or "")
      raw, word = native.parse(text, err == "closed", method)
      if not raw and err == "closed" then break end
    end
  until raw or self.problem or word ~= "again"
  s:close()
  self.count = self.count + 1
  local problem = self.problem
  self.problem = nil
  if problem then error(problem, 0) end
  if not raw then return nil, "closed" end
  return message.answer(raw, record)
end

function methods:request(r)
  return exchange(self, connect(self, r), message.request(r), r.method or "GET")
end

function methods:raw(bytes, method)
  return exchange(self, connect(self, {}), bytes, method or "GET")
end

for _, name in ipairs { "get", "head", "post", "put", "patch", "delete", "options" } do
  methods[name] = function(self, path, opts)
    local r = { method = name:upper(), path = path }
    for key, value in pairs(opts or {}) do r[key] = value end
    return exchange(self, connect(self, r), message.request(r), r.method)
  end
end

for _, name in ipairs { "advance", "send", "elapsed" } do
  methods[name] = function() skip("app:" .. name) end
end

function methods:now() return self.socket.gettime() end

--- Ends the program.
function methods:close()
  local shell = rawget(self, "shell")
  self.shell = nil
  if not shell or io.type(shell) ~= "file" then return end -- the collector may have closed it already
  shell:close()
  for _, server in ipairs(self.servers) do
    if server.socket then server.socket:close() end
  end
  for s in pairs(self.connections) do s:close() end
  for _, claim in ipairs(self.claims) do claim:close() end
end

local function lines_of(text)
  local list = {}
  for line in text:gmatch("[^\n]+") do list[#list + 1] = assert(native.json_decode(line)) end
  return list
end

local views = {}
function views.logs(self) return lines_of(slurp(self.base .. "/events")) end
function views.access(self)
  wait_for(self, "writing its access log", function()
    return select(2, slurp(self.base .. "/access"):gsub("\n", "")) >= self.count
  end)
  return lines_of(slurp(self.base .. "/access"))
end
function views.http() skip("app.http") end

local App_meta = { __index = function(self, name)
  if views[name] then return views[name](self) end
  return methods[name]
end }

methods.jwt, methods.key_pair = jwt.token, jwt.key_pair

--- @param conf { dir =, files =, env = }
function App.new(conf)
  if conf.simulated then skip("now or seed") end
  local ok, socket = pcall(require, "socket")
  if not ok then error("tests of the real program need LuaSocket; on Debian: apt install lua-socket", 0) end
  local sim, why = native.load(conf)
  if not sim then return nil, why end
  local facts = sim:facts()
  sim:close()
  local p = assert(io.popen("mktemp -d"))
  local self = setmetatable({ socket = socket, base = p:read("*l"), servers = {},
                              connections = {}, claims = {},
    ports = {}, port_of = {}, upstreams = {}, count = 0, env = conf.env, key_counts = {},
    warnings = facts.warnings, sentinel = newproxy(true) }, App_meta)
  p:close()
  getmetatable(self.sentinel).__gc = function() self:close() end
  setmetatable(self.upstreams, { __index = function(_, name)
    error(("the site has no upstream %s"):format(tostring(name)), 2)
  end })
  run(self, conf, facts)
  return self
end

return App
