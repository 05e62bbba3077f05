--- Lets requests with a known key pass: for programs that call an API.
--
-- Keys are at rest as SHA-256 only: in the configuration, in a file of the site with lines of
-- `name:hash`, or in Redis under `prefix` and the hash.  `moonlatch` needs no more to find one, and a
-- stolen configuration opens nothing.  Make a key and its hash by
--
--   key=$(head -c 32 /dev/urandom | base64 | tr -d '=+/'); printf %s "$key" | sha256sum
--
-- The key itself is not sent to the upstream, which gets the name instead, if a header is configured;
-- what a client sends under that header's name is removed.  `req.user` is { id = name }.
--
--   { "api_key", file = gw.file "api_keys.txt", header = "X-API-Key", user_header = "X-Consumer" }
local gw = require "moonlatch"

local M = { name = "api_key" }

local CACHED_MAX = 1000

local function header_name(name)
  if not name:find("^[%w!#$%%&'*+.^_`|~-]+$") then return "is no name of a header" end
end

local function is_hash(text)
  return type(text) == "string" and #text == 64 and text:find("^%x+$") ~= nil
end

local function hashes(keys)
  for name, hash in pairs(keys) do
    if type(name) ~= "string" or name == "" then return "must have a name for each key" end
    if not is_hash(hash) then
      return ('must have the SHA-256 of the key "%s": 64 hexadecimal digits'):format(name)
    end
  end
end

M.config = {
  keys = { "table", default = {}, check = hashes,
    doc = "Keys by name: the SHA-256 of each, in hexadecimal digits." },
  file = { "string", optional = true,
    doc = "The text of a file (see gw.file) with lines of name:hash; # begins a comment." },
  redis = { "any", optional = true,
    doc = "A gw.redis: the key is known when there is a value, its name, under prefix and hash." },
  prefix = { "string", default = "apikey:", doc = "What stands before the hash in Redis." },
  cache = { "seconds", default = 30, max = 3600, unit = "seconds",
    doc = "How long an answer of Redis is remembered; a key that was withdrawn works that long." },
  header = { "string", default = "X-API-Key", check = header_name, doc = "The header with the key." },
  query = { "string", optional = true, min = 1,
    doc = "A parameter of the query that may have the key; beware, queries are logged by many." },
  user_header = { "string", optional = true, check = header_name,
    doc = "The header in which the upstream gets the name of the key." },
  hide = { "boolean", default = true, doc = "Removes the key's header from what the upstream gets." },
}

-- ---- the keys that are known at load ----

local function add(known, name, hash)
  hash = hash:lower()
  if known[hash] then error(("the keys %s and %s are the same"):format(known[hash], name), 0) end
  known[hash] = name
end

local function read_file(known, text)
  local number = 0
  for line in (text .. "\n"):gmatch("(.-)\r?\n") do
    number = number + 1
    line = line:gsub("%s*#.*$", "")
    if line:find("%S") then
      local name, hash = line:match("^%s*([^:%s]+):(%x+)%s*$")
      if not is_hash(hash) then error(("file: line %d is not name:hash"):format(number), 0) end
      add(known, name, hash)
    end
  end
end

local function known_keys(conf)
  local known = {}
  for name, hash in pairs(conf.keys) do add(known, name, hash) end
  if conf.file then read_file(known, conf.file) end
  if next(known) == nil and conf.redis == nil then
    error("there is no key: give keys, file or redis", 0)
  end
  return known
end

-- ---- the keys in Redis ----

-- A function(hash) -> name | nil, code
local function redis_finder(conf)
  local newer, older, count = {}, {}, 0

  local function remember(hash, name)
    if count >= CACHED_MAX then newer, older, count = {}, newer, 0 end
    newer[hash] = { name = name, good_until = gw.mono() + conf.cache }
    count = count + 1
  end

  return function(hash)
    local entry = newer[hash] or older[hash]
    if entry and gw.mono() < entry.good_until then return entry.name end
    local name, code = conf.redis:get(conf.prefix .. hash)
    if name == nil and code then return nil, code end
    name = name and tostring(name) or false
    if name and conf.cache > 0 then remember(hash, name) end
    return name
  end
end

-- The hash of a key is not secret to whoever has the key, and a digest can not be aimed at: looking it
-- up tells nothing by its time.
local function finder(conf)
  local known, ask = known_keys(conf), conf.redis ~= nil and redis_finder(conf) or nil
  return function(key)
    local hash = gw.crypto.sha256(key)
    local name = known[hash]
    if name or not ask then return name end
    return ask(hash)
  end
end

-- ---- requests ----

local function key_of(req, conf)
  local fields = req:header_values(conf.header)
  if #fields > 1 then return nil end
  if fields[1] then return fields[1] end
  local value = conf.query and req.args[conf.query]
  return type(value) == "string" and value or nil
end

local function refuse(req, code, message)
  local res = gw.response(401, { error = "Unauthorized", message = message, code = code, requestId = req.id })
  res:set_header("WWW-Authenticate", 'ApiKey realm="api"')
  return res
end

local function unavailable(req, code)
  gw.log.warn("api keys can not be looked up", { reason = code })
  return gw.response(503, { error = "Service Unavailable", message = "Keys can not be checked at the moment",
                            code = "keys_unavailable", requestId = req.id }, { ["Retry-After"] = "5" })
end

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req) -> response that refuses, or nil
function M.new(conf)
  local find = finder(conf)
  return function(req)
    if conf.user_header then req:remove_header(conf.user_header) end
    local key = key_of(req, conf)
    if not key or key == "" then return refuse(req, "key_missing", "An API key is required") end
    local name, code = find(key)
    if code then return unavailable(req, code) end
    if not name then return refuse(req, "key_invalid", "The API key is not known") end
    if conf.hide then req:remove_header(conf.header) end
    if conf.user_header then req:set_header(conf.user_header, name) end
    req.user = { id = name }
  end
end

return M
