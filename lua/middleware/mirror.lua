--- Sends a copy of a share of the requests to another server, and forgets what it answers.
--
-- The client never waits for the copy. A body of up to `max_body` bytes is read first, so that it can be
-- sent twice; a request with a larger one is not mirrored. No more than `max_concurrent` copies of a worker
-- are under way at a time, further ones are left out. Copies carry no credentials (Authorization, Cookie)
-- unless `credentials` says so, and `X-Mirror: 1`, by which the server can tell them. Answers from it, also
-- failures, change nothing; failures are logged at the level `debug`.
--
--   gw.group("/api", { { "mirror", to = "http://127.0.0.1:9100", share = 0.1, methods = { "GET" } } },
--     function() gw.route("* /*rest", { to = "api" }) end)
local gw = require "moonlatch"

local M = { name = "mirror" }

M.config = {
  to = { "string", doc = "Origin of the other server, `http://host:port`, maybe with a prefix of the path.",
    check = function(url)
      if not url:find("^https?://[^/?#%s]+[^?#%s]*$") then return "must be like http://host:port/prefix" end
    end },
  tls = { "table", optional = true, doc = "What is demanded of an https server, see gw.client_tls." },
  share = { "number", default = 1, min = 0, max = 1, doc = "Share of the requests that are copied." },
  methods = { "list", of = "string", default = { "GET", "HEAD" },
    doc = "Methods that are copied; others would be done twice when both servers share their data." },
  max_body = { "size", default = 65536, max = 1048576, unit = "bytes",
    doc = "Requests with a larger body are not copied." },
  max_concurrent = { "integer", default = 50, min = 1, max = 1000, doc = "Copies under way, per worker." },
  timeout = { "seconds", default = 5, min = 0.01, max = 300, unit = "seconds",
    doc = "When a copy is given up." },
  credentials = { "boolean", default = false, doc = "Copy Authorization and Cookie." },
}

-- Of the connection, or written anew by who sends.
local dropped = {}
for name in ([[host connection content-length transfer-encoding keep-alive te trailer upgrade expect
    proxy-connection proxy-authorization proxy-authenticate proxy http2-settings]]):gmatch("%S+") do
  dropped[name] = true
end

local function headers_of(req, conf)
  local headers, connection = {}, "," .. (req:header("connection") or ""):lower():gsub("%s", "") .. ","
  for name, value in req:each_header() do
    name = name:lower()
    local secret = not conf.credentials and (name == "authorization" or name == "cookie")
    if not dropped[name] and not secret and not connection:find("," .. name .. ",", 1, true) then
      local was = headers[name]
      headers[name] = type(was) == "table" and was or was and { was } or value
      if was then table.insert(headers[name], value) end
    end
  end
  headers["x-mirror"] = "1"
  headers["x-forwarded-for"] = req.ip
  return headers
end

-- Can the body be kept?  true and its text, or false
local function body_of(req, max_body)
  if not req:header("content-length") and not req:header("transfer-encoding") then return true end
  local text = req:body { max = max_body }
  return text ~= nil, text
end

local function set_of(list)
  local set = {}
  for _, name in ipairs(list) do set[name] = true end
  return set
end

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req) -> nothing
function M.new(conf)
  local methods, base, under_way = set_of(conf.methods), conf.to:gsub("/+$", ""), 0
  local tls = conf.tls and gw.client_tls(conf.tls)

  local function send(copy)
    local ok, res, code = pcall(gw.http, copy) -- it raises for fields that are too many or too long
    under_way = under_way - 1
    if ok and res then return end
    gw.log.debug("mirror: a copy failed", { code = ok and code or res, url = copy.url })
  end

  return function(req)
    if not methods[req.method] or under_way >= conf.max_concurrent then return end
    if gw.random() >= conf.share then return end
    local ok, body = body_of(req, conf.max_body)
    if not ok then return end
    local copy = {
      url = base .. req.path .. (req.query ~= "" and "?" .. req.query or ""), method = req.method,
      headers = headers_of(req, conf), body = body, timeout = conf.timeout, max_body = 1048576,
      tls = tls,
    }
    under_way = under_way + 1
    if not pcall(gw.spawn, send, copy) then under_way = under_way - 1 end -- there are too many tasks
  end
end

return M
