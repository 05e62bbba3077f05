--- A site on a simulated core: its requests, upstreams and clock are in the hand of a test.
--
-- Time stands still.  A request that waits (an upstream that is late, gw.sleep, a timeout) moves the clock to
-- the next moment at which something happens, and so on until there is an answer: nothing waits for real.
local jwt = require "moonlatch.test_jwt"
local message = require "moonlatch.test_message"
local metrics = require "moonlatch.test_metrics"
local native = require "moonlatch.test_native"
local Redis = require "moonlatch.test_redis"
local Stub = require "moonlatch.test_stub"
local ws = require "moonlatch.test_ws"

local App = {}
local methods = {}

local WAIT_MAX_S, EVENTS_MAX = 3600, 1000000

-- ---- upstreams ----

local function stub_on(self, name, hosts, mode)
  local stub
  for _, host in ipairs(hosts) do stub = stub or self.by_host[host] end
  if not stub then
    stub = Stub.new(name, function(m)
      for _, host in ipairs(hosts) do self.sim:mode(host, m) end
    end, mode)
  end
  for _, host in ipairs(hosts) do self.by_host[host] = self.by_host[host] or stub end
  return stub
end

local function upstreams_of(self)
  local upstreams = {}
  for _, each in ipairs(self.sim:facts().upstreams) do
    upstreams[each[1]] = stub_on(self, "upstream " .. each[1], { unpack(each, 2) }, "accept")
  end
  return setmetatable(upstreams, { __index = function(_, name)
    error(("the site has no upstream %s"):format(tostring(name)), 2)
  end })
end

-- Hosts that scripts call with gw.http: they refuse connections until a test names them.
local function hosts_of(self)
  return setmetatable({}, { __index = function(t, url)
    local tls, name, port = tostring(url):match("^http(s?)://([^/:]+):?(%d*)$")
    if not name then error('http: "http://host" or "https://host:port" is expected', 2) end
    local host = self.sim:host(name:lower(), tonumber(port) or (tls == "s" and 443 or 80))
    local stub = stub_on(self, url, { host }, "accept")
    rawset(t, url, stub)
    return stub
  end })
end

local function answer(self, connection, host, raw)
  local stub = self.by_host[host]
  local ok, bytes, failure = pcall(stub.take, stub, raw)
  if not ok then
    self.problem = self.problem or bytes
    connection:close()
  elseif failure == "reset" then
    connection:close()
  elseif failure ~= "silent" then
    self:later(stub.wait_s, function() connection:send(bytes) end)
  end
end

-- ---- Redis ----

-- All that the site uses are one; its databases are not.
local function redis_of(self)
  local servers = self.sim:facts().redis
  local redis = Redis.new(function() return self:now() end, servers[1] and servers[1].db or 0, function(mode)
    for _, server in ipairs(servers) do self.sim:mode(server.index, mode) end
  end)
  self.redis_servers, self.redis_connections = {}, setmetatable({}, { __mode = "k" })
  for _, server in ipairs(servers) do self.redis_servers[server.index] = server end
  return redis
end

local function answer_redis(self, connection, host, bytes)
  local redis, server = self.redis, self.redis_servers[host]
  local state = self.redis_connections[connection]
  if not state then
    state = redis:connection(server.name, server.port)
    self.redis_connections[connection] = state
  end
  local ok, reply = pcall(redis.feed, redis, state, bytes)
  if not ok then
    self.problem = self.problem or reply
    connection:close()
  elseif redis.mode == "reset" then
    connection:close()
  elseif reply then
    self:later(redis.wait_s, function() connection:send(reply) end)
  end
end

-- ---- time ----

function methods:elapsed()
  local _, elapsed = self.sim:clock()
  return elapsed
end

--- The wall clock that the site sees, in seconds since 1970.
function methods:now()
  return (self.sim:clock())
end

function methods:later(seconds, fn)
  if seconds == 0 then return fn() end
  local due, list = self:elapsed() + seconds, self.events
  local at = #list + 1
  while at > 1 and list[at - 1].due > due do at = at - 1 end
  table.insert(list, at, { due = due, fn = fn })
end

-- Everything that happens without time passing.
local function turn(self)
  local sim = self.sim
  repeat
    sim:settle()
    local connection, host, raw = sim:request()
    local any = connection
    while connection do
      if type(raw) == "string" then answer_redis(self, connection, host, raw)
      else answer(self, connection, host, raw) end
      connection, host, raw = sim:request()
    end
  until not any
  local problem = self.problem
  self.problem = nil
  if problem then error(problem, 0) end
end

-- Moves on to the next event that comes within limit seconds.
local function step(self, limit)
  local next_s, event = self.sim:next(), self.events[1]
  local left = event and math.max(0, event.due - self:elapsed())
  if event and (not next_s or left <= next_s) then
    if left > limit then return false end
    table.remove(self.events, 1)
    self.sim:move(left)
    pcall(event.fn) -- the connection may be gone
  else
    if not next_s or next_s > limit then return false end
    self.sim:move(next_s)
  end
  turn(self)
  return true
