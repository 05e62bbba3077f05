--- What a load balancer, Kubernetes or a person asks: three paths, each of which may be false for none.
--
--   gw.mount("health", { path = "/health", livez = "/livez", readyz = "/readyz", require = { "patients" } })
--
-- path     200 as long as this gateway can answer at all: {"status":"healthy","service":...,"uptime":...}
-- livez    the same in two words, for who restarts what is dead
-- readyz   503 while the gateway drains, or while an upstream in `require` has no server that is up: for who
--          sends traffic elsewhere then
local core = require "moonlatch.core"
local gw = require "moonlatch"

local M = { name = "health" }

local function path_complaint(path)
  if path == true then return "must be a path, or false for none" end
end

local function path_option(default)
  return { "string", "boolean", default = default, check = path_complaint }
end

M.config = {
  path = path_option("/health"),
  livez = path_option("/livez"),
  readyz = path_option("/readyz"),
  require = { "list", of = "string", default = {} },
  service = { "string", default = "moonlatch" },
}

local no_store = { ["cache-control"] = "no-store" }

local usable = { up = true, probing = true }

local function has_server(upstream)
  for _, server in ipairs(core.upstream_servers(upstream)) do
    if usable[server.state] then return true end
  end
  return false
end

local function readiness(required)
  if core.draining() then return 503, { status = "draining" } end
  local down = {}
  for _, upstream in ipairs(required) do
    if not has_server(upstream) then down[#down + 1] = upstream end
  end
  if #down > 0 then return 503, { status = "unavailable", upstreams = down } end
  return 200, { status = "ready" }
end

local function add(path, respond)
  if path then gw.route("GET " .. path, { respond = respond }) end
end

--- Adds the routes.
-- @param need function(name): the site must have an upstream with that name
function M.mount(conf, need)
  for _, name in ipairs(conf.require) do need(name) end
  add(conf.path, function()
    return gw.response(200, { status = "healthy", service = conf.service, uptime = gw.uptime(),
                              timestamp = gw.time_iso(gw.now()) }, no_store)
  end)
  add(conf.livez, function() return gw.response(200, { status = "alive" }, no_store) end)
  add(conf.readyz, function()
    local status, body = readiness(conf.require)
    return gw.response(status, body, no_store)
  end)
end

return M
