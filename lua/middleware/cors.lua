--- Lets pages of other origins call the API (the CORS protocol of the Fetch standard), those of a list only.
--
-- An entry of `origins` is an origin as browsers send it, `https://app.example.com` or
-- `http://localhost:3000`; a pattern with one star for one or more whole labels of the name,
-- `https://*.example.com` (which is not `https://example.com`), or for any port, `http://localhost:*`;
-- `null` (sandboxed frames, files: anybody can be that); or `*`, alone and without credentials.
-- Everything is compared as a whole and in lower case, as browsers write it.
--
-- Preflights, and only these (OPTIONS with Origin and Access-Control-Request-Method), are answered here.
-- `Vary: Origin` is on every answer, whoever asked: no cache gives one origin's answer to another. What the
-- upstream says in Access-Control-* is dropped. A WebSocket of an origin that is neither allowed nor the host
-- itself is refused (403): browsers open those without asking. Answers of the gateway itself have the fields
-- too.
--
--   gw.use { { "cors", origins = { "https://app.example.com", "https://*.clinic.example" },
--              credentials = true, max_age = 600 } }
local gw = require "moonlatch"
local websocket = require "moonlatch.websocket"

local M = { name = "cors" }

local function token(name) return name:find("^[%w!#$%%&'*+.^_`|~-]+$") ~= nil end

local function tokens_complaint(list)
  for i, name in ipairs(list) do
    if not token(name) then return ("has no name of a method or header as element %d"):format(i) end
  end
end

-- ---- origins ----

local function is_host(host)
  if host:find("^%[[%x:.]+%]$") then return true end
  return host:find("^[a-z0-9-][a-z0-9.-]*$") ~= nil and not host:find("..", 1, true)
end

-- Is text made of labels only: "a", "a.b"?
local function is_labels(text)
  return text:find("^[a-z0-9_-]") and not text:find("[^a-z0-9._-]") and not text:find("..", 1, true)
    and text:sub(-1) ~= "."
end

-- scheme, host and port of an entry or an origin; port is "" when there is none
local function split(text)
  local scheme, rest = text:match("^([a-z][a-z0-9+.-]*)://(.+)$")
  if not scheme then return nil end
  local host, port = rest:match("^(%[[^%]]*%]):?(.*)$")
  if not host then host, port = rest:match("^([^:]*):?(.*)$") end
  if rest ~= host and rest ~= host .. ":" .. port or port == "" and rest ~= host then return nil end
  return scheme, host, port
end

local function entry_complaint(entry)
  if entry == "*" or entry == "null" then return nil end
  local scheme, host, port = split(entry)
  if not scheme then return "is no origin, like https://app.example.com" end
  if port ~= "" and port ~= "*" and not port:find("^%d+$") then return "has no port behind its colon" end
  if not is_host((host:gsub("^%*%.", ""))) then
    return 'is no origin: lower case, without a path, and a star only as "*." before the name'
  end
end

local function origins_complaint(list)
  for _, entry in ipairs(list) do
    local wrong = entry_complaint(entry)
    if wrong then return ('has an entry "%s" that %s'):format(entry, wrong) end
    if entry == "*" and #list > 1 then return 'has "*" beside others: it stands alone' end
  end
end

M.config = {
  origins = { "list", of = "string", check = origins_complaint,
    doc = "Origins, patterns, `null` or `*`; nobody when it is empty." },
  methods = { "list", of = "string", default = { "GET", "HEAD", "PUT", "PATCH", "POST", "DELETE" },
    check = tokens_complaint, doc = "Methods that a preflight allows." },
  headers = { "list", of = "string", optional = true, check = tokens_complaint,
    doc = "Request headers that a preflight allows; without it, those that it asks for." },
  expose = { "list", of = "string", check = tokens_complaint,
    default = { "X-Request-ID", "Retry-After", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset",
                "RateLimit-Policy", "RateLimit" },
    doc = "Response headers that pages may read." },
  credentials = { "boolean", default = false, doc = "Allow cookies and HTTP authentication." },
  max_age = { "seconds", optional = true, max = 86400, unit = "seconds",
    doc = "How long browsers may remember a preflight." },
  private_network = { "boolean", default = false,
    doc = "Allow pages of the public network to call a server in a private one." },
  preflight_status = { "integer", default = 204, one_of = { 200, 204 },
    doc = "Status of the answer to a preflight." },
}

-- Does an origin match a pattern of split()'s parts?
local function matches(pattern, scheme, host, port)
  if scheme ~= pattern.scheme then return false end
  if pattern.any_port then
    if port ~= "" and not port:find("^%d+$") then return false end
  elseif port ~= pattern.port then
    return false
  end
  local suffix = pattern.suffix
  if not suffix then return host == pattern.host end
  return #host > #suffix and host:sub(-#suffix) == suffix and is_labels(host:sub(1, -#suffix - 1))
end

