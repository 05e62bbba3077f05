--- What a simulated Redis keeps: keys with an end, and the values of one database.
--
-- Values are tables: { kind = "string", text = }, hashes and sets as ordered maps (Redis keeps small ones in
-- the order of insertion too), lists, and sorted sets, whose order is made when somebody asks for it.
local Data = {}
Data.__index = Data

local WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"

--- An error that a command answers with.
function Data.fail(text) error({ err = text }, 0) end

-- ---- ordered maps ----

local Map = {}
Map.__index = Map

local function map() return setmetatable({ at = {}, names = {}, values = {}, count = 0 }, Map) end

function Map:set(name, value)
  local at = self.at[name]
  if not at then
    at, self.count = self.count + 1, self.count + 1
    self.at[name], self.names[at] = at, name
  end
  local fresh = self.values[name] == nil
  self.values[name] = value
  return fresh
end

function Map:get(name) return self.values[name] end

function Map:remove(name)
  local at = self.at[name]
  if not at then return false end
  table.remove(self.names, at)
  self.at[name], self.values[name], self.count = nil, nil, self.count - 1
  for i = at, self.count do self.at[self.names[i]] = i end
  return true
end

-- ---- sorted sets: a map of members and scores ----

--- Members by score, then by name: a list of { member, score }.
function Data.sorted(value)
  local list = {}
  for i, name in ipairs(value.map.names) do list[i] = { name, value.map.values[name] } end
  table.sort(list, function(a, b)
    if a[2] ~= b[2] then return a[2] < b[2] end
    return a[1] < b[1]
  end)
  return list
end

-- ---- keys ----

local fresh = {
  string = function() return { text = "" } end,
  list = function() return { items = {} } end,
  hash = function() return { map = map() } end,
  set = function() return { map = map() } end,
  zset = function() return { map = map() } end,
}

--- @param now_us function() -> microseconds since 1970, a whole number: the clock of the app
function Data.new(now_us)
  return setmetatable({ now_us = now_us, keys = {},
                        now_ms = function() return math.floor(now_us() / 1000) end }, Data)
end

--- The value of a key, or nil; of another kind it is an error.
function Data:find(key, kind)
  local value = self.keys[key]
  if value and value.ends_ms and value.ends_ms <= self.now_ms() then
    self.keys[key], value = nil, nil
  end
  if value and kind and value.kind ~= kind then Data.fail(WRONG_TYPE) end
  return value
end

--- The same, made when it is not there.
function Data:obtain(key, kind)
  local value = self:find(key, kind)
  if not value then
    value = fresh[kind]()
    value.kind = kind
    self.keys[key] = value
  end
  return value
end

--- A new value in the place of any other.
function Data:replace(key, kind)
  self.keys[key] = nil
  return self:obtain(key, kind)
end

function Data:remove(key)
  local there = self:find(key) ~= nil
  self.keys[key] = nil
  return there
end

--- A collection that has become empty goes away.
function Data:tidy(key)
  local value = self.keys[key]
  if value and (value.map and value.map.count == 0 or value.items and #value.items == 0) then
    self.keys[key] = nil
  end
end

--- Names of all keys, in the order of the alphabet.
function Data:names()
  local list = {}
  for key in pairs(self.keys) do
    if self:find(key) then list[#list + 1] = key end
  end
  table.sort(list)
  return list
end

return Data
