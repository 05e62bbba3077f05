--- The commands of a simulated Redis.
--
-- A command is { fewest arguments, most, fn(db, ...) -> reply }.  Replies are those of Lua scripts in Redis:
-- numbers, strings, { ok = status }, { err = text }, lists, and false for nil.
local args = require "moonlatch.test_redis_args"
local collections = require "moonlatch.test_redis_collections"
local Data = require "moonlatch.test_redis_data"

local fail, integer, float, text_of, syntax = Data.fail, args.integer, args.float, args.text, args.syntax
local ANY = math.huge
local OK = { ok = "OK" }
local C = {}
for name, command in pairs(collections) do C[name] = command end

-- ---- keys ----

C.DEL = { 1, ANY, function(db, ...)
  local n = 0
  for _, key in ipairs { ... } do n = n + (db:remove(key) and 1 or 0) end
  return n
end }
C.UNLINK = C.DEL
C.EXISTS = { 1, ANY, function(db, ...)
  local n = 0
  for _, key in ipairs { ... } do n = n + (db:find(key) and 1 or 0) end
  return n
end }
C.TYPE = { 1, 1, function(db, key)
  local value = db:find(key)
  return { ok = value and value.kind or "none" }
end }

local flags_of_expire = {
  NX = function(old) return not old end, XX = function(old) return old ~= nil end,
  GT = function(old, new) return old ~= nil and new > old end,
  LT = function(old, new) return not old or new < old end,
}

local function expire(unit, absolute)
  return { 2, 3, function(db, key, amount, flag)
    local value, ends = db:find(key), integer(amount) * unit
    if not absolute then ends = ends + db.now_ms() end
    local test = flag and (flags_of_expire[flag:upper()] or fail("ERR Unsupported option " .. flag))
    if not value or (test and not test(value.ends_ms, ends)) then return 0 end
    value.ends_ms = ends
    db:find(key)
    return 1
  end }
end
C.EXPIRE, C.PEXPIRE, C.EXPIREAT, C.PEXPIREAT = expire(1000), expire(1), expire(1000, true), expire(1, true)

local function left(unit)
  return { 1, 1, function(db, key)
    local value = db:find(key)
    if not value then return -2 end
    if not value.ends_ms then return -1 end
    return math.floor((value.ends_ms - db.now_ms() + unit / 2) / unit)
  end }
end
C.TTL, C.PTTL = left(1000), left(1)
C.PERSIST = { 1, 1, function(db, key)
  local value = db:find(key)
  if not value or not value.ends_ms then return 0 end
  value.ends_ms = nil
  return 1
end }

-- "a*[bc]?" as a Lua pattern
local function pattern_of(glob)
  local out = glob:gsub("[%%%.%+%-%(%)%$%^]", "%%%0"):gsub("[%*%?]", { ["*"] = ".*", ["?"] = "." })
  return "^" .. out:gsub("%[%%%^", "[^") .. "$"
end