local function pattern_of(entry)
  local scheme, host, port = split(entry)
  return { scheme = scheme, port = port, any_port = port == "*", host = host,
           suffix = host:match("^%*(%..+)$") }
end

-- function(origin) -> is it allowed?
local function matcher(list)
  local exact, patterns = {}, {}
  for _, entry in ipairs(list) do
    if entry:find("*", 1, true) and entry ~= "*" then
      patterns[#patterns + 1] = pattern_of(entry)
    else
      exact[entry] = true
    end
  end
  return function(origin)
    if exact[origin] then return true end
    if #patterns == 0 then return false end
    local scheme, host, port = split(origin)
    if not scheme then return false end
    for _, pattern in ipairs(patterns) do
      if matches(pattern, scheme, host, port) then return true end
    end
    return false
  end
end

-- ---- fields ----

local DROP = { "Access-Control-*", false }
local VARY = { "Vary", "Origin", true }

-- Without an origin (the request names none) the rest is as if it were allowed, which allows nothing.
local function allow_fields(conf, origin)
  local list = { DROP }
  if origin then list[2] = { "Access-Control-Allow-Origin", origin } end
  if origin ~= "*" then list[#list + 1] = VARY end
  if conf.credentials then list[#list + 1] = { "Access-Control-Allow-Credentials", "true" } end
  return list
end

local function answer_fields(conf, origin)
  local list = allow_fields(conf, origin)
  if #conf.expose > 0 then
    list[#list + 1] = { "Access-Control-Expose-Headers", table.concat(conf.expose, ",") }
  end
  return gw.fields(list)
end

-- What a preflight asks for, when it is a list of names.
local function asked_headers(req)
  local asked = req:header("access-control-request-headers")
  if asked and #asked <= 2048 and asked:find("^[%w!#$%%&'*+.^_`|~, \t-]+$") then return asked end
end

local function preflight_fields(conf, origin, req)
  local list = allow_fields(conf, origin)
  list[#list + 1] = { "Access-Control-Allow-Methods", table.concat(conf.methods, ",") }
  local allowed = conf.headers and table.concat(conf.headers, ",")
  if not allowed then
    list[#list + 1] = { "Vary", "Access-Control-Request-Headers", true }
    allowed = asked_headers(req)
  end
  if allowed and allowed ~= "" then list[#list + 1] = { "Access-Control-Allow-Headers", allowed } end
  if conf.max_age then list[#list + 1] = { "Access-Control-Max-Age", ("%d"):format(conf.max_age) } end
  if conf.private_network and req:header("access-control-request-private-network") == "true" then
    list[#list + 1] = { "Access-Control-Allow-Private-Network", "true" }
  end
  return gw.fields(list)
end

-- ---- the policy ----

-- function(req, origin) -> the origin to name in the answer, or nil
local function judge(conf)
  if conf.origins[1] == "*" then return function() return "*" end end
  local allowed = matcher(conf.origins)
  return function(req, origin)
    if origin and allowed(origin) and req:header_count("origin") == 1 then return origin end
  end
end

-- function(origin) -> fields, made once for those origins that the list names
local function answers(conf)
  local known = {}
  for _, entry in ipairs(conf.origins) do
    if entry == "*" or not entry:find("*", 1, true) then known[entry] = answer_fields(conf, entry) end
  end
  return function(origin) return known[origin] or answer_fields(conf, origin) end
end

local function is_preflight(req, origin)
  return req.method == "OPTIONS" and origin and req:header("access-control-request-method") ~= nil
end

-- The socket of a page from elsewhere?
local function is_foreign_socket(req, origin)
  local upgrade = req:header("upgrade")
  return upgrade ~= nil and upgrade:lower():find("websocket", 1, true) ~= nil
    and not (req:header_count("origin") == 1 and websocket.is_own(origin, req))
end

--- The fields of answers to requests that never get to a chain: nobody's, so none may keep them for another.
-- @return list of { name, value }
function M.always(conf)
  return conf.origins[1] ~= "*" and { { "Vary", "Origin" } } or {}
end

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req, next) -> res
function M.new(conf)
  if conf.credentials and conf.origins[1] == "*" then
    error('cors: credentials = true does not go together with origins = { "*" }', 0)
  end
  local allowed, answer = judge(conf), answers(conf)
  local unnamed, nobody = answer_fields(conf, nil), gw.fields { DROP, VARY }

  return function(req, next)
    local origin = req:header("origin")
    local named = allowed(req, origin)
    local fields = named and answer(named) or origin and nobody or unnamed
    fields:keep(req)
    local res
    if is_preflight(req, origin) then
      res = gw.response(conf.preflight_status)
      if named then fields = preflight_fields(conf, named, req) end
    elseif origin and not named and is_foreign_socket(req, origin) then
      res = gw.error(403, "origin_not_allowed", "Pages of this origin may not open this socket")
    else
      res = next()
    end
    fields:apply(res)
    return res
  end
end

return M
