--- gw.websocket(opts, fn): a WebSocket that ends in the script, as what a route responds with.
--
--   gw.route("GET /echo", { respond = gw.websocket({ max_message = 65536 }, function(ws)
--     for message, kind in ws:messages() do
--       if kind == "text" then ws:send(message) else ws:send_binary(message) end
--     end
--   end) })
--
-- Inside of a function that responds: return gw.websocket(req, opts, fn).
local core = require "moonlatch.core"
local options = require "moonlatch.options"
local where = require "moonlatch.where"

local M = {}

local function token_complaint(list)
  for _, name in ipairs(list) do
    if name:find("[^%w!#$%%&'*+.^_`|~-]") or name == "" then
      return ('"%s" is no name of a protocol'):format(name)
    end
  end
end

local function origin_complaint(origins)
  if type(origins) == "string" then
    return origins ~= "*" and 'must be "*" or a list of origins' or nil
  end
  for _, origin in ipairs(origins) do
    if type(origin) ~= "string" or not origin:find("^%l[%w+.-]*://[^/%s]+$") then
      return ('"%s" is no origin like "https://app.example"'):format(tostring(origin))
    end
  end
end

M.config = {
  protocols = { "list", of = "string", optional = true, min = 1, check = token_complaint },
  origins = { "list", "string", optional = true, check = origin_complaint },
  max_message = { "size", default = 1024 * 1024, min = 1, max = 64 * 1024 * 1024, unit = "bytes" },
  idle_timeout = { "seconds", default = 120, max = 86400, unit = "seconds" },
  ping_interval = { "seconds", default = 30, max = 86400, unit = "seconds" },
  compress = { "boolean", "table", default = false },
}
M.compress = {
  level = { "integer", default = 1, min = 1, max = 9 },
  window_bits = { "integer", default = 15, min = 9, max = 15 },
  context_takeover = { "boolean", default = true },
  min_length = { "size", default = 128, max = 1024 * 1024, unit = "bytes" },
}

local function checked(given)
  local conf, wrong = options.check(M.config, given or {})
  if not conf then where.fail("gw.websocket: " .. wrong) end
  local compress
  compress, wrong = options.check(M.compress, type(conf.compress) == "table" and conf.compress or {})
  if not compress then where.fail("gw.websocket: compress: " .. wrong) end
  for name, value in pairs(compress) do conf[name] = value end
  conf.compress = conf.compress ~= false
  return conf
end

-- "https://App.example:443" and a Host of "app.example" are the same.
local function same_host(origin, host, scheme)
  local origin_scheme, name = origin:lower():match("^(%a[%w+.-]*)://([^/]+)$")
  if not name then return false end
  local ports = { http = ":80", https = ":443" }
  local function whole(authority, of)
    return authority:find(":%d+$") and authority or authority .. (ports[of] or "")
  end
  host = host:lower()
  return name == host or whole(name, origin_scheme) == whole(host, scheme) or
         whole(name, origin_scheme) == whole(host, origin_scheme)
end

--- Is the request of a page that came from the host it asks?
function M.is_own(origin, req) return same_host(origin, req:header("host") or "", req.scheme) end

-- May a page of this origin open the socket?  Programs send none.
local function allows(origins, req)
  local origin = req:header("origin")
  if not origin or origins == "*" then return true end
  if not origins then return M.is_own(origin, req) end
  for _, allowed in ipairs(origins) do
    if allowed == origin then return true end
  end
  return false
end

-- The first protocol of the client that is known here; nil when it names none; false: it wants others.
local function choose(protocols, req)
  local wanted = protocols and req:header("sec-websocket-protocol")
  if not wanted then return nil end
  for name in wanted:gmatch("[^,%s]+") do
    for _, known in ipairs(protocols) do
      if name == known then return known end
    end
  end
  return false
end

local refusals = {
  no_websocket = { 426, "upgrade_required", "This is a WebSocket: an Upgrade is required" },
  version = { 426, "websocket_version", "This version of WebSocket is not known" },
  key = { 400, "websocket_key", "Sec-WebSocket-Key is missing or malformed" },
}

local function refuse(why)
  local refusal = refusals[why]
  local res = core.error(refusal[1], refusal[2], refusal[3])
  if refusal[1] == 426 then
    res:set_header("Upgrade", "websocket")
    res:set_header("Sec-WebSocket-Version", "13")
  end
  return res
end

local function acceptor(given, fn)
  if type(fn) ~= "function" then
    where.fail("gw.websocket: a function(ws, req) is expected, not a " .. type(fn))
  end
  local conf = checked(given)
  local core_options = core.websocket_options(conf)
  return function(req)
    if not allows(conf.origins, req) then
      return core.error(403, "forbidden_origin", "Pages of this origin may not connect here")
    end
    local protocol = choose(conf.protocols, req)
    if protocol == false then
      return core.error(400, "websocket_protocol", "None of these subprotocols is known here")
    end
    local res, why = core.websocket_accept(req, core_options, fn, protocol)
    return res or refuse(why)
  end
end

--- @return function(opts, fn) -> function(req) -> res; or function(req, opts, fn) -> res
function M.new()
  return function(first, second, third)
    if type(first) == "userdata" then return acceptor(second, third)(first) end
    return acceptor(first, second)
  end
end

return M
