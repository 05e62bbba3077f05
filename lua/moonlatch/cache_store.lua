--- Where the policy `cache` keeps responses: the shared memory, for all workers, over reloads.
--
--   p:URL            "EPOCH names,of,vary"      an EPOCH that is forgotten takes all variants with it
--   e:URL:EPOCH:V    JSON of the entry, then a small body.  V is a hash of the fields that Vary names
--   b:ID:N           a part of a larger body: a value must fit into a segment of the shared memory, and parts
--                    spread over many of them
--   i:URL            what was fetched before this mark was set is not stored any more
--   l:URL:V          somebody fetches it          u:URL   it was not cacheable the last time
--
-- URL is a hash.  Memory that runs short takes any of these away: then the entry is gone as a whole.
local gw = require "moonlatch"

local M = {}
local Store = {}
Store.__index = Store

local INLINE_MAX, PART, MARK_TTL = 8192, 16384, 3600

--- @param name of the dictionary
-- @param longest seconds that anything is kept
function M.new(name, longest)
  return setmetatable({ dict = gw.shared("cache:" .. name), longest = longest }, Store)
end

--- The name of a URL in the store.
function M.hash(text) return gw.crypto.sha256(text) end

-- What the fields of the request that Vary names have in them.
local function variant_of(names, req)
  if names == "" then return "" end
  local parts = {}
  for name in names:gmatch("[^,]+") do
    local values = req:header_values(name)
    for i, value in ipairs(values) do values[i] = value:gsub("%s+", " ") end
    parts[#parts + 1] = name .. (#values > 0 and "=" .. table.concat(values, ", ") or "")
  end
  return gw.crypto.sha256(table.concat(parts, "\n"))
end

--- The fields of a request as they are now; something that has header_values as the request has.
function M.snapshot(req)
  local of = {}
  for name, value in req:each_header() do
    name = name:lower()
    of[name] = of[name] or {}
    table.insert(of[name], value)
  end
  return { header_values = function(_, name) return { unpack(of[name] or {}) } end }
end

local function entry_key(url, epoch, variant) return "e:" .. url .. ":" .. epoch .. ":" .. variant end

-- The entry of a text, with its body when that is small.
local function decode(text)
  local line, body = text:match("^([^\n]*)\n(.*)$")
  local e = line and gw.json.decode(line)
  if type(e) ~= "table" then return nil end
  if e.parts == 0 then e.small = body end
  return e
end

--- The entry that answers a request.
-- @return entry or nil, variant
function Store:find(url, req)
  local head = self.dict:get("p:" .. url)
  if not head then return nil, "" end
  local epoch, names = head:match("^(%S+) (.*)$")
  local variant = variant_of(names, req)
  local text = self.dict:get(entry_key(url, epoch, variant))
  return text and decode(text), variant
end

--- The body of an entry, or nil when a part of it is gone.
function Store:body(e)
  if e.small then return e.small end
  local parts = {}
  for i = 1, e.parts do
    parts[i] = self.dict:get("b:" .. e.id .. ":" .. i)
    if not parts[i] then return nil end
  end
  return table.concat(parts)
end

function Store:drop_parts(id, count)
  for i = 1, count do self.dict:delete("b:" .. id .. ":" .. i) end
end

-- true | nil: the memory can not hold it
function Store:put_parts(e, body)
  e.parts = math.ceil(#body / PART)
  for i = 1, e.parts do
    if not self.dict:set("b:" .. e.id .. ":" .. i, body:sub((i - 1) * PART + 1, i * PART), e.ttl) then
      self:drop_parts(e.id, i)
      return nil
    end
  end
  return true
end

-- The epoch under which an entry that varies by these names is kept.
function Store:epoch(url, names)
  local head = self.dict:get("p:" .. url)
  local epoch = head and head:match("^(%S+) ")
  if not head or head ~= epoch .. " " .. names then epoch = gw.random_hex(8) end
  if not self.dict:set("p:" .. url, epoch .. " " .. names, self.longest) then return nil end
  return epoch
end

--- Keeps an entry.
-- @param before the fields of the request as find() saw them: snapshot(req)
-- @param mark what mark(url) gave before the response was asked for
-- @return true | nil, why
function Store:put(url, req, before, e, body, mark)
  local variant = variant_of(e.vary, req)
  if self:mark(url) ~= mark then return nil, "it was invalidated meanwhile" end
  -- Of a field that a policy inside has changed, what the client sent tells nothing.
  if variant ~= variant_of(e.vary, before) then return nil, "Vary names a field that was changed" end
  local epoch = self:epoch(url, e.vary)
  if not epoch then return nil, "too_large" end
  local key = entry_key(url, epoch, variant)
  local text = self.dict:get(key)
  local old = text and decode(text)
  e.id, e.parts = gw.random_hex(16), 0
  if #body > INLINE_MAX and not self:put_parts(e, body) then return nil, "too_large" end
  local json = gw.json.encode(e)
  if not json or not self.dict:set(key, json .. "\n" .. (e.parts == 0 and body or ""), e.ttl) then
    self:drop_parts(e.id, e.parts)
    return nil, json and "too_large" or "its fields are no UTF-8"
  end
  if old then self:drop_parts(old.id, old.parts) end
  self.dict:delete("u:" .. url)
  if self:mark(url) ~= mark then self.dict:delete(key) end
  return true
end

--- Changes with each invalidation of a URL.
function Store:mark(url) return self.dict:get("i:" .. url) end

--- Forgets all variants of a URL, also those that are being fetched.  Was there something?
function Store:invalidate(url)
  local was = self.dict:get("p:" .. url) ~= nil
  self.dict:set("i:" .. url, gw.random_hex(8), MARK_TTL)
  self.dict:delete("p:" .. url)
  return was
end

--- Takes the right to fetch a variant for at most ttl.
-- @return function() that gives it back | nil: somebody else has it
function Store:lock(url, variant, ttl)
  local key, mine, dict = "l:" .. url .. ":" .. variant, gw.random_hex(8), self.dict
  if not dict:add(key, mine, ttl) then return nil end
  return function()
    if dict:get(key) == mine then dict:delete(key) end
  end
end

function Store:is_locked(url, variant) return self.dict:get("l:" .. url .. ":" .. variant) ~= nil end

--- Nobody waits for a response to this URL during the next ttl: it would not be shared.
function Store:set_uncacheable(url, ttl) self.dict:set("u:" .. url, true, ttl) end
function Store:is_uncacheable(url) return self.dict:get("u:" .. url) ~= nil end

return M
