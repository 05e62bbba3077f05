--- The module `moonlatch`, usually called gw: all that a script may ask of the gateway.
--
-- Made anew for each generation by boot.lua, around the core's functions.
local client_tls = require "moonlatch.client_tls"
local config = require "moonlatch.config"
local core = require "moonlatch.core"
local crypto = require "moonlatch.crypto"
local env = require "moonlatch.env"
local jwt = require "moonlatch.jwt"
local metrics = require "moonlatch.metrics"
local ratelimit = require "moonlatch.ratelimit"
local sandbox = require "moonlatch.sandbox"
local static = require "moonlatch.static"
local upstream = require "moonlatch.upstream"
local websocket = require "moonlatch.websocket"
local where = require "moonlatch.where"

local M = {}

-- Tail calls throughout: a complaint of the core names the line of the script then.

local function log_functions()
  local log = {}
  for _, level in ipairs { "debug", "info", "warn", "error" } do
    log[level] = function(message, fields) return core.log(level, message, fields) end
  end
  return sandbox.read_only("gw.log", log, function(_, ...) return core.log("info", ...) end)
end

local function http_functions()
  local function request(opts) return core.http_request(client_tls.within("gw.http", opts)) end
  local http = { request = request }
  for _, method in ipairs { "get", "post", "put", "patch", "delete", "head" } do
    http[method] = function(url, opts)
      local all = {}
      for key, value in pairs(opts or {}) do all[key] = value end
      all.url, all.method = url, method:upper()
      return request(all)
    end
  end
  return sandbox.read_only("gw.http", http, function(_, opts) return request(opts) end)
end

local function waiting(gw)
  gw.sleep, gw.all, gw.race, gw.spawn = core.sleep, core.all, core.race, core.spawn
  gw.detach = core.detach
  gw.timer, gw.shared, gw.http = core.timer, core.shared, http_functions()
end

-- A number from 0 to below 1 that nobody can guess, and that workers do not share.
local function random() return tonumber(core.random_hex(6), 16) / 2 ^ 48 end

local function values(gw)
  gw.response, gw.redirect, gw.error = core.response, core.redirect, core.error
  gw.now, gw.mono, gw.time_iso = core.now, core.mono, core.time_iso
  gw.uptime, gw.status, gw.random_hex = core.uptime, core.status, core.random_hex
  gw.ip_match, gw.url_encode, gw.url_decode = core.ip_match, core.url_encode, core.url_decode
  gw.base64_encode, gw.base64_decode = core.base64_encode, core.base64_decode
  gw.json = sandbox.read_only("gw.json", { encode = core.json_encode, pretty = core.json_encode_pretty,
      decode = core.json_decode, null = core.json_null, array = core.json_array })
  gw.fields, gw.networks = core.fields, core.networks
  gw.accept_encoding = core.accept_encoding
  gw.random = random
  gw.log, gw.env = log_functions(), env
end

-- What describes the site; an error once it is loaded.
local function declarations(gw, loader, routes, upstreams)
  local count = 0

  local function declare(name, fn)
    gw[name] = function(...)
      if upstreams.closed then
        error("gw." .. name .. " can not be called once the site is loaded", 2)
      end
      return fn(...)
    end
  end
  declare("settings", function(given) config.set(loader, given) end)
  declare("listen", function(given) routes:listen(config.add_listener(given)) end)
  declare("upstream", function(name, given)
    if type(name) == "string" and upstreams.by_name[name] then
      where.fail(('gw.upstream("%s"): there is one with this name already, at %s'):format(name,
                 upstreams.by_name[name].line))
    end
    local hash, conf = config.add_upstream(name, given)
    local handle = upstream.handle(name)
    upstreams.by_name[name] = { index = count, hash = hash, line = where.line(), handle = handle,
                                conf = conf }
    count = count + 1
    return handle
  end)
  declare("file", function(name)
    if type(name) ~= "string" then where.fail("gw.file: the name of a file is a string") end
    return core.source(name) or where.fail(("gw.file: there is no file %s in the site"):format(name))
  end)
  declare("secret", function(name)
    if type(name) ~= "string" or name == "" then where.fail("gw.secret: the name must be a string") end
    local value = core.secret(name)
    if core.explaining then require("moonlatch.explain").secret(value) end
    return value
  end)
  declare("client_tls", client_tls.make)
  declare("redis", function(url, opts) return core.redis(url, client_tls.within("gw.redis", opts)) end)
  declare("static", static.handler)
  declare("ratelimit", ratelimit.new())
  declare("use", function(list) routes:use(list) end)
  declare("group", function(...) routes:group(...) end)
  declare("route", function(pattern, opts) routes:route(pattern, opts) end)
  declare("mount", function(name, opts) routes:mount(name, opts) end)
end

-- What may be better in a site: with the line that asked for it, or later a line of the log.
local function warner(upstreams)
  return function(text)
    if upstreams.closed then return core.log("warn", text) end
    core.warn((where.line() or "the site") .. ": " .. text)
  end
end

--- @return gw, read-only; unknown members are errors
function M.new(loader, routes, upstreams)
  local gw = {}
  values(gw)
  waiting(gw)
  gw.websocket = websocket.new()
  gw.crypto, gw.jwt = crypto.new(), jwt.new(warner(upstreams), function() return upstreams.closed end)
  gw.metrics = metrics.new(function() return upstreams.closed end)
  declarations(gw, loader, routes, upstreams)
  gw.upstreams = sandbox.read_only("gw.upstreams", setmetatable({}, { __index = function(_, name)
    local known = upstreams.by_name[name]
    if known then return known.handle end
    error(('gw.upstreams: there is no upstream "%s"'):format(tostring(name)), 2)
  end }))
  return sandbox.read_only("gw", setmetatable(gw, { __index = function(_, name)
    error(("gw.%s does not exist"):format(tostring(name)), 2)
  end }))
end

return M
