--- Asks for user and password (RFC 7617), checked against an htpasswd file of the site.
--
-- Hashes may be bcrypt ($2y$, what `htpasswd -B` writes), SHA-256 and SHA-512 of crypt(5), yescrypt,
-- or {SHA}; Apache's MD5 ($apr1$) is refused.  Slow hashes are computed beside the gateway's loop, one at a
-- time, and a password that was good is remembered for a while, under a key that only this process
-- has, so that a browser that sends it with every request does not pay each time.  An unknown user takes
-- as long as a wrong password.
--
-- `req.user` is { id = name }.  Use it over TLS only: the password is readable on the wire.
--
--   { "basic_auth", users = gw.file "htpasswd.txt", realm = "Operations" }
local gw = require "moonlatch"

local M = { name = "basic_auth" }

local CACHED_MAX = 1000

local function no_quotes(text)
  if text:find('[%c"\\]') then return "must have no quotes, backslashes or control characters" end
end

local function header_name(name)
  if not name:find("^[%w!#$%%&'*+.^_`|~-]+$") then return "is no name of a header" end
end

M.config = {
  users = { "string", "table",
    doc = "The text of an htpasswd file (see gw.file), or a table of hashes by user." },
  realm = { "string", default = "Restricted", check = no_quotes, doc = "What browsers show when they ask." },
  user_header = { "string", optional = true, check = header_name,
    doc = "The header in which the upstream gets the user's name." },
  hide = { "boolean", default = true, doc = "Removes Authorization from what the upstream gets." },
  cache = { "seconds", default = 60, max = 3600, unit = "seconds",
    doc = "How long a password that was good is not checked again; 0 checks each time." },
}

-- ---- users ----

local function check_hash(name, hash)
  if type(hash) ~= "string" then error(("users: the hash of %s must be a string"):format(name), 0) end
  if hash:find("^{SHA}") then
    if #(gw.base64_decode(hash:sub(6)) or "") == 20 then return end
  elseif gw.crypto.password_check(hash) then
    return
  end
  error(("users: the hash of %s is of no kind that is accepted: use bcrypt (htpasswd -B)"):format(name), 0)
end

local function read_users(text)
  local users, number = {}, 0
  for line in (text .. "\n"):gmatch("(.-)\r?\n") do
    number = number + 1
    if line:find("%S") and not line:find("^%s*#") then
      local name, hash = line:match("^([^:]+):(%S+)%s*$")
      if not name then error(("users: line %d is not name:hash"):format(number), 0) end
      if users[name] then error(("users: %s occurs twice"):format(name), 0) end
      users[name] = hash
    end
  end
  return users
end

-- users by name, and the hash that unknown ones are checked against
local function users_of(conf)
  local users = type(conf.users) == "string" and read_users(conf.users) or conf.users
  local names, slow = {}, nil
  for name in pairs(users) do names[#names + 1] = tostring(name) end
  table.sort(names)
  for _, name in ipairs(names) do
    check_hash(name, users[name])
    if not users[name]:find("^{SHA}") then slow = slow or users[name] end
  end
  if #names == 0 then error("users: there is no user", 0) end
  return users, slow
end

-- ---- passwords ----

local function sha_matches(password, hash)
  return gw.crypto.equals(gw.base64_decode(hash:sub(6)), gw.crypto.sha1(password, "raw"))
end

-- boolean | nil, code
local function matches(users, slow, name, password)
  local hash = users[name]
  if hash and hash:find("^{SHA}") then return sha_matches(password, hash) end
  if not hash and not slow then return false end
  local good, code = gw.crypto.password_verify(password, hash or slow)
  if good == nil then return nil, code end
  return good and hash ~= nil
end

-- Remembers who was good: function(name, password) -> boolean | nil, code
local function cached(check, seconds)
  if seconds == 0 then return check end
  local key, newer, older, count = gw.crypto.random(32), {}, {}, 0
  return function(name, password)
    local mark = gw.crypto.hmac("sha256", key, #name .. ":" .. name .. password, "raw")
    local good_until = newer[mark] or older[mark]
    if good_until and gw.mono() < good_until then return true end
    local good, code = check(name, password)
    if not good then return good, code end
    if count >= CACHED_MAX then newer, older, count = {}, newer, 0 end
    newer[mark] = gw.mono() + seconds
    count = count + 1
    return true
  end
end

-- ---- requests ----

local function refuse(req, conf, code, message)
  local res = gw.response(401, { error = "Unauthorized", message = message, code = code, requestId = req.id })
  res:set_header("WWW-Authenticate", ('Basic realm="%s", charset="UTF-8"'):format(conf.realm))
  return res
end

local function busy(req)
  return gw.response(503, { error = "Service Unavailable", message = "Too many passwords are being checked",
                            code = "overload", requestId = req.id }, { ["Retry-After"] = "1" })
end

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req) -> response that refuses, or nil
function M.new(conf)
  local users, slow = users_of(conf)
  local check = cached(function(name, password) return matches(users, slow, name, password) end, conf.cache)
  return function(req)
    if conf.user_header then req:remove_header(conf.user_header) end
    local name, password = req:basic_auth()
    if not name then return refuse(req, conf, "credentials_missing", "User and password are required") end
    local good, code = check(name, password)
    if code then return busy(req) end
    if not good then return refuse(req, conf, "credentials_invalid", "User or password is wrong") end
    if conf.hide then req:remove_header("Authorization") end
    if conf.user_header then req:set_header(conf.user_header, name) end
    req.user = { id = name }
  end
end

return M
