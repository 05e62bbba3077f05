--- Who a request is counted for, and which requests are not counted: the options that rate_limit and
-- slow_down have in common.
local core = require "moonlatch.core"

local M = {}

local function key_complaint(key)
  if type(key) == "function" or key == "ip" or key == "user" or key == "route" then return nil end
  if key:find("^header:[%w!#$%%&'*+.^_`|~-]+$") then return nil end
  return 'must be "ip", "user", "route", "header:NAME" or a function'
end

local function skip_complaint(skip)
  for _, entry in ipairs(skip) do
    if not entry:find("^/") and not entry:find("^[%w!#$%%&'*+.^_`|~-]+ /") then
      return ('has "%s", which is neither "/path" nor "METHOD /path"'):format(entry)
    end
  end
end

M.key = { "string", "function", default = "ip", check = key_complaint,
  doc = 'Who is counted: "ip", "user" (without one: the address), "route", "header:NAME" (without it: the '
    .. "address) or a function(req); when that gives nil, the request is not counted." }
M.ipv6_prefix = { "integer", default = 56, min = 1, max = 128, unit = "bits",
  doc = "IPv6 addresses count as the network of so many bits: a client has all addresses of one." }
M.skip = { "list", of = "string", default = {}, check = skip_complaint,
  doc = 'Paths or route patterns that are not counted, exactly as written: "/health", "GET /metrics".' }
M.skip_if = { "function", optional = true, doc = "function(req): true when this request is not counted." }

local function text_of(value)
  if type(value) == "string" and value ~= "" then return value end
  if type(value) == "number" then return tostring(value) end
end

local function user_of(user)
  if type(user) == "table" then
    return text_of(user.id) or text_of(user.sub) or text_of(user.userId) or text_of(user.user_id)
  end
  return text_of(user)
end

-- The kind in front keeps a user called "192.0.2.1" apart from that address.
local function by_address(bits)
  return function(req) return core.ip_network(req.ip, bits) end
end

local MAX = 512 -- bytes of a header that are looked at; what is longer is told apart by its length too

local function bounded(text)
  return #text <= MAX and text or #text .. ":" .. text:sub(1, MAX)
end

--- function(req) -> key, or nil when the request is not counted; functions of the site may raise.
function M.key_of(key, ipv6_prefix)
  local address = by_address(ipv6_prefix)
  if key == "ip" then return address end
  if key == "route" then
    return function(req) return "route " .. (req.route or "none") end
  elseif key == "user" then
    return function(req)
      local user = user_of(req.user)
      return user and "user " .. bounded(user) or address(req)
    end
  elseif type(key) == "string" then
    local name = key:sub(#"header:" + 1)
    return function(req)
      local value = req:header(name)
      return value and "header " .. bounded(value) or address(req)
    end
  end
  return function(req)
    local value = key(req)
    if value == nil then return nil end
    return "own " .. bounded(text_of(value) or error("the key of a limit must be a text, a number or nil", 0))
  end
end

--- function(req) -> true when the request is not counted; nil when all are counted.
function M.skipper(skip, skip_if)
  if #skip == 0 then return skip_if end
  local exact, with_method = {}, false
  for _, entry in ipairs(skip) do
    exact[entry] = true
    with_method = with_method or entry:sub(1, 1) ~= "/"
  end
  return function(req)
    local path, route = req.path, req.route
    if exact[path] or (route and exact[route]) then return true end
    if with_method then
      local method = req.method .. " "
      if exact[method .. path] or (route and exact[method .. route]) then return true end
    end
    return skip_if ~= nil and skip_if(req)
  end
end

--- A function(problem) that warns, at most once a minute for each thing that counts.
function M.warner(what)
  local silent_until = 0
  return function(problem)
    local now = core.mono()
    if now < silent_until then return end
    silent_until = now + 60
    core.log("warn", what .. " could not count a request, which passed", { error = tostring(problem) })
  end
end

return M
