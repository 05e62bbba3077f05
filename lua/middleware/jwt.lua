--- Lets requests with a good JSON Web Token pass, and tells the upstream who it is.
--
-- The token's claims become `req.user`.  Nothing that a token says is believed before its signature
-- has been verified with a key that is bound to its algorithm.  Without a token, or with a bad one:
-- 401 with `WWW-Authenticate` (RFC 6750) and a body { error, message, code, requestId }; without the
-- scopes or roles that are asked for: 403.
--
-- The headers named in `headers` are the gateway's: what a client sends under these names never
-- reaches the upstream, also when `optional` lets a request pass without a token.  A claim that no
-- header can carry (control characters, text outside of Latin-1, an object) makes the token bad.
--
--   gw.route("* /api/*rest", { { "jwt", secret = gw.env "JWT_SECRET", algorithms = { "HS256" },
--                                headers = { ["X-User-Id"] = "sub" } }, to = "api" })
--
--   { "jwt", algorithms = { "RS256" }, jwks_url = "https://auth.example.com/.well-known/jwks.json",
--     issuer = "https://auth.example.com", audience = "api", scopes = { "patients:read" } }
local gw = require "moonlatch"

local M = { name = "jwt" }

local function no_quotes(text)
  if text:find('[%c"\\]') then return "must have no quotes, backslashes or control characters" end
end

local function known_sources(list)
  for _, source in ipairs(list) do
    if source ~= "bearer" and not source:find("^cookie:.+") and not source:find("^query:.+") then
      return 'has the unknown source "' .. source .. '": there are "bearer", "cookie:NAME" and "query:NAME"'
    end
  end
end

local reserved = { host = true, connection = true, upgrade = true, trailer = true, te = true,
                   ["content-length"] = true, ["transfer-encoding"] = true, ["keep-alive"] = true }

local function header_names(headers)
  for name, claim in pairs(headers) do
    if type(name) ~= "string" or not name:find("^[%w!#$%%&'*+.^_`|~-]+$") then
      return "has a key that is no name of a header: " .. tostring(name)
    end
    if reserved[name:lower()] then return "can not set " .. name end
    local claims = type(claim) == "table" and claim or { claim }
    if #claims == 0 then return "must name a claim for " .. name end
    for _, one in ipairs(claims) do
      if type(one) ~= "string" then return "must name a claim for " .. name end
    end
  end
end

M.config = {
  algorithms = { "list", of = "string", min = 1,
    doc = "The algorithms that are accepted, such as HS256, RS256, ES256 or EdDSA; there is no default." },
  secret = { "string", optional = true, doc = "The secret of HS256, HS384 and HS512." },
  public_key = { "string", optional = true, doc = "A public key or certificate as PEM text, see gw.file." },
  jwks = { "string", "table", optional = true, doc = "A JSON Web Key Set." },
  jwks_url = { "string", optional = true,
    doc = "Where to fetch the key set: in the background, and again when a token names an unknown key." },
  jwks_tls = { "table", optional = true,
    doc = "What is demanded of the server of jwks_url, see gw.client_tls; it is verified in any case." },
  jwks_refresh = { "seconds", default = 300, min = 10, max = 86400, unit = "seconds",
    doc = "How often the key set is fetched." },
  keys = { "any", optional = true,
    doc = "What gw.jwt.keys returned, or a list of sources for it: for several keys, each with its algs." },
  sources = { "list", of = "string", min = 1, default = { "bearer" }, check = known_sources,
    doc = 'Where the token is looked for, in this order: "bearer", "cookie:NAME", "query:NAME".' },
  issuer = { "string", "list", optional = true, doc = "The claim iss must be this, or one of these." },
  audience = { "string", "list", optional = true, doc = "The claim aud must have this, or one of these." },
  leeway = { "seconds", default = 0, max = 3600, unit = "seconds",
    doc = "How far the clocks of issuer and gateway may differ." },
  required = { "list", of = "string", default = { "exp" }, doc = "Claims that a token must have." },
  reject_types = { "list", of = "string", default = { "refresh" },
    doc = "Tokens with one of these as typ, type, token_type or token_use are refused." },
  scopes = { "list", of = "string", default = {}, doc = "Scopes that a token must have, all of them." },
  scope_claim = { "string", default = "scope", doc = "The claim with the scopes: words, or a list." },
  roles = { "list", of = "string", default = {}, doc = "Roles of which a token must have one." },
  roles_claim = { "string", default = "roles", doc = "The claim with the roles: words, or a list." },
  headers = { "table", default = {}, check = header_names,
    doc = "Headers for the upstream by name: the claim whose value they have, or a list, of which the first "
      .. "that the token has counts." },
  optional = { "boolean", default = false,
    doc = "Lets requests without a token pass, without req.user; a bad token is still refused." },
  cache = { "boolean", default = true,
    doc = "Remember tokens whose signature was good, until they expire: bounded, in each worker." },
  realm = { "string", default = "api", check = no_quotes, doc = "The realm in WWW-Authenticate." },
  deny = { "function", optional = true,
    doc = "function(req, status, code, message) that makes another answer than the usual one." },
}

