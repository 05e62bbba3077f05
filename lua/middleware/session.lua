--- Sessions: data that belongs to a visitor, kept here, behind a cookie that carries only a signed random id.
--
-- `req.ctx.session` is there for everything inside of it: `.data` is a table that is kept as JSON,
-- `.is_new` says that the visitor brought no session. What changed is saved when the request has been
-- answered, or by `session:save()` at once. A session that holds nothing is not stored and has no cookie.
--
-- `session:regenerate()` gives it a new id and forgets the old one. Call it at each login: an id that was
-- known before must not become that of a signed-in user.
--
-- `session:destroy()` ends it and takes the cookie back. Requests that are under way can not revive it.
--
-- An id has 256 random bits and is signed with HMAC-SHA256; one that is tampered with, unknown or too old
-- is never taken over: the visitor gets another one. The store holds hashes of ids. With several `secrets`
-- the first one signs and all are accepted, so they can be changed one after the other. A session ends when
-- it was not used for `idle`, and in any case after `absolute`. When two requests change one session at the
-- same time, the one that ends later wins. A request whose script failed saves nothing.
--
-- The store is the shared memory of the machine (lost with the gateway, and by what is least used when
-- memory is short, see `shared_memory`), or a Redis (6.2 or newer) of `gw.redis`. A response that sets the
-- cookie gets `Cache-Control: no-store`.
--
--   gw.use { { "session", secrets = { gw.env "SESSION_SECRET" },
--              store = gw.redis(gw.env("REDIS_URL", "redis://127.0.0.1:6379")) } }
--   gw.route("POST /login", { respond = function(req)
--     local session = req.ctx.session
--     session:regenerate()
--     session.data.user = "u7"
--     return gw.response(204)
--   end })
local gw = require "moonlatch"

local M = { name = "session" }

local function no_attribute(text)
  if text:find('[%c; ,"\\]') then return "must have no spaces, quotes, semicolons or control characters" end
end

M.config = {
  secrets = { "string", "list", of = "string",
    doc = "Secrets of at least 32 bytes: the first one signs, all are accepted." },
  store = { "any", default = "shared",
    doc = '`"shared"` (memory of this machine) or what `gw.redis` returned.' },
  prefix = { "string", default = "session:", min = 1, max = 100, doc = "What keys of the store begin with." },
  on_failure = { "string", default = "refuse", one_of = { "refuse", "anonymous" },
    doc = 'When the store fails: `"refuse"` answers 503, `"anonymous"` goes on without a session.' },
  idle = { "seconds", default = 1800, min = 1, max = 31536000, unit = "seconds",
    doc = "A session that is not used for so long ends." },
  absolute = { "seconds", default = 43200, min = 1, max = 31536000, unit = "seconds",
    doc = "A session ends so long after it began, or after `regenerate`." },
  rolling = { "boolean", default = false,
    doc = "Sets the cookie with each answer, living for `idle`; otherwise once, living for `absolute`." },
  max_size = { "size", default = 4096, min = 64, max = 65536, unit = "bytes",
    doc = "Largest data, as JSON." },
  hide = { "boolean", default = true, doc = "Removes the cookie from what the upstream gets." },
  cookie = { "string", default = "__Host-session", doc = "Name of the cookie.",
    check = function(name)
      if not name:find("^[%w!#$%%&'*+.^_`|~-]+$") then return "is no name of a cookie" end
    end },
  path = { "string", default = "/", doc = "`Path` of the cookie.",
    check = function(path)
      return path:sub(1, 1) ~= "/" and "must begin with /" or no_attribute(path)
    end },
  domain = { "string", optional = true, min = 1, check = no_attribute, doc = "`Domain` of the cookie." },
  secure = { "boolean", default = true, doc = "`Secure`: the cookie is sent over TLS only." },
  http_only = { "boolean", default = true, doc = "`HttpOnly`: scripts of a page can not read the cookie." },
  same_site = { "string", default = "Lax", one_of = { "Lax", "Strict", "None" },
    doc = "`SameSite` of the cookie." },
}

-- ---- options that depend on one another ----

local function check_cookie(conf)
  local name, why = conf.cookie:lower(), nil
  if name:find("^__secure%-") and not conf.secure then why = "a cookie __Secure-* needs secure = true" end
  if name:find("^__host%-") and not (conf.secure and conf.path == "/" and not conf.domain) then
    why = 'a cookie __Host-* needs secure = true, path = "/" and no domain'
  end
  if conf.same_site == "None" and not conf.secure then why = 'same_site = "None" needs secure = true' end
  if why then error(why .. ": browsers refuse it otherwise", 0) end
