--- A Redis in the hand of a test: it speaks RESP with the gateway's own client, and keeps time by the app.
--
--   app.redis:set("k", "v", "PX", 500)   app.redis:get "k"   app.redis:hgetall "h"     any command, direct
--   app.redis:down()   app.redis:down("timeout")   app.redis:down("LOADING ...")   app.redis:up()
--   app.redis:delay(0.2)   app.redis.calls   .last   .requests   :clear()
--
-- One stands for every Redis that the site uses; each database has its own keys.
local Data = require "moonlatch.test_redis_data"
local commands = require "moonlatch.test_redis_commands"
local native = require "moonlatch.test_native"
local scripts = require "moonlatch.test_redis_scripts"

local Redis = {}
local methods = {}

-- ---- replies as bytes ----

local function encode(value)
  local kind = type(value)
  if value == nil or value == false then return "$-1\r\n" end
  if kind == "number" then return (":%.0f\r\n"):format(value) end
  if kind == "string" then return "$" .. #value .. "\r\n" .. value .. "\r\n" end
  if value == true then return ":1\r\n" end
  if value.ok then return "+" .. value.ok:gsub("[\r\n]", " ") .. "\r\n" end
  if value.err then return "-" .. value.err:gsub("[\r\n]", " ") .. "\r\n" end
  local parts = { "*" .. #value .. "\r\n" }
  for i = 1, #value do parts[i + 1] = encode(value[i]) end
  return table.concat(parts)
end

-- The words of the first command in text, and the rest; nil while it is not complete.
local function decode(text)
  local count, at = text:match("^%*(%d+)\r\n()")
  if not count then
    if text ~= "" and text:sub(1, 1) ~= "*" then error("the gateway sent no RESP: " .. text, 0) end
    return nil
  end
  local words = {}
  for i = 1, tonumber(count) do
    local len, after = text:match("^%$(%d+)\r\n()", at)
    local last = len and after + tonumber(len) - 1
    if not last or #text < last + 2 then return nil end
    words[i], at = text:sub(after, last), last + 3
  end
  return words, text:sub(at)
end

-- ---- commands ----

local function guarded(fn, ...)
  local ok, reply = pcall(fn, ...)
  if ok then return reply end
  if type(reply) == "table" and reply.err then return { err = reply.err } end
  error(reply, 0)
end

function methods:database(n)
  if not self.databases[n] then self.databases[n] = Data.new(self.now_us) end
  return self.databases[n]
end

-- One command that is no matter of the connection.
local function run(db, words)
  local name = words[1]:upper()
  local command = commands[name]
  if not command then
    return { err = ("ERR unknown command '%s': the simulated Redis of moonlatch.test does not have it")
                   :format(words[1]) }
  end
  if #words - 1 < command[1] or #words - 1 > command[2] then
    return { err = ("ERR wrong number of arguments for '%s' command"):format(words[1]:lower()) }
  end
  return guarded(command[3], db, unpack(words, 2))
end

local OK = { ok = "OK" }
local of_connection = {} -- commands that change or need the connection; not counted as calls

function of_connection.AUTH() return OK end
function of_connection.QUIT() return OK end
function of_connection.CLIENT() return OK end
function of_connection.READONLY() return OK end
function of_connection.ASKING() return OK end
function of_connection.SELECT(self, c, n)
  if not (n or ""):find("^%d+$") then return { err = "ERR value is not an integer or out of range" } end
  c.db = self:database(tonumber(n))
  return OK
end
function of_connection.CLUSTER(_, c, what)
  if (what or ""):upper() ~= "SLOTS" then return { err = "ERR only CLUSTER SLOTS is simulated" } end
  return { { 0, 16383, { c.host, c.port, ("0"):rep(40) } } }
end
function of_connection.MULTI(_, c)
  c.queued = {}
  return OK
end
function of_connection.DISCARD(_, c)
  c.queued = nil
  return OK
end

local function run_any(self, db, words)
  local name = words[1]:upper()
  if name == "EVAL" or name == "EVALSHA" then
    return guarded(self.scripts[name:lower()], self.scripts, db, unpack(words, 2))
  elseif name == "SCRIPT" then
    return guarded(self.scripts.command, self.scripts, unpack(words, 2))
  end
  return run(db, words)
end

function of_connection.EXEC(self, c)
  local list, queued = {}, c.queued
  if not queued then return { err = "ERR EXEC without MULTI" } end
  c.queued = nil
  if queued.refused then return { err = "EXECABORT Transaction discarded because of previous errors." } end
  for i, words in ipairs(queued) do list[i] = run_any(self, c.db, words) end
  return list
end

-- Refused while it is queued: what is no command at all.
local function queue(c, words)
  local name = words[1]:upper()
  local command = commands[name]
  if not command and name ~= "EVAL" and name ~= "EVALSHA" then
    c.queued.refused = true
    return { err = ("ERR unknown command '%s'"):format(words[1]) }
  end
  c.queued[#c.queued + 1] = words
  return { ok = "QUEUED" }
end

local function note(self, words)
  self.calls = self.calls + 1
  self.last = words
  self.requests[self.calls] = words
end

local function execute(self, c, words)
  local name = words[1]:upper()
  local special = of_connection[name]
  local hello = special or (name == "PING" and not c.greeted)
  if not hello then note(self, words) end
  c.greeted = c.greeted or name == "PING"
  if self.error_text and not special then return { err = self.error_text } end
  if special then return special(self, c, unpack(words, 2)) end
  if c.queued then return queue(c, words) end
  return run_any(self, c.db, words)
end

-- ---- connections ----

--- A new connection: its state, for feed.
function methods:connection(host, port)
  return { text = "", db = self:database(0), host = host or "", port = port or 0 }
end

--- Bytes came.  The bytes of the answers; or nil and "silent".
function methods:feed(c, bytes)
  local out = {}
  c.text = c.text .. bytes
  while true do
    local words, rest = decode(c.text)
    if not words then break end
    c.text = rest
    out[#out + 1] = encode(execute(self, c, words))
  end
  if self.silent then return nil, "silent" end
  return table.concat(out)
end

-- ---- the test's side ----

local modes = { refused = "refuse", reset = "reset", timeout = "accept" }

-- A change of what the network does breaks the connections there are.
local function network(self, mode)
  if self.mode ~= mode then self.set_mode(mode) end
  self.mode = mode
end

--- Fails: "refused" (the default: no connection, and those there are break), "reset" (each breaks with the
-- next command), "timeout" (nothing is answered); any other text is the error that each command gets, such as
-- "LOADING Redis is loading the dataset in memory".
function methods:down(how)
  how = how or "refused"
  if type(how) ~= "string" then
    error('redis:down: "refused", "reset", "timeout" or the text of an error', 2)
  end
  self.silent, self.error_text = how == "timeout", not modes[how] and how or nil
  network(self, modes[how] or "accept")
  return self
end

--- Works again, with the keys it had.  The gateway finds that out by itself, within five seconds:
-- app:advance(5).
function methods:up()
  self.silent, self.error_text = false, nil
  network(self, "accept")
  return self
end

--- Answers that many seconds later.
function methods:delay(seconds)
  if type(seconds) ~= "number" or seconds < 0 then error("redis:delay: seconds", 2) end
  self.wait_s = seconds
  return self
end

--- Forgets what was asked; the keys stay.  All keys go with :flushall().
function methods:clear()
  self.calls, self.last, self.requests = 0, nil, {}
  return self
end

function methods:flushall()
  for n in pairs(self.databases) do self.databases[n].keys = {} end
  return "OK"
end

-- As gw.redis gives it: nil for nil; nil and the text of an error.
local function plain(value)
  if type(value) ~= "table" then return value ~= false and value or nil end
  if value.err then return nil, value.err end
  return value.ok or value
end

--- One command, direct, in the database that the site uses; failures that the test plays do not touch it.
function methods:command(...)
  local words = { ... }
  for i, word in ipairs(words) do
    words[i] = type(word) == "number" and ("%.17g"):format(word) or word
    if type(words[i]) ~= "string" then error("redis: an argument is a text or a number", 2) end
  end
  return plain(run_any(self, self:database(self.default_db), words))
end

local Redis_meta = { __index = function(self, name)
  if methods[name] then return methods[name] end
  if type(name) == "string" and (commands[name:upper()] or name == "eval" or name == "evalsha") then
    return function(_, ...) return methods.command(self, name, ...) end
  end
end }

--- @param app now(): the clock
-- @param db number of the database for direct commands
-- @param set_mode function(mode) "accept" | "refuse" | "reset": what the network does
function Redis.new(now, db, set_mode)
  local self = setmetatable({ databases = {}, default_db = db, set_mode = set_mode, mode = "accept",
                              wait_s = 0, silent = false, calls = 0, requests = {} }, Redis_meta)
  function self.now_us() return math.floor(now() * 1e6 + 0.5) end
  self.scripts = scripts.new(run, native.sha1)
  return self
end

return Redis