-- ---- keys and rules ----

local key_options = { secret = "secret", public_key = "pem", jwks = "jwks", jwks_url = "url" }

local function keys_of(conf)
  local sources = {}
  for option, kind in pairs(key_options) do
    if conf[option] then
      local url = kind == "url"
      sources[#sources + 1] = { [kind] = conf[option], refresh = url and conf.jwks_refresh or nil,
                                tls = url and conf.jwks_tls or nil }
    end
  end
  if conf.keys ~= nil then
    if #sources > 0 then error("give either keys, or secret, public_key, jwks and jwks_url", 0) end
    return gw.jwt.keys(conf.keys)
  end
  if #sources == 0 then
    error("one of the options secret, public_key, jwks, jwks_url and keys is needed", 0)
  end
  return gw.jwt.keys(sources)
end

local function verifier_of(conf)
  return gw.jwt.verifier(keys_of(conf), { algs = conf.algorithms, iss = conf.issuer, aud = conf.audience,
      leeway = conf.leeway, required = conf.required, reject_types = conf.reject_types,
      cache = conf.cache })
end

-- ---- where the token is ----

-- token | nil, is there something that should be one?
local readers = {}

function readers.bearer()
  return function(req)
    local token = req:bearer_token()
    if token then return token end
    local fields = req:header_values("authorization")
    local first = fields[1]
    return nil, #fields > 1 or (first ~= nil and first:lower():find("^bearer%f[^%w]") ~= nil)
  end
end

function readers.cookie(name)
  return function(req) return req.cookies[name] end
end

function readers.query(name)
  return function(req)
    local value = req.args[name]
    if type(value) == "table" then return nil, true end
    return value
  end
end

local function reader_of(sources)
  local list = {}
  for i, source in ipairs(sources) do
    local kind, name = source:match("^(%a+):?(.*)$")
    list[i] = readers[kind](name)
  end
  if #list == 1 then return list[1] end
  return function(req)
    for _, read in ipairs(list) do
      local token, malformed = read(req)
      if token or malformed then return token, malformed end
    end
  end
end

-- function(req) -> claims | nil, code, message.  A bearer token is found by the verifier itself, in one call.
local function checker(verify, sources)
  if #sources == 1 and sources[1] == "bearer" then return verify end
  local read = reader_of(sources)
  return function(req)
    local token, malformed = read(req)
    if malformed then return nil, "token_malformed", "The token is malformed" end
    return verify(token ~= "" and token or nil)
  end
end

-- ---- claims ----

local function claim_of(claims, name)
  local value = claims[name]
  if value ~= nil then return value end
  for part in name:gmatch("[^.]+") do -- "realm_access.roles"
    if type(claims) ~= "table" then return nil end
    claims = claims[part]
  end
  return claims
end

local function latin1(pair)
  local first, second = pair:byte(1, 2)
  return string.char((first - 0xC0) * 64 + second - 0x80)
end

-- The text as a header carries it, or nil.
local function field_text(text)
  if not text:find("[^\33-\126]") then return text end
  if text:find("[%z\1-\31\127\196-\255]") or text:find("\194[\128-\159]") or text:find("^ ")
     or text:find(" $") then
    return nil
  end
  return (text:gsub("[\194\195][\128-\191]", latin1))
end

-- Above 2^53 two numbers of the token may have become one.
local function number_text(value)
  if math.abs(value) <= 2 ^ 53 then return (gw.json.encode(value)) end
end

local function scalar(value)
  if type(value) == "string" then return field_text(value) end
  if type(value) == "number" then return number_text(value) end
  if type(value) == "boolean" then return tostring(value) end
end

local function joined(list)
  local parts = {}
  for i, value in ipairs(list) do
    parts[i] = scalar(value)
    if not parts[i] or parts[i]:find(",", 1, true) then return nil end
  end
  for key in pairs(list) do
    if type(key) ~= "number" then return nil end
  end
  return table.concat(parts, ",")
end

local function field_value(value)
  if type(value) == "table" then return joined(value) end
  return scalar(value)
end

