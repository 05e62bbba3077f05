--- A site in a simulation with the calls of spec/support/gateway.lua, so that a spec that was written for the
--- real program runs there too: real bytes through the same core, and no time passes.
--
-- What only processes can do (a reload, signals, commands) makes a test pending, with the reason.
local gateway = require "spec.support.gateway"
local t = require "moonlatch.test"

local M = {}
local Site = {}
Site.__index = Site
local LIMIT_S, FIRST_PORT = 30, 18080

--- Ends the running test as pending.
function M.skip(what)
  local text = what .. " needs the real program: MOONLATCH_TEST=e2e"
  for level = 2, 50 do
    local info = debug.getinfo(level, "f")
    if not info then break end
    local env = getfenv(info.func)
    if env ~= _G and type(env.pending) == "function" then env.pending(text) end
  end
  error(text, 3)
end

-- Moves on from event to event until test() gives something true.
local function wait(app, test, what, limit_s)
  local limit = app:elapsed() + (limit_s or LIMIT_S)
  app:advance(0)
  while true do
    local result = test()
    if result then return result end
    local next_s = app.sim:next()
    if not next_s or app:elapsed() + next_s > limit then error("did not happen in time: " .. what, 3) end
    app:advance(math.max(next_s, 0))
  end
end

-- ---- connections with the calls of LuaSocket ----

local Connection = {}
Connection.__index = Connection

function Connection.settimeout() return 1 end
function Connection.setoption() return 1 end
function Connection:close() self.wire:close() end

function Connection:send(bytes)
  if not self.wire:ended() then self.wire:send(bytes) end
  self.app:advance(0)
  return #bytes
end

local function fill(self)
  if not self.ended then
    self.ended = self.wire:ended()
    self.text = self.text .. self.wire:take()
  end
end

-- The first bytes that what asks for, when they are there: their number, and of the end that is left out.
local function wanted(self, what)
  if what == "*a" then return self.ended and #self.text, 0 end
  if type(what) == "number" then return #self.text >= what and what, 0 end
  local _, last = self.text:find("\n", 1, true)
  return last, last and (self.text:sub(last - 1, last - 1) == "\r" and 2 or 1)
end

function Connection:receive(what)
  what = what or "*l"
  local ok = pcall(wait, self.app, function()
    fill(self)
    return wanted(self, what) or self.ended
  end, "an answer", 10)
  local count, left_out = wanted(self, what)
  if count then
    local bytes = self.text:sub(1, count - left_out)
    self.text = self.text:sub(count + 1)
    return bytes
  end
  return nil, ok and "closed" or "timeout", self.text
end

function Site:connect(port)
  return setmetatable({ app = self.app, wire = self.app.sim:client("127.0.0.1", port or 0), text = "" },
                      Connection)
end

-- ---- the site ----

function Site:raw(bytes, port)
  local s = self:connect(port)
  s:send(bytes)
  local all, err, part = s:receive "*a"
  s:close()
  return all or part, err
end

Site.ask, Site.get = gateway.ask, gateway.get

--- Also what the load warned of, which the real program logs.
function Site:output()
  return self.app.warnings .. self.app.sim:log "events" .. self.app.sim:log "access"
end

function Site:wait_for_log(text)
  return wait(self.app, function()
    local log = self:output()
    return log:find(text, 1, true) and log
  end, "in the log: " .. text)
end

function Site:port_of(name) return self.ports[name] end
function Site:stop() self.app:close() end
function Site.alive() return true end
for _, name in ipairs { "save", "command", "signal", "wait" } do
  Site[name] = function() M.skip(name) end
end

local current -- the site that was started last: its clock is the spec's

--- As gateway.start; PORT words become numbers.
function M.start(files, opts)
  opts = opts or {}
  local self = setmetatable({ ports = {} }, Site)
  local count = 0
  local function number(word)
    if not self.ports[word] then
      self.ports[word], count = FIRST_PORT + count, count + 1
    end
    return tostring(self.ports[word])
  end
  number "PORT"
  local texts = {}
  for name, text in pairs(files) do texts[name] = text:gsub("%f[%w_]PORT%d*%f[^%w_]", number) end
  self.app = t.load(texts, { env = opts.env })
  for _, stub in pairs(self.app.upstreams) do stub:fail "refused" end -- nobody is there but the site itself
  self.port = self.ports.PORT
  current = self
  return self
end

function M.eventually(test, what, limit_s)
  if not current then return gateway.eventually(test, what, limit_s) end
  local app = current.app
  local limit = app:elapsed() + (limit_s or 20)
  while true do
    local result = test()
    if result then return result end
    if app:elapsed() > limit then error("did not happen in time: " .. (what or "condition"), 2) end
    app:advance(0.01)
  end
end

function M.gettime() return current.app:now() end
function M.pause(seconds) current.app:advance(seconds) end
function M.stop_all() current = nil end

return M