end

--- Lets seconds pass: timers fire and late upstreams answer, in order, at once.
function methods:advance(seconds)
  if type(seconds) ~= "number" or seconds < 0 then error("advance: seconds", 2) end
  local target, count = self:elapsed() + seconds, 0
  turn(self)
  while step(self, target - self:elapsed()) do
    count = count + 1
    if count > EVENTS_MAX then error("advance: there is no end of timers", 2) end
  end
  self.sim:move(target - self:elapsed())
  turn(self)
end

-- ---- requests ----

local function connection_for(self, r)
  local ip, port = r.ip or "127.0.0.1", r.port or 0
  local key = ip .. " " .. port
  local connection = self.clients[key]
  if not connection or connection:ended() then
    if connection then connection:close() end
    connection = self.sim:client(ip, port)
  end
  self.clients[key] = nil -- in use
  return connection, key
end

local Pending = {}
Pending.__index = Pending

-- The answer when it is there; or nil, and why it will never come.
local function poll(pending)
  local app, connection = pending.app, pending.connection
  local raw, why = connection:response(pending.method)
  if raw then
    pending.result = message.answer(raw, connection:record())
    if app.clients[pending.key] or connection:ended() then connection:close()
    else app.clients[pending.key] = connection end
  elseif why ~= "again" then
    connection:close()
    pending.why = why
  end
  return pending.result, pending.why
end

--- Is the answer there?
function Pending:done()
  if not self.result and not self.why then
    turn(self.app)
    poll(self)
  end
  return self.result ~= nil or self.why ~= nil
end

--- The answer; waits for it.
-- @return res, or nil, "closed" | "reset" when the connection ends without an answer
function Pending:wait()
  local app, count = self.app, 0
  local limit = app:elapsed() + WAIT_MAX_S
  while not self:done() do
    count = count + 1
    if count > EVENTS_MAX or not step(app, limit - app:elapsed()) then
      error(("no answer to %s %s: the site waits for nothing that will happen within an hour")
            :format(self.method, self.path), 2)
    end
  end
  return self.result, self.why
end

--- The client goes away.
function Pending:cancel()
  if not self.result and not self.why then
    self.connection:close()
    self.why = "cancelled"
    turn(self.app)
  end
end

--- Sends a request without waiting for the answer.
-- @param r { method, path, host, headers, body, json, ip, port }
function methods:send(r)
  local bytes = message.request(r)
  local connection, key = connection_for(self, r)
  connection:send(bytes)
  local pending = setmetatable({ app = self, connection = connection, key = key, method = r.method or "GET",
                                 path = r.path or "/" }, Pending)
  return pending
end

function methods:request(r)
  return self:send(r):wait()
end

--- Sends bytes as they are on a connection of their own; the answer to a request of that method.
function methods:raw(bytes, method)
  local connection = self.sim:client("127.0.0.1", 0)
  connection:send(bytes)
  return setmetatable({ app = self, connection = connection, key = "raw", method = method or "GET",
                        path = "raw bytes" }, Pending):wait()
end

for _, name in ipairs { "get", "head", "post", "put", "patch", "delete", "options" } do
  methods[name] = function(self, path, opts)
    local r = { method = name:upper(), path = path }
    for key, value in pairs(opts or {}) do r[key] = value end
    return self:send(r):wait()
  end
end

--- Opens a WebSocket: moonlatch.test_ws.
function methods:ws(path, opts) return ws.open(self, path, opts, turn, step) end

-- ---- what it said ----

local function lines_of(text)
  local list = {}
  for line in text:gmatch("[^\n]+") do list[#list + 1] = assert(native.json_decode(line)) end
  return list
end

local views = {}
--- What scripts and core logged, oldest first: { message, level, ... }.
function views.logs(self) return lines_of(self.sim:log("events")) end
--- The lines of the access log.
function views.access(self) return lines_of(self.sim:log("access")) end
--- What a scraper would get: app.metrics(name, labels) is a number, app.metrics[name] a list of samples.
function views.metrics(self) return metrics.parse(self.sim:metrics()) end
--- What `moonlatch check` would warn of.
function views.warnings(self) return self.sim:facts().warnings end

local App_meta = { __index = function(self, name)
  if views[name] then return views[name](self) end
  return methods[name]
end }

--- Ends the simulation; otherwise that happens when nobody has the app any more.
function methods:close()
  self.sim:close()
end

methods.jwt, methods.key_pair = jwt.token, jwt.key_pair

--- The calls of an app over a simulation, or over something that has its calls.
function App.over(sim, conf)
  local self = setmetatable({ sim = sim, by_host = {}, clients = {}, events = {}, env = conf.env,
                              key_counts = {} }, App_meta)
  self.upstreams, self.http, self.redis = upstreams_of(self), hosts_of(self), redis_of(self)
  turn(self)
  return self
end

--- @param conf { dir =, files =, env =, now =, seed = }
function App.new(conf)
  local sim, why = native.load(conf)
  if not sim then return nil, why end
  return App.over(sim, conf)
end

return App
