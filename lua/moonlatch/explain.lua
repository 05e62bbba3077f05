--- `moonlatch explain`: what would become of a request, as JSON.  Only in a process that is asked that.
--
-- The core says which route is taken and which demand of each other route fails; what stands in the site's
-- tables is told from here, without what is secret.
local config = require "moonlatch.config"
local core = require "moonlatch.core"
local where = require "moonlatch.where"

local M = {}

local CANDIDATES_MAX, VALUE_MAX, DEPTH_MAX, ENTRIES_MAX = 50, 300, 4, 40
local REDACTED = "(redacted)"
local secrets = {}

--- A value that must not be shown.
function M.secret(value)
  if type(value) == "string" and #value > 0 then secrets[#secrets + 1] = value end
end

local function holds_secret(text)
  for _, value in ipairs(secrets) do
    if text:find(value, 1, true) then return true end
  end
  return text:find("://[^/@%s]+@") ~= nil
end

-- Options whose name says it.
local function is_secret_name(name)
  if type(name) ~= "string" then return false end
  name = name:lower()
  if name == "keys" or name == "users" then return true end
  for _, word in ipairs { "secret", "passw", "token", "private", "credential" } do
    if name:find(word, 1, true) then return true end
  end
  return false
end

local shown

local function shown_table(value, depth)
  if depth > DEPTH_MAX then return "{...}" end
  local copy, names = {}, {}
  if #value > 0 then
    for i, entry in ipairs(value) do
      if i > ENTRIES_MAX then break end
      copy[i] = shown(nil, entry, depth + 1)
    end
    return core.json_array(copy)
  end
  for name in pairs(value) do names[#names + 1] = tostring(name) end
  table.sort(names)
  for i, name in ipairs(names) do
    if i <= ENTRIES_MAX then copy[name] = shown(name, value[name], depth + 1) end
  end
  return copy
end

-- A value of an option as JSON can have it.
function shown(name, value, depth)
  local kind = type(value)
  if kind == "boolean" or kind == "number" then return value end
  if is_secret_name(name) then return REDACTED end
  if kind == "string" then
    if holds_secret(value) then return REDACTED end
    return #value > VALUE_MAX and value:sub(1, VALUE_MAX) .. "..." or value
  end
  if kind == "table" then return shown_table(value, depth) end
  if kind == "function" then return "function at " .. where.of_function(value) end
  return kind
end

local function steps_of(chains, listener)
  local usual
  for _, one in ipairs(chains) do
    if one.listener == nil then usual = one.steps end
    if listener and one.listener == listener then usual = one.steps break end
  end
  local list = {}
  for i, step in ipairs(usual or {}) do
    list[i] = { name = step.label, at = step.line or core.json_null, wraps = step.takes_next,
                options = step.conf and shown_table(step.conf, 1) or {} }
  end
  return core.json_array(list)
end

-- The defaults of outbound/upstream.h, and what the site says instead.
local defaults = { connect_timeout = 2, first_byte_timeout = 60, read_timeout = 60, send_timeout = 60,
                   keepalive = 64, keepalive_timeout = 60, max_fails = 1, fail_timeout = 10, retries = 1 }

local function upstream_of(route, upstreams)
  local name = route.conf.to
  local known = name and upstreams[name]
  if not known or not known.conf then return core.json_null end
  local conf, servers, times = known.conf, {}, {}
  for i, server in ipairs(conf.servers) do
    servers[i] = { url = shown("url", server.url, 1), weight = server.weight or 1,
                   backup = server.backup == true }
  end
  for option, value in pairs(defaults) do times[option] = conf[option] or value end
  times.total_timeout = conf.total_timeout or core.json_null
  if route.conf.timeout then times.first_byte_timeout = route.conf.timeout end
  return { name = name, at = known.line, balance = conf.balance, servers = core.json_array(servers),
           options = times }
end

local function conditions_of(route)
  local list = {}
  for i, c in ipairs(route.conditions) do
    list[i] = { of = c.query and "query" or "header", name = c.name,
                value = c.value and shown(c.name, c.value, 1) or core.json_null }
  end
  return core.json_array(list)
end

local function route_json(route, index)
  return { method = route.indexes[index], pattern = route.pattern, host = route.host or core.json_null,
           at = route.line, name = route.conf.name or core.json_null, conditions = conditions_of(route),
           listener = route.conf.listener or core.json_null }
end

local order = { ok = 1, condition = 2, method = 3, host = 4, path = 5 }

local function sentence(route, method, reason, condition, req)
  if reason == "path" then return "the path is another one" end
  if reason == "host" then return ("the host is not %s"):format(route.host) end
  if reason == "method" then return ("the method is %s, not %s"):format(req.method, method) end
  if reason == "condition" then
    local c = route.conditions[condition]
    return ("%s %s %s"):format(c.query and "the query's" or "the header", c.name,
      c.value and ("is not %q"):format(shown(c.name, c.value, 1)) or "is missing")
  end
  return "a more specific route takes it"
end

local function candidates(routes, chosen, req)
  local list = {}
  for index, route in pairs(routes.by_index) do
    if index ~= chosen then
      local method = route.indexes[index]
      local reason, condition = core.route_test { method = method, pattern = route.pattern, host = route.host,
                                                  conditions = route.conditions }
      local one = route_json(route, index)
      one.lost, one.index, one.rank = reason == "ok" and "precedence" or reason, index, order[reason]
      one.why = sentence(route, method, reason, condition, req)
      list[#list + 1] = one
    end
  end
  table.sort(list, function(a, b)
    if a.rank ~= b.rank then return a.rank < b.rank end
    return a.index < b.index
  end)
  local count = #list
  for i = #list, 1, -1 do
    list[i].rank, list[i].index = nil, nil
    if i > CANDIDATES_MAX then list[i] = nil end
  end
  return core.json_array(list), count
end

-- The listener of the URL's port, else the first.
local function listener_of(port)
  local found
  for _, listener in ipairs(config.listeners) do
    if listener.conf.port == port then found = listener break end
  end
  return found or config.listeners[1], found ~= nil
end

local function listener_json(listener, named)
  if not listener then return core.json_null end
  local conf = listener.conf
  return { name = conf.name, host = conf.host or "0.0.0.0", port = conf.port, tls = conf.tls ~= nil,
           at = listener.line, byPort = named }
end

--- @return function(req) -> JSON text, for the core
function M.new(routes, upstreams)
  return function(req)
    local chosen, outcome, allow = core.route_chosen()
    local listener, named = listener_of(req.port)
    local route = chosen and routes.by_index[chosen]
    local name = listener and listener.conf.name
    local bound = route and route.conf.listener
    local losers, count = candidates(routes, chosen, req)
    local result = {
      request = { method = req.method, path = req.path, host = req.host, query = #req.query > 0 },
      outcome = outcome, allow = allow ~= "" and allow or core.json_null,
      listener = listener_json(listener, named),
      route = route and route_json(route, chosen) or core.json_null,
      notHere = bound ~= nil and bound ~= name,
      middlewares = steps_of(route and route.chains or routes.unmatched_chains, name),
      handler = route and route.label or "core:unmatched",
      upstream = route and upstream_of(route, upstreams) or core.json_null,
      candidates = losers, candidateCount = count,
    }
    return core.json_encode(result)
  end
end

return M
