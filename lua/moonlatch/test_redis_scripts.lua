--- Lua scripts of a simulated Redis: EVAL, EVALSHA, SCRIPT, as they run in the Lua 5.1 of a real one.
--
-- LuaJIT speaks the same language; what converts values between a script and Redis is written here: integers
-- become numbers, nil becomes false, a returned number loses its fraction, a list ends at its first nil.
local Data = require "moonlatch.test_redis_data"
local native = require "moonlatch.test_native"

local fail = Data.fail
local Scripts = {}
Scripts.__index = Scripts

local function words_of(...)
  local words = { ... }
  if select("#", ...) == 0 then fail "ERR Please specify at least one argument for this redis.call()" end
  for i = 1, select("#", ...) do
    local word = words[i]
    if type(word) == "number" then
      local whole = word == math.floor(word) and math.abs(word) < 1e17
      words[i] = (whole and "%.0f" or "%.17g"):format(word)
    elseif type(word) ~= "string" then
      fail "ERR Lua redis lib command arguments must be strings or integers"
    end
  end
  return words
end

local function copy(from)
  local to = {}
  for key, value in pairs(from) do to[key] = value end
  return to
end

local function json(call, message)
  return function(value)
    local result, why = call(value)
    if why then error(message .. why, 2) end
    return result
  end
end

local function redis_of(call)
  local redis = { LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3 }
  function redis.pcall(...)
    local ok, words = pcall(words_of, ...)
    if not ok then return words end
    return call(words)
  end
  function redis.call(...)
    local reply = call(words_of(...))
    if type(reply) == "table" and reply.err then error(reply, 0) end
    return reply
  end
  function redis.error_reply(text) return { err = text:find("^%u+ ") and text or "ERR " .. text } end
  function redis.status_reply(text) return { ok = text } end
  function redis.sha1hex(text) return native.sha1(text) end
  function redis.log() end
  function redis.replicate_commands() return true end
  return redis
end

-- The globals of a script: reading one that is not there, or making one, is an error.
local function environment(call, keys, args)
  local env = { redis = redis_of(call), KEYS = keys, ARGV = args, string = copy(string), table = copy(table),
                math = copy(math), bit = copy(require "bit"),
                cjson = { encode = json(native.json_encode, "Cannot serialise: "),
                          decode = json(native.json_decode, "Cannot decode: ") } }
  for _, name in ipairs { "assert", "error", "ipairs", "next", "pairs", "pcall", "rawequal", "rawget",
                          "rawset", "select", "setmetatable", "getmetatable", "tonumber", "tostring", "type",
                          "unpack", "xpcall" } do
    env[name] = _G[name]
  end
  env._G = env
  return setmetatable(env, {
    __index = function(_, name)
      error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
    end,
    __newindex = function() error("Attempt to modify a readonly table", 2) end })
end

-- What a script returned, as a reply.
local function reply_of(value)
  local kind = type(value)
  if kind == "number" then return value < 0 and math.ceil(value) or math.floor(value) end
  if kind == "boolean" then return value and 1 or false end
  if kind == "string" then return value end
  if kind ~= "table" then return false end
  if value.err ~= nil then return { err = value.err } end
  if value.ok ~= nil then return { ok = value.ok } end
  local list = {}
  for i, each in ipairs(value) do list[i] = reply_of(each) end
  return list
end

local function run(self, db, sha, count, ...)
  local fn, n, words = self.known[sha], tonumber(count), { ... }
  if not n or n < 0 or n ~= math.floor(n) then fail "ERR value is not an integer or out of range" end
  if n > #words then fail "ERR Number of keys can't be greater than number of args" end
  local keys, args = { unpack(words, 1, n) }, { unpack(words, n + 1) }
  local call = function(command) return self.call(db, command) end
  local ok, value = pcall(setfenv(fn, environment(call, keys, args)))
  if ok then return reply_of(value) end
  if type(value) == "table" and value.err then return { err = value.err } end
  return { err = ("ERR %s script: %s"):format(tostring(value), sha) }
end

local function learn(self, text)
  local sha = self.sha1(text)
  if not self.known[sha] then
    local fn, wrong = loadstring(text, "@user_script")
    if not fn or text:sub(1, 1) == "\27" then
      fail("ERR Error compiling script (new function): " .. tostring(wrong))
    end
    self.known[sha] = fn
  end
  return sha
end

function Scripts:eval(db, text, count, ...)
  return run(self, db, learn(self, text), count, ...)
end

function Scripts:evalsha(db, sha, count, ...)
  sha = (sha or ""):lower()
  if not self.known[sha] then fail "NOSCRIPT No matching script. Please use EVAL." end
  return run(self, db, sha, count, ...)
end

function Scripts:command(what, ...)
  what = (what or ""):upper()
  if what == "LOAD" then return learn(self, (...) or "") end
  if what == "FLUSH" then
    self.known = {}
    return { ok = "OK" }
  end
  if what ~= "EXISTS" then fail "ERR only SCRIPT LOAD, EXISTS and FLUSH are simulated" end
  local list = {}
  for i, sha in ipairs { ... } do list[i] = self.known[sha:lower()] and 1 or 0 end
  return list
end

--- @param call function(db, words) -> reply
-- @param sha1 function(text) -> hexadecimal
function Scripts.new(call, sha1)
  return setmetatable({ call = call, sha1 = sha1, known = {} }, Scripts)
end

return Scripts