local function matching(db, glob)
  local list, pattern = {}, pattern_of(glob)
  for _, key in ipairs(db:names()) do
    if key:find(pattern) then list[#list + 1] = key end
  end
  return list
end
C.KEYS = { 1, 1, matching }
C.SCAN = { 1, ANY, function(db, _, ...)
  local options, glob = { ... }, "*"
  for i = 1, #options, 2 do
    local name = options[i]:upper()
    if name == "MATCH" then glob = options[i + 1] elseif name ~= "COUNT" then syntax() end
  end
  return { "0", matching(db, glob) }
end }
C.DBSIZE = { 0, 0, function(db) return #db:names() end }
C.FLUSHDB = { 0, 1, function(db)
  db.keys = {}
  return OK
end }
C.FLUSHALL = C.FLUSHDB
C.RENAME = { 2, 2, function(db, from, to)
  local value = db:find(from) or fail "ERR no such key"
  db.keys[from], db.keys[to] = nil, value
  return OK
end }

-- ---- strings ----

local function get(db, key)
  local value = db:find(key, "string")
  return value and value.text or false
end

local function put(db, key, text, ends_ms)
  local value = db:replace(key, "string")
  value.text, value.ends_ms = text, ends_ms
end

local function lifetime(amount, unit, what)
  local n = integer(amount or syntax())
  if n <= 0 then fail(("ERR invalid expire time in '%s' command"):format(what)) end
  return n * unit
end

local function set_options(db, list)
  local o, i = {}, 1
  while list[i] do
    local name = list[i]:upper()
    if name == "NX" or name == "XX" or name == "GET" or name == "KEEPTTL" then
      o[name] = true
    elseif name == "EX" or name == "PX" then
      i = i + 1
      o.ends_ms = db.now_ms() + lifetime(list[i], name == "EX" and 1000 or 1, "set")
    elseif name == "EXAT" or name == "PXAT" then
      i = i + 1
      o.ends_ms = lifetime(list[i], name == "EXAT" and 1000 or 1, "set")
    else
      syntax()
    end
    i = i + 1
  end
  if (o.NX and o.XX) or (o.KEEPTTL and o.ends_ms) then syntax() end
  return o
end

C.GET = { 1, 1, get }
C.SET = { 2, ANY, function(db, key, text, ...)
  local o = set_options(db, { ... })
  local before = o.GET and get(db, key)
  local old = db:find(key)
  if (o.NX and old) or (o.XX and not old) then return before or false end
  put(db, key, text, o.ends_ms or o.KEEPTTL and old and old.ends_ms or nil)
  if o.GET then return before end
  return OK
end }
C.SETEX = { 3, 3, function(db, key, seconds, text)
  put(db, key, text, db.now_ms() + lifetime(seconds, 1000, "setex"))
  return OK
end }
C.PSETEX = { 3, 3, function(db, key, ms, text)
  put(db, key, text, db.now_ms() + lifetime(ms, 1, "psetex"))
  return OK
end }
C.SETNX = { 2, 2, function(db, key, text)
  if db:find(key) then return 0 end
  put(db, key, text)
  return 1
end }
C.GETSET = { 2, 2, function(db, key, text)
  local before = get(db, key)
  put(db, key, text)
  return before
end }
C.GETDEL = { 1, 1, function(db, key)
  local before = get(db, key)
  db:remove(key)
  return before
end }
C.GETEX = { 1, 3, function(db, key, option, amount)
  local value, name = db:find(key, "string"), option and option:upper()
  if not value then return false end
  if name == "PERSIST" then value.ends_ms = nil
  elseif name == "EX" or name == "PX" then
    value.ends_ms = db.now_ms() + lifetime(amount, name == "EX" and 1000 or 1, "getex")
  elseif name then syntax() end
  return value.text
end }
C.MGET = { 1, ANY, function(db, ...)
  local list = {}
  for i, key in ipairs { ... } do
    local value = db:find(key)
    list[i] = value and value.kind == "string" and value.text or false
  end
  return list
end }
C.MSET = { 2, ANY, function(db, ...)
  local list = { ... }
  if #list % 2 ~= 0 then fail "ERR wrong number of arguments for 'mset' command" end
  for i = 1, #list, 2 do put(db, list[i], list[i + 1]) end
  return OK
end }
C.APPEND = { 2, 2, function(db, key, text)
  local value = db:obtain(key, "string")
  value.text = value.text .. text
  return #value.text
end }
C.STRLEN = { 1, 1, function(db, key) return #(get(db, key) or "") end }

local function add(db, key, n)
  local sum = integer(get(db, key) or "0") + n
  db:obtain(key, "string").text = text_of(sum)
  return sum
end
C.INCR = { 1, 1, function(db, key) return add(db, key, 1) end }
C.DECR = { 1, 1, function(db, key) return add(db, key, -1) end }
C.INCRBY = { 2, 2, function(db, key, n) return add(db, key, integer(n)) end }
C.DECRBY = { 2, 2, function(db, key, n) return add(db, key, -integer(n)) end }
C.INCRBYFLOAT = { 2, 2, function(db, key, n)
  local sum = text_of(float(get(db, key) or "0") + float(n))
  db:obtain(key, "string").text = sum
  return sum
end }

-- ---- the server ----

C.PING = { 0, 1, function(_, text) return text or { ok = "PONG" } end }
C.ECHO = { 1, 1, function(_, text) return text end }
C.TIME = { 0, 0, function(db)
  local us = db.now_us()
  return { ("%.0f"):format(math.floor(us / 1e6)), ("%.0f"):format(us % 1e6) }
end }
C.PUBLISH = { 2, 2, function() return 0 end }

return C
