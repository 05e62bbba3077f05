--- gw.jwt: keys, verifiers, tokens of our own.
--
--   local keys = gw.jwt.keys { secret = gw.env "JWT_SECRET" }
--   local claims, code, message = gw.jwt.verify(token, keys, { algs = { "HS256" }, iss = "auth" })
--   local token = gw.jwt.sign({ sub = "7" }, keys, { alg = "HS256", expires_in = 3600 })
--
-- Keys of a URL are fetched by each worker for itself, in the background: again every `refresh`
-- seconds, and when a token names a key that is not known (at most every 10 s).  What was fetched
-- last serves until something better comes, also across reloads, for it lies in a shared dict.
local client_tls = require "moonlatch.client_tls"
local core = require "moonlatch.core"
local sandbox = require "moonlatch.sandbox"

local M = {}

local RETRY_S, TICK_S, WAIT_S, SECRET_MIN = 10, 5, 0.02, 32
local kinds = { "secret", "pem", "jwk", "jwks", "url" }
local common = { algs = true }
-- keys of a set have their own kid
local options_of = { url = { refresh = true, timeout = true, tls = true }, jwks = {} }
local one_key = { kid = true }

local remotes = setmetatable({}, { __mode = "k" }) -- keys -> where they come from

-- ---- sources ----

local function kind_of(source)
  local found
  for _, kind in ipairs(kinds) do
    if source[kind] ~= nil then
      if found then return nil, ("it has both %s and %s"):format(found, kind) end
      found = kind
    end
  end
  if not found then return nil, "it needs one of secret, pem, jwk, jwks and url" end
  return found
end

local function complaint(source, kind)
  for name in pairs(source) do
    if name ~= kind and not common[name] and not (options_of[kind] or one_key)[name] then
      return ("it has the field %q, which is of no use here"):format(tostring(name))
    end
  end
  local value = source[kind]
  if type(value) == "table" and (kind == "jwk" or kind == "jwks") then return end
  if type(value) ~= "string" then return ("%s must be a string"):format(kind) end
  if kind ~= "url" then return end
  if not value:find("^https?://[^/]") then return "url must begin with https:// or http://" end
end

-- What the core takes of a source.
local function for_core(source, kind)
  local value = source[kind]
  if type(value) == "table" then value = assert(core.json_encode(value)) end
  return { [kind] = value, kid = source.kid, algs = source.algs }
end

local function is_list(spec)
  return type(spec) == "table" and spec[1] ~= nil
end

