--- Sends clients to the one address that counts: https, the canonical host, with or without the last slash.
--
-- All that has to change is changed by one redirect. The status is 308, under which a POST stays a POST;
-- path and query are kept. Whether a request came by https is what the connection says, or
-- `X-Forwarded-Proto` of a proxy in `trusted_proxies`. Name the `host` when `https` is on: without it the
-- client's own Host is used, and a cache that ignores Host could be made to keep a redirect to somewhere
-- else.
--
--   gw.use { { "redirect", https = true, host = "www.example.com", except = { "/health" } } }
local gw = require "moonlatch"

local M = { name = "redirect" }

M.config = {
  https = { "boolean", default = false, doc = "Redirect what did not come by https." },
  https_port = { "port", default = 443, doc = "Port of the https address." },
  host = { "string", optional = true, doc = "The canonical host, in lower case and without a port.",
    check = function(host)
      if not host:find("^[a-z0-9.-]+$") then return "must be a name in lower case, without a port" end
    end },
  trailing_slash = { "string", optional = true, one_of = { "add", "remove" },
    doc = "`add` one to each path whose last part has no dot, or `remove` it from each but `/`." },
  except = { "list", of = "string", default = {},
    doc = "Paths that are left alone, each exactly as written." },
  status = { "integer", default = 308, one_of = { 301, 302, 307, 308 }, doc = "Status of the answer." },
}

local function slashed(path, how)
  if how == "add" then
    return (path:sub(-1) == "/" or path:find("%.[^/]*$")) and path or path .. "/"
  elseif how == "remove" then
    path = path:gsub("/+$", "")
    return path == "" and "/" or path
  end
  return path
end

-- "https://host:port" of the address that counts, or nil when the request has it.
local function origin_of(req, conf)
  local https = req.scheme == "https"
  local host = conf.host or req.host
  if (https or not conf.https) and host == req.host then return nil end
  if not https and not conf.https then return "http://" .. host end
  return "https://" .. host .. (conf.https_port ~= 443 and ":" .. conf.https_port or "")
end

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req) -> res or nothing
function M.new(conf)
  local except = {}
  for _, path in ipairs(conf.except) do except[path] = true end
  if not conf.https and not conf.host and not conf.trailing_slash then
    error('one of the options "https", "host" and "trailing_slash" is needed', 0)
  end

  return function(req)
    local path = req.path
    if except[path] or path:sub(1, 1) ~= "/" then return end
    local origin, wanted = origin_of(req, conf), slashed(path, conf.trailing_slash)
    if not origin and wanted == path then return end
    if origin and not conf.host and req.host == "" then
      return gw.error(400, "bad_host", "The request names no host")
    end
    local target = (origin or "") .. wanted:gsub("^/+", "/") -- "//x" would be another host
    if req.query ~= "" then target = target .. "?" .. req.query end
    return gw.redirect(target, conf.status)
  end
end

return M