end

local function secrets_of(conf)
  local secrets = type(conf.secrets) == "string" and { conf.secrets } or conf.secrets
  if #secrets == 0 then error("secrets: there is none", 0) end
  for i, secret in ipairs(secrets) do
    if #secret < 32 then error(("secrets: number %d has less than 32 bytes"):format(i), 0) end
  end
  return secrets
end

-- ---- stores: read -> text or nil; create; update -> false when it is gone; remove; all | nil, code ----

-- Touching must not write data that another request has changed, and a request that is under way must not
-- revive what was destroyed: so three entries, r: the data, u: used within `idle`, x: destroyed.
local function shared_store(idle, absolute)
  local dict, store = gw.shared("session"), {}

  local function put(key, text, ttl)
    local done, code = dict:set("r" .. key, text, ttl)
    if done then done, code = dict:set("u" .. key, true, idle) end
    return done, code
  end
  function store.read(key)
    if dict:get("x" .. key) or not dict:get("u" .. key) then return nil end
    local text = dict:get("r" .. key)
    if text then dict:set("u" .. key, true, idle) end
    return text
  end
  function store.create(key, text, ttl) return put(key, text, ttl) end
  function store.update(key, text, ttl)
    if dict:get("x" .. key) or not dict:get("r" .. key) then return false end
    return put(key, text, ttl)
  end
  function store.remove(key)
    local done, code = dict:set("x" .. key, true, absolute)
    dict:delete("r" .. key)
    return done, code
  end
  return store
end

local function redis_store(redis, idle)
  local store = {}

  local function seconds(ttl) return math.max(1, math.ceil(math.min(ttl, idle))) end
  function store.read(key) return redis:command("GETEX", key, "EX", seconds(idle)) end
  function store.create(key, text, ttl) return redis:set(key, text, "EX", seconds(ttl)) end
  function store.update(key, text, ttl)
    local done, code = redis:set(key, text, "EX", seconds(ttl), "XX")
    if code then return nil, code end
    return done ~= nil
  end
  function store.remove(key) return redis:del(key) end
  return store
end

local function store_of(conf)
  if conf.store == "shared" then return shared_store(conf.idle, conf.absolute) end
  if type(conf.store) ~= "userdata" and type(conf.store) ~= "table" then
    error('store must be "shared" or what gw.redis returned', 0)
  end
  return redis_store(conf.store, conf.idle)
end

-- ---- the cookie ----

-- sign(id) -> value, verify(value) -> id or nil
local function signer(conf, secrets)
  local function mac(secret, id)
    return gw.base64_encode(gw.crypto.hmac("sha256", secret, conf.cookie .. "=" .. id, "raw"), true)
  end
  local function sign(id) return id .. "." .. mac(secrets[1], id) end
  local function verify(value)
    local id, given = value:match("^([%w_-]+)%.([%w_-]+)$")
    if not id or #id ~= 43 or #given ~= 43 then return nil end
    for _, secret in ipairs(secrets) do
      if gw.crypto.equals(mac(secret, id), given) then return id end
    end
  end
  return sign, verify
end

local function attributes_of(conf)
  return "; Path=" .. conf.path .. (conf.domain and "; Domain=" .. conf.domain or "")
    .. (conf.secure and "; Secure" or "") .. (conf.http_only and "; HttpOnly" or "")
    .. "; SameSite=" .. conf.same_site
end

