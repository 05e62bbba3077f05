--- Hashes, sets, lists and sorted sets of a simulated Redis: commands as in test_redis_commands.lua.
local args = require "moonlatch.test_redis_args"
local Data = require "moonlatch.test_redis_data"

local fail, integer, float, text_of, syntax, range =
  Data.fail, args.integer, args.float, args.text, args.syntax, args.range
local ANY = math.huge
local OK = { ok = "OK" }
local C = {}

-- ---- hashes ----

local function hash_of(db, key)
  local value = db:find(key, "hash")
  return value and value.map or { names = {}, values = {}, count = 0 }
end

local function hset(db, key, ...)
  local list, made = { ... }, 0
  if #list % 2 ~= 0 then fail "ERR wrong number of arguments for 'hset' command" end
  local map = db:obtain(key, "hash").map
  for i = 1, #list, 2 do made = made + (map:set(list[i], list[i + 1]) and 1 or 0) end
  return made
end

C.HSET = { 3, ANY, hset }
C.HMSET = { 3, ANY, function(...)
  hset(...)
  return OK
end }
C.HSETNX = { 3, 3, function(db, key, field, text)
  if hash_of(db, key).values[field] then return 0 end
  return hset(db, key, field, text)
end }
C.HGET = { 2, 2, function(db, key, field) return hash_of(db, key).values[field] or false end }
C.HMGET = { 2, ANY, function(db, key, ...)
  local list, values = {}, hash_of(db, key).values
  for i, field in ipairs { ... } do list[i] = values[field] or false end
  return list
end }
C.HGETALL = { 1, 1, function(db, key)
  local list, map = {}, hash_of(db, key)
  for i, name in ipairs(map.names) do list[2 * i - 1], list[2 * i] = name, map.values[name] end
  return list
end }
C.HKEYS = { 1, 1, function(db, key) return { unpack(hash_of(db, key).names) } end }
C.HVALS = { 1, 1, function(db, key)
  local list, map = {}, hash_of(db, key)
  for i, name in ipairs(map.names) do list[i] = map.values[name] end
  return list
end }
C.HLEN = { 1, 1, function(db, key) return hash_of(db, key).count end }
C.HEXISTS = { 2, 2, function(db, key, field) return hash_of(db, key).values[field] and 1 or 0 end }
C.HINCRBY = { 3, 3, function(db, key, field, n)
  local before = hash_of(db, key).values[field] or "0"
  if not before:find("^-?%d+$") then fail "ERR hash value is not an integer" end
  local sum = tonumber(before) + integer(n)
  hset(db, key, field, text_of(sum))
  return sum
end }

local function remove_from(kind)
  return { 2, ANY, function(db, key, ...)
    local value, n = db:find(key, kind), 0
    for _, name in ipairs { ... } do n = n + (value and value.map:remove(name) and 1 or 0) end
    db:tidy(key)
    return n
  end }
end
C.HDEL, C.SREM, C.ZREM = remove_from "hash", remove_from "set", remove_from "zset"

-- ---- sets ----

local function members(db, key)
  local value = db:find(key, "set")
  return value and value.map or { names = {}, values = {}, count = 0 }
end

C.SADD = { 2, ANY, function(db, key, ...)
  local map, made = db:obtain(key, "set").map, 0
  for _, name in ipairs { ... } do made = made + (map:set(name, true) and 1 or 0) end
  return made
end }
C.SMEMBERS = { 1, 1, function(db, key) return { unpack(members(db, key).names) } end }
C.SCARD = { 1, 1, function(db, key) return members(db, key).count end }
C.SISMEMBER = { 2, 2, function(db, key, name) return members(db, key).values[name] and 1 or 0 end }
C.SMISMEMBER = { 2, ANY, function(db, key, ...)
  local list, values = {}, members(db, key).values
  for i, name in ipairs { ... } do list[i] = values[name] and 1 or 0 end
  return list
end }

-- ---- lists ----

local function items(db, key)
  local value = db:find(key, "list")
  return value and value.items or {}
end