-- A list of sources for the core, and the one that is a URL.
local function sort_out(spec)
  local plain, remote = {}, nil
  for i, source in ipairs(is_list(spec) and spec or { spec }) do
    if type(source) ~= "table" then error(("key %d is no table"):format(i), 0) end
    local kind, wrong = kind_of(source)
    wrong = wrong or complaint(source, kind)
    if wrong then error(("key %d: %s"):format(i, wrong), 0) end
    if kind ~= "url" then
      plain[#plain + 1] = for_core(source, kind)
    elseif remote then
      error(("key %d: there is another url already"):format(i), 0)
    else
      remote = source
    end
  end
  return plain, remote
end

-- ---- keys of a URL ----

local function store()
  return core.shared("moonlatch.jwks")
end

-- Puts the keys of a text in the place of those that are there; nil, what is wrong.
local function use(keys, remote, text)
  local sources = { { jwks = text, algs = remote.algs } }
  for _, source in ipairs(remote.plain) do sources[#sources + 1] = source end
  local ok, fresh = pcall(core.jwt_keys, sources)
  if not ok then return nil, fresh end
  core.jwt_keys_replace(keys, fresh)
  remote.text = text
  return true
end

local function download(remote)
  local res, code = core.http_request { url = remote.url, method = "GET", timeout = remote.timeout,
                                        tls = remote.tls,
                                        headers = { Accept = "application/jwk-set+json, application/json" } }
  if not res then return nil, code end
  if res.status ~= 200 then return nil, "status " .. res.status end
  return res.body
end

local function fetch(keys, remote)
  local now = core.mono()
  remote.tried, remote.busy_until = now, now + remote.timeout + 1
  local text, wrong = download(remote)
  remote.busy_until = 0
  if text and text == remote.text then
    remote.fetched = core.mono()
    return true
  end
  local good
  if text then good, wrong = use(keys, remote, text) end
  if not good then
    core.log("warn", "key set can not be fetched", { url = remote.url, reason = wrong })
    return false
  end
  remote.fetched = core.mono()
  local kept, why = store():set(remote.url, text)
  if not kept then
    core.log("warn", "key set is not kept for the next reload", { url = remote.url, reason = why })
  end
  return true
end

-- The text that another generation or worker fetched last.
local function recall(keys, remote)
  if remote.text then return false end
  local text = store():get(remote.url)
  return text ~= nil and use(keys, remote, text) == true
end

-- Tries to get newer keys; says whether there are any.
local function renew(keys, remote)
  local before = remote.text
  if recall(keys, remote) then return true end
  while core.mono() < remote.busy_until do core.sleep(WAIT_S) end
  if remote.text ~= before then return true end
  if core.mono() - remote.tried < RETRY_S then return false end
  return fetch(keys, remote)
end

local function tick(keys, remote)
  recall(keys, remote)
  local now = core.mono()
  if now < remote.busy_until or now - remote.tried < RETRY_S then return end
  if now - remote.fetched >= remote.refresh then fetch(keys, remote) end
end

local function seconds(value, name, default, min)
  value = value == nil and default or tonumber(value)
  if not value or not (value >= min and value <= 86400) then
    error(("%s must be from %d to 86400 seconds"):format(name, min), 0)
  end
  return value
end

local function make_remote(keys, source, plain)
  local remote = { url = source.url, algs = source.algs, plain = plain,
                   tls = source.tls and client_tls.make(source.tls),
                   refresh = seconds(source.refresh, "refresh", 300, 10),
                   timeout = seconds(source.timeout, "timeout", 5, 1),
                   tried = -math.huge, fetched = -math.huge, busy_until = 0 }
  remotes[keys] = remote
  core.timer(TICK_S, function() tick(keys, remote) end, { immediately = true })
end

-- ---- the functions ----

local function keys_of(spec, warn, is_loaded)
  if type(spec) == "userdata" then return spec end
  if type(spec) ~= "table" then error("gw.jwt.keys: a table is expected", 0) end
  local plain, source = sort_out(spec)
  if #plain == 0 and not source then error("gw.jwt.keys: there is no key", 0) end
  if source and is_loaded() then error("keys of a url are made while the site is loaded", 0) end
  local keys = core.jwt_keys(plain)
  local _, shortest = core.jwt_keys_info(keys)
  if shortest and shortest < SECRET_MIN then
    warn(("a secret for signatures has only %d bytes: it should have at least %d random ones")
         :format(shortest, SECRET_MIN))
  end
  if source then make_remote(keys, source, plain) end
  return keys
end

local refresh_helps = { key_unknown = true, keys_unavailable = true }

local function verifier(keys, rules, no_cache)
  local verify = core.jwt_verifier(keys, rules, no_cache)
  local remote = remotes[keys]
  if not remote then return verify end
  return function(token)
    local claims, code, message = verify(token)
    if claims or not refresh_helps[code] or not renew(keys, remote) then return claims, code, message end
    return verify(token)
  end
end

-- The rules for the core, and whether `cache` among them is false.
local function without_cache(rules)
  if type(rules) ~= "table" or rules.cache == nil then return rules, false end
  local copy = {}
  for name, value in pairs(rules) do copy[name] = value end
  copy.cache = nil
  return copy, rules.cache == false
end

local function with_times(claims, expires_in)
  local all = { iat = math.floor(core.now()) }
  for name, value in pairs(claims) do all[name] = value end
  if expires_in ~= nil then
    if type(expires_in) ~= "number" or not (expires_in > 0 and expires_in < 2 ^ 40) then
      error("gw.jwt.sign: expires_in must be a number of seconds", 3)
    end
    all.exp = math.floor(all.iat + expires_in)
  end
  return all
end

local function sign(claims, keys, opts)
  if type(claims) ~= "table" then error("gw.jwt.sign: the claims must be a table", 2) end
  if type(opts) ~= "table" or type(opts.alg) ~= "string" then
    error("gw.jwt.sign: the options need alg, the name of an algorithm", 2)
  end
  return core.jwt_sign(with_times(claims, opts.expires_in), keys, opts.alg, opts.kid)
end

--- The functions of gw.jwt.
-- @param warn function(text), for what is allowed but should not be
-- @param is_loaded function() -> is the site loaded already?
function M.new(warn, is_loaded)
  return sandbox.read_only("gw.jwt", {
    --- Keys of a source, or of a list of them: { secret = }, { pem = }, { jwk = }, { jwks = } or
    -- { url =, refresh = 300, timeout = 5 }, each with kid = and algs = if wanted.
    keys = function(spec)
      local ok, keys = pcall(keys_of, spec, warn, is_loaded)
      if ok then return keys end
      error(tostring(keys), 2)
    end,
    --- A function(token or request) -> claims | nil, code, message, with a cache of tokens that were good.
    -- Of a request it takes the bearer token.
    -- @param rules { algs = (obligatory), iss, aud, sub, leeway = 0, required, reject_types, cache = true }
    verifier = function(keys, rules)
      local plain, no_cache = without_cache(rules)
      return verifier(keys, plain, no_cache)
    end,
    --- The same for one token, without a cache.
    verify = function(token, keys, rules) return verifier(keys, rules, true)(token) end,
    --- A token: claims with iat of now, and exp when expires_in is given; nil, message.
    -- @param opts { alg = (obligatory), kid, expires_in = seconds }
    sign = sign,
  })
end

return M
