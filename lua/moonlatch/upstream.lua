--- Servers and checks of an upstream: their options, and the handle that gw.upstream gives.
local core = require "moonlatch.core"
local options = require "moonlatch.options"
local sandbox = require "moonlatch.sandbox"

local M = {}

M.server = {
  url = { "string" },
  weight = { "integer", default = 1, min = 1, max = 65535 },
  max_conns = { "integer", optional = true, min = 0, max = 1000000 },
  backup = { "boolean", optional = true },
}

local function path_complaint(path)
  if path:sub(1, 1) ~= "/" then return 'must begin with "/"' end
  if path:find("[^\33-\126]") or path:find("#", 1, true) then
    return "must be printable, without spaces and without #"
  end
end

local function method_complaint(method)
  if not method:find("^%u+$") then return 'must be a method such as "GET" or "HEAD"' end
end

local function host_complaint(host)
  if host == "" or host:find("[^%w.:_%[%]%-]") then return "must be a host, perhaps with a port" end
end

local function positive(max) return { "integer", optional = true, min = 1, max = max } end

M.health = {
  path = { "string", optional = true, check = path_complaint },
  host = { "string", optional = true, check = host_complaint },
  method = { "string", default = "GET", check = method_complaint },
  expect = { "integer", "string", "list", default = "200-399" },
  body = { "string", optional = true, min = 1, max = 1024 },
  port = { "integer", optional = true, min = 1, max = 65535 },
  interval = { "seconds", default = 5, min = 0.1, max = 86400, unit = "seconds" },
  timeout = { "seconds", default = 2, min = 0.01, max = 3600, unit = "seconds" },
  jitter = { "number", default = 0.1, min = 0, max = 0.5 },
  rise = positive(1000), fall = positive(1000),
  initially = { "string", default = "up", one_of = { "up", "down" } },
  slow_start = { "seconds", optional = true },
}

local ranges_max = 16

-- 200, "204" or "200-399" -> from, to
local function range(value)
  local from, to = tostring(value):match("^(%d%d%d)%-(%d%d%d)$")
  if not from then from = tostring(value):match("^%d%d%d$") end
  from, to = tonumber(from), tonumber(to or from)
  if from and from >= 100 and from <= to and to <= 599 then return from, to end
end

-- The option expect as { from, to, from, to ... } | nil, what is wrong
local function expected(given)
  local list, flat = type(given) == "table" and given or { given }, {}
  if #list == 0 or #list > ranges_max then
    return nil, ('option "expect" has from 1 to %d elements'):format(ranges_max)
  end
  for _, value in ipairs(list) do
    local from, to = range(value)
    if not from then
      return nil, ('option "expect": %s is no status or range like 200 or "200-399"'):format(tostring(value))
    end
    flat[#flat + 1], flat[#flat + 2] = from, to
  end
  return flat
end

-- What only makes sense with a path.
local http_only = { "host", "body" }

-- Options of the checks, checked, as check_NAME in conf; nil or what is wrong.
local function flatten_health(conf)
  local health, wrong = options.check(M.health, conf.health)
  if not health then return "health: " .. wrong end
  for _, name in ipairs(http_only) do
    if health[name] and not health.path then return ('health: option "%s" needs a path'):format(name) end
  end
  health.expect, wrong = expected(health.expect)
  if not health.expect then return "health: " .. wrong end
  if health.slow_start and not conf.slow_start then conf.slow_start = health.slow_start end
  for name, value in pairs(health) do conf["check_" .. name] = value end
  conf.check, conf.check_begins_down = true, health.initially == "down"
end

--- What the core wants of a checked configuration of an upstream; nil or what is wrong.
function M.flatten(conf)
  conf.resolve_all = conf.resolve == "all"
  if conf.health then return flatten_health(conf) end
end

--- { "http://a", { url = "http://b", weight = 2 } } -> servers | nil, what is wrong
function M.servers(list)
  local servers = {}
  for i, entry in ipairs(list) do
    if type(entry) == "string" then entry = { url = entry } end
    local server, wrong = options.check(M.server, entry)
    if not server then return nil, ("server %d: %s"):format(i, wrong) end
    servers[i] = server
  end
  return servers
end

local function set_servers(name, list)
  if list == nil then return core.upstream_set(name, nil) end
  if type(list) ~= "table" then error("up:set_servers: a list of servers or nil is expected", 3) end
  local servers, wrong = M.servers(list)
  if not servers then return nil, wrong end
  return core.upstream_set(name, servers)
end

--- The handle of an upstream: up.name, up:set_servers(list), up:servers(), up:drain(url), up:undrain(url)
function M.handle(name)
  return sandbox.read_only("upstream", {
    name = name,
    set_servers = function(_, list) return set_servers(name, list) end,
    servers = function() return core.upstream_servers(name) end,
    drain = function(_, url) return core.upstream_drain(name, url, true) end,
    undrain = function(_, url) return core.upstream_drain(name, url, false) end,
  })
end

return M