local function push(first)
  return { 2, ANY, function(db, key, ...)
    local list = db:obtain(key, "list").items
    for _, text in ipairs { ... } do table.insert(list, first and 1 or #list + 1, text) end
    return #list
  end }
end
C.LPUSH, C.RPUSH = push(true), push(false)

local function pop(first)
  return { 1, 2, function(db, key, count)
    local list, taken = items(db, key), {}
    if #list == 0 then return false end
    for i = 1, math.min(#list, count and integer(count) or 1) do
      taken[i] = table.remove(list, first and 1 or #list)
    end
    db:tidy(key)
    return count and taken or taken[1]
  end }
end
C.LPOP, C.RPOP = pop(true), pop(false)
C.LLEN = { 1, 1, function(db, key) return #items(db, key) end }
C.LINDEX = { 2, 2, function(db, key, index)
  local list, at = items(db, key), integer(index)
  return list[at < 0 and #list + at + 1 or at + 1] or false
end }
C.LRANGE = { 3, 3, function(db, key, first, last)
  local list, part = items(db, key), {}
  first, last = range(first, last, #list)
  for i = first, last do part[#part + 1] = list[i] end
  return part
end }
C.LTRIM = { 3, 3, function(db, key, first, last)
  local value = db:find(key, "list")
  if value then
    value.items = C.LRANGE[3](db, key, first, last)
    db:tidy(key)
  end
  return OK
end }
C.LREM = { 3, 3, function(db, key, count, text)
  local list, n, removed = items(db, key), integer(count), 0
  local from, to, by = 1, #list, 1
  if n < 0 then from, to, by = #list, 1, -1 end
  local kept = {}
  for i = from, to, by do
    if list[i] == text and (n == 0 or removed < math.abs(n)) then removed = removed + 1
    else table.insert(kept, by == 1 and #kept + 1 or 1, list[i]) end
  end
  if removed > 0 then db:find(key, "list").items = kept end
  db:tidy(key)
  return removed
end }

-- ---- sorted sets ----

local function sorted(db, key)
  local value = db:find(key, "zset")
  return value and Data.sorted(value) or {}
end

local function bound(text)
  local open = text:sub(1, 1) == "("
  local n = open and text:sub(2) or text
  if not n:lower():find("^[+-]?inf$") and not tonumber(n) then fail "ERR min or max is not a float" end
  return float(n), open
end

-- Those with a score within the bounds.
local function between(db, key, low, high)
  local min, open_min = bound(low)
  local max, open_max = bound(high)
  local list = {}
  for _, each in ipairs(sorted(db, key)) do
    local score = each[2]
    local above = score > min or (score == min and not open_min)
    local below = score < max or (score == max and not open_max)
    if above and below then list[#list + 1] = each end
  end
  return list
end

local function told(list, with_scores, first, last)
  local out = {}
  for i = first or 1, last or #list do
    out[#out + 1] = list[i][1]
    if with_scores then out[#out + 1] = text_of(list[i][2]) end
  end
  return out
end

local function reversed(list)
  local out = {}
  for i = #list, 1, -1 do out[#out + 1] = list[i] end
  return out
end

C.ZADD = { 3, ANY, function(db, key, ...)
  local list, at, flags = { ... }, 1, {}
  while list[at] and ({ NX = 1, XX = 1, GT = 1, LT = 1, CH = 1, INCR = 1 })[list[at]:upper()] do
    flags[list[at]:upper()] = true
    at = at + 1
  end
  if flags.INCR then fail "ERR INCR is not simulated: use ZINCRBY" end
  if at > #list or (#list - at + 1) % 2 ~= 0 then syntax() end
  if flags.NX and (flags.XX or flags.GT or flags.LT) then
    fail "ERR GT, LT, and/or NX options at the same time are not compatible"
  end
  local scores = {}
  for i = at, #list, 2 do scores[i] = float(list[i]) end
  local map, made, changed = db:obtain(key, "zset").map, 0, 0
  for i = at, #list, 2 do
    local score, old = scores[i], map:get(list[i + 1])
    local wanted = not (old and flags.NX) and not (not old and flags.XX)
      and not (old and flags.GT and score <= old) and not (old and flags.LT and score >= old)
    if wanted then
      map:set(list[i + 1], score)
      made = made + (old and 0 or 1)
      changed = changed + (old ~= score and 1 or 0)
    end
  end
  db:tidy(key)
  return flags.CH and changed or made
end }
C.ZINCRBY = { 3, 3, function(db, key, n, name)
  local by = float(n)
  local map = db:obtain(key, "zset").map
  map:set(name, (map:get(name) or 0) + by)
  return text_of(map:get(name))
end }
C.ZSCORE = { 2, 2, function(db, key, name)
  local value = db:find(key, "zset")
  local score = value and value.map:get(name)
  return score and text_of(score) or false
end }
C.ZCARD = { 1, 1, function(db, key) return #sorted(db, key) end }
C.ZCOUNT = { 3, 3, function(db, key, low, high) return #between(db, key, low, high) end }
C.ZRANK = { 2, 2, function(db, key, name)
  for i, each in ipairs(sorted(db, key)) do
    if each[1] == name then return i - 1 end
  end
  return false
end }

local function ranged(list, first, last, flag)
  if flag and flag:upper() ~= "WITHSCORES" then syntax() end
  first, last = range(first, last, #list)
  return told(list, flag, first, last)
end
C.ZRANGE = { 3, 4, function(db, key, first, last, flag)
  return ranged(sorted(db, key), first, last, flag)
end }
C.ZREVRANGE = { 3, 4, function(db, key, first, last, flag)
  return ranged(reversed(sorted(db, key)), first, last, flag)
end }

local function by_score(backwards)
  return { 3, ANY, function(db, key, low, high, ...)
    local options, i, scores = { ... }, 1, false
    local list = backwards and reversed(between(db, key, high, low)) or between(db, key, low, high)
    while options[i] do
      local name = options[i]:upper()
      if name == "WITHSCORES" then
        scores = true
      elseif name == "LIMIT" and options[i + 2] then
        local skip, count = integer(options[i + 1]), integer(options[i + 2])
        list = { unpack(list, skip + 1, count < 0 and #list or math.min(#list, skip + count)) }
        i = i + 2
      else
        syntax()
      end
      i = i + 1
    end
    return told(list, scores)
  end }
end
C.ZRANGEBYSCORE, C.ZREVRANGEBYSCORE = by_score(false), by_score(true)

local function remove_all(db, key, list)
  local value = db:find(key, "zset")
  for _, each in ipairs(list) do value.map:remove(each[1]) end
  db:tidy(key)
  return #list
end
C.ZREMRANGEBYSCORE = { 3, 3, function(db, key, low, high)
  return remove_all(db, key, between(db, key, low, high))
end }
C.ZREMRANGEBYRANK = { 3, 3, function(db, key, first, last)
  local list = sorted(db, key)
  first, last = range(first, last, #list)
  return remove_all(db, key, { unpack(list, first, last) })
end }

return C