-- Names that an upstream may take for this one: many make no difference between - and _.
local function lookalikes(name)
  local all = { "" }
  for char in name:gmatch(".") do
    local longer, forms = {}, { char }
    if char == "-" or char == "_" then forms = #all <= 16 and { "-", "_" } or { char } end
    for _, begin in ipairs(all) do
      for _, form in ipairs(forms) do longer[#longer + 1] = begin .. form end
    end
    all = longer
  end
  return all
end

-- What removes all of these from a request: few walks over its headers.
local function removers(names)
  local list = {}
  for begin = 1, #names, 32 do
    local part = {}
    for i = begin, math.min(begin + 31, #names) do part[#part + 1] = { names[i], false } end
    list[#list + 1] = gw.fields(part)
  end
  return list
end

local function identity(headers)
  local strip, set = {}, {}
  for name, claim in pairs(headers) do
    for _, form in ipairs(lookalikes(name)) do strip[#strip + 1] = form end
    set[#set + 1] = { name = name, claims = type(claim) == "table" and claim or { claim } }
  end
  table.sort(set, function(a, b) return a.name < b.name end)
  return removers(strip), set
end

-- The value of the first of these claims that the token has, or nil.
local function first_of(claims, names)
  for i = 1, #names do
    local value = claim_of(claims, names[i])
    if value ~= nil and value ~= gw.json.null then return value end
  end
end

-- false when a claim can not be carried.
local function set_identity(req, set, claims)
  for i = 1, #set do
    local value = first_of(claims, set[i].claims)
    if value ~= nil then
      local text = field_value(value)
      if not text then return false end
      if text ~= "" then req:set_header(set[i].name, text) end
    end
  end
  return true
end

-- words of a claim: { word = true }
local function words_of(value)
  local words = {}
  if type(value) == "string" then
    for word in value:gmatch("%S+") do words[word] = true end
  elseif type(value) == "table" then
    for _, word in ipairs(value) do words[word] = true end
  end
  return words
end

local function has_all(words, wanted)
  for _, word in ipairs(wanted) do
    if not words[word] then return false end
  end
  return true
end

local function has_one(words, wanted)
  for _, word in ipairs(wanted) do
    if words[word] then return true end
  end
  return #wanted == 0
end

-- nil, or what is missing
local function missing(conf, claims)
  if #conf.scopes > 0 and not has_all(words_of(claim_of(claims, conf.scope_claim)), conf.scopes) then
    return "The token does not have the scope that is needed"
  end
  if #conf.roles > 0 and not has_one(words_of(claim_of(claims, conf.roles_claim)), conf.roles) then
    return "The token does not have a role that is needed"
  end
end

-- ---- answers ----

local errors = { [401] = "Unauthorized", [403] = "Forbidden", [503] = "Service Unavailable" }

local function challenge(conf, status, code, message)
  local realm = ('Bearer realm="%s"'):format(conf.realm)
  if code == "token_missing" then return realm end
  if status == 403 then
    local scope = #conf.scopes > 0 and (', scope="%s"'):format(table.concat(conf.scopes, " ")) or ""
    return realm .. (', error="insufficient_scope", error_description="%s"%s'):format(message, scope)
  end
  return realm .. (', error="invalid_token", error_description="%s"'):format(message)
end

local function refuse(conf, req, status, code, message)
  local res
  if conf.deny then
    res = conf.deny(req, status, code, message)
  else
    res = gw.response(status, { error = errors[status], message = message, code = code, requestId = req.id })
  end
  if status == 503 then
    res:set_header("Retry-After", "10")
  elseif not res:header("WWW-Authenticate") then
    res:set_header("WWW-Authenticate", challenge(conf, status, code, message))
  end
  return res
end

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req) -> response that refuses, or nil
function M.new(conf)
  local check = checker(verifier_of(conf), conf.sources)
  local strip, set = identity(conf.headers)
  for _, scope in ipairs(conf.scopes) do
    if no_quotes(scope) then error("scopes: " .. scope .. " " .. no_quotes(scope), 0) end
  end

  return function(req)
    for i = 1, #strip do strip[i]:apply(req) end
    local claims, code, message = check(req)
    if not claims then
      if code == "token_missing" and conf.optional then return nil end
      return refuse(conf, req, code == "keys_unavailable" and 503 or 401, code, message)
    end
    local lacks = missing(conf, claims)
    if lacks then return refuse(conf, req, 403, "insufficient_scope", lacks) end
    if not set_identity(req, set, claims) then
      return refuse(conf, req, 401, "claim_invalid", "A claim of the token has a wrong type or value")
    end
    req.user = claims
  end
end

return M