local function hide_cookie(req, name)
  local kept = {}
  for _, line in ipairs(req:header_values("cookie")) do
    for pair in line:gmatch("[^;]+") do
      pair = pair:match("^%s*(.-)%s*$")
      if pair ~= "" and pair:match("^(.-)%s*=") ~= name then kept[#kept + 1] = pair end
    end
  end
  req:set_header("Cookie", #kept > 0 and table.concat(kept, "; ") or nil)
end

-- ---- one session ----

local Session = {}
Session.__index = Session

local function new_id() return gw.base64_encode(gw.crypto.random(32), true) end

local function key_of(env, id) return env.conf.prefix .. gw.crypto.sha256(id) end

-- The session of a cookie's value, or a new one; nil, code when the store fails.
local function open(env, value)
  local id = value and env.verify(value)
  local text, code
  if id then text, code = env.store.read(key_of(env, id)) end
  if code then return nil, code end
  local record = text and gw.json.decode(text)
  local now = gw.now()
  local good = type(record) == "table" and type(record.data) == "table" and type(record.created) == "number"
    and now < record.created + env.conf.absolute
  local self = setmetatable({ data = good and record.data or {}, is_new = not good }, Session)
  self.private = { env = env, id = good and id or nil, created = good and record.created or now }
  self.private.saved = gw.json.encode(self.data)
  return self
end

--- A new id from now on; what the old one names is forgotten when the session is saved.
function Session:regenerate()
  local p = self.private
  p.old, p.id = p.old or p.id, nil
  p.created, p.regenerated, p.destroyed = gw.now(), true, false
end

--- Ends the session: its data are gone, and the cookie is taken back with the answer.
function Session:destroy()
  local p = self.private
  p.old, p.id = p.old or p.id, nil
  self.data, p.destroyed, p.regenerated = {}, true, false
end

local function write(p, text)
  local env, record = p.env, '{"created":' .. ("%.3f"):format(p.created) .. ',"data":' .. text .. "}"
  local left = p.created + env.conf.absolute - gw.now()
  if left <= 0 then return true end
  if p.id then
    local done, code = env.store.update(key_of(env, p.id), record, left)
    if done == false then
      gw.log.info("session: it ended while a request was changing it")
      p.lost = true
    end
    return done ~= nil or nil, code
  end
  local id = new_id()
  local done, code = env.store.create(key_of(env, id), record, left)
  if not done then return nil, code end
  p.id, p.fresh = id, true
  return true
end

local function forget_old(p)
  if not p.old then return true end
  local done, code = p.env.store.remove(key_of(p.env, p.old))
  if done then p.old = nil end
  return done, code
end

--- Writes what changed to the store.
-- @return true | nil, code: "too_large", "not_json", or why the store failed
function Session:save()
  local p = self.private
  local done, code = forget_old(p)
  if not done then return nil, code end
  local text = type(self.data) == "table" and gw.json.encode(self.data)
  if not text then return nil, "not_json" end
  if #text > p.env.conf.max_size then return nil, "too_large" end
  if p.destroyed and next(self.data) == nil then return true end
  if text == p.saved and not p.regenerated then return true end
  if not p.id and next(self.data) == nil then return true end
  done, code = write(p, text)
  if not done then return nil, code end
  p.saved, p.regenerated = text, false
  return true
end

-- ---- requests ----

local function set_cookie(res, env, session, brought)
  local p, conf = session.private, env.conf
  local text
  if p.fresh or (conf.rolling and p.id and not p.lost) then
    local left = math.ceil(p.created + conf.absolute - gw.now())
    text = ("%s=%s%s; Max-Age=%d"):format(conf.cookie, env.sign(p.id), env.attributes,
      math.max(0, conf.rolling and math.min(left, conf.idle) or left))
  elseif brought and p.destroyed then
    text = ("%s=%s; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"):format(conf.cookie, env.attributes)
  end
  if not text then return end
  res:add_header("Set-Cookie", text)
  res:set_header("Cache-Control", "no-store")
end

local function unavailable()
  return gw.error(503, "session_unavailable", "Sessions are not available at the moment; try again later")
end

local function not_saved(env, res, code)
  gw.log.error("session: it was not saved", { code = code })
  if code == "too_large" or code == "not_json" then
    return gw.error(500, "session_" .. code, "The session could not be saved")
  end
  return env.conf.on_failure == "anonymous" and res or unavailable()
end

-- A session that lives as long as its request.
local function anonymous(env)
  local session = open(env)
  session.save = function() return nil, "unavailable" end
  return session
end

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req, next) -> res
function M.new(conf)
  check_cookie(conf)
  local env = { conf = conf, store = store_of(conf), attributes = attributes_of(conf) }
  env.sign, env.verify = signer(conf, secrets_of(conf))

  return function(req, next)
    local value = req.cookies[conf.cookie]
    local session, code = open(env, value)
    if conf.hide and value then hide_cookie(req, conf.cookie) end
    if not session then
      gw.log.warn("session: the store failed", { code = code })
      if conf.on_failure == "refuse" then return unavailable() end
      req.ctx.session = anonymous(env)
      return next()
    end
    req.ctx.session = session
    local res = next()
    local done, failure = session:save()
    if not done then return not_saved(env, res, failure) end
    set_cookie(res, env, session, value ~= nil)
    return res
  end
end

return M
