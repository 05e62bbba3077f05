--- Asks a service whether a request may pass, before it reaches the upstream.
--
-- The service gets a GET without the body, with the headers in `send` and with X-Forwarded-Method, -Proto,
-- -Host, -Uri and -For, which say what is asked. 2xx: the request passes, with the headers in `copy` as the
-- service answered them; what the client sent under these names is removed in any case, so nobody can claim
-- to be who he is not. 401 and 403 go to the client with their body, WWW-Authenticate and Set-Cookie, and
-- so do redirects when `redirects` allows (to a page of log-in). Anything else, and a service that is late
-- or gone, is 503: without an answer nobody passes.
--
--   gw.group("/api", {
--     { "forward_auth", url = "http://127.0.0.1:9000/verify", copy = { "X-User", "X-Roles" } },
--   }, function() gw.route("* /*rest", { to = "api" }) end)
local gw = require "moonlatch"

local M = { name = "forward_auth" }

local function names_complaint(list)
  for i, name in ipairs(list) do
    local lower = name:lower()
    if not name:find("^[%w!#$%%&'*+.^_`|~-]+$") or lower == "host" or lower == "content-length"
        or lower == "transfer-encoding" or lower == "connection" then
      return ("has a name that can not be used as element %d"):format(i)
    end
  end
end

M.config = {
  url = { "string", doc = "Where to ask.", check = function(url)
    if not url:find("^https?://[^/?#%s]+[^#%s]*$") then return "must be like http://host:port/path" end
  end },
  tls = { "table", optional = true, doc = "What is demanded of an https server, see gw.client_tls." },
  send = { "list", of = "string", default = { "Authorization", "Cookie" }, check = names_complaint,
    doc = "Request headers that the service gets." },
  copy = { "list", of = "string", default = {}, check = names_complaint,
    doc = "Headers of the service's answer that the upstream gets; the client's own are removed." },
  timeout = { "seconds", default = 2, min = 0.01, max = 60, unit = "seconds", doc = "How long to wait." },
  redirects = { "boolean", default = false, doc = "Let the service redirect the client (302, 303, 307)." },
}

local function question(req, conf, tls)
  local headers = {
    ["X-Forwarded-Method"] = req.method, ["X-Forwarded-Proto"] = req.scheme, ["X-Forwarded-For"] = req.ip,
    ["X-Forwarded-Host"] = req.host,
    ["X-Forwarded-Uri"] = req.path .. (req.query ~= "" and "?" .. req.query or ""),
    ["X-Request-ID"] = req.id,
  }
  for _, name in ipairs(conf.send) do
    local values = req:header_values(name)
    if #values > 0 then headers[name] = values end
  end
  return { url = conf.url, method = "GET", headers = headers, timeout = conf.timeout,
           connect_timeout = conf.timeout, max_body = 65536, tls = tls }
end

local passed_on = { "WWW-Authenticate", "Set-Cookie", "Content-Type", "Location", "Cache-Control" }

local function refusal(given)
  local res = gw.response(given.status, given.body)
  for _, name in ipairs(passed_on) do res:set_header(name, given.headers[name]) end
  return res
end

local function may_be_told(status, conf)
  return status == 401 or status == 403
    or conf.redirects and (status == 302 or status == 303 or status == 307)
end

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req) -> res or nothing
function M.new(conf)
  local tls = conf.tls and gw.client_tls(conf.tls)
  return function(req)
    local ok, given, code = pcall(gw.http, question(req, conf, tls)) -- it raises for fields that are too long
    local status = ok and given and given.status
    for _, name in ipairs(conf.copy) do
      req:set_header(name, status and status >= 200 and status < 300 and given.headers[name] or nil)
    end
    if status and status >= 200 and status < 300 then return end
    if status and may_be_told(status, conf) then return refusal(given) end
    gw.log.error("forward_auth: no decision", { code = not ok and given or code, status = status or nil })
    return gw.error(503, "auth_unavailable", "Whether this request may pass could not be decided")
  end
end

return M
