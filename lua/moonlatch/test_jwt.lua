--- Tokens and keys for tests: app:jwt, app:key_pair.
local native = require "moonlatch.test_native"

local M = {}

local WORDS = { alg = true, key = true, kid = true, typ = true } -- what app:jwt takes that is no claim
local LIFE_S = 3600

-- ---- keys ----

local made = {} -- name of the kind -> pairs: making RSA keys takes long, so apps share them

-- Pairs of one kind in the order in which each app asks for them.
local function pair_of(app, alg)
  local kind = alg:gsub("^[RP]S%d+$", "RSA")
  local count = (app.key_counts[kind] or 0) + 1
  app.key_counts[kind] = count
  made[kind] = made[kind] or {}
  made[kind][count] = made[kind][count] or native.key_pair(alg)
  return made[kind][count]
end

local function jwk_with(parts, names, more)
  local jwk = {}
  for name, value in pairs(parts) do
    if not names or names[name] then jwk[name] = value end
  end
  for name, value in pairs(more) do jwk[name] = value end
  return jwk
end

local public_parts = { kty = true, crv = true, x = true, y = true, n = true, e = true }

--- A new key for that algorithm: HS256 ... EdDSA.
-- @return { alg, kid, private_pem, public_pem, private_jwk, public_jwk, jwks }; jwks is the text of a set
-- with the public key; an HS has { alg, kid, secret, private_jwk, public_jwk = the same, jwks }
function M.key_pair(app, alg)
  if type(alg) ~= "string" then error('key_pair: the name of an algorithm, such as "RS256"', 2) end
  app.key_counts.all = (app.key_counts.all or 0) + 1
  local key = { alg = alg, kid = ("%s-%d"):format(alg:lower(), app.key_counts.all) }
  local label = { alg = alg, kid = key.kid, use = "sig" }
  if alg:find("^HS%d+$") then
    key.secret = native.base64url(native.random(48)):sub(1, 64)
    key.private_jwk = jwk_with({ kty = "oct", k = native.base64url(key.secret) }, nil, label)
    key.public_jwk = key.private_jwk
  else
    local pair = pair_of(app, alg)
    key.private_pem, key.public_pem = pair.private_pem, pair.public_pem
    key.private_jwk = jwk_with(pair.jwk, nil, label)
    key.public_jwk = jwk_with(pair.jwk, public_parts, label)
  end
  key.jwks = native.json_encode { keys = { key.public_jwk } }
  return key
end

-- ---- tokens ----

local function hmac_token(alg, header, claims, secret)
  local text = native.base64url(native.json_encode(header)) .. "." .. native.base64url(claims)
  if alg == "none" then return text .. "." end
  return text .. "." .. native.base64url(native.hmac(alg, secret, text))
end

-- Kind and text of what a test calls a key.
local function key_of(key, alg)
  if type(key) == "string" then
    local pem = key:find("-----BEGIN", 1, true) and not alg:find "^HS"
    return pem and "pem" or "secret", key
  elseif type(key) == "table" and key.kty then
    return "jwk", native.json_encode(key)
  elseif type(key) == "table" then
    if key.secret then return "secret", key.secret end
    if key.private_pem then return "pem", key.private_pem end
  end
  error("jwt: key is what app:key_pair gave, a secret, a PEM text or a JWK", 3)
end

local function claims_of(app, given)
  local claims, now = {}, math.floor(app:now())
  claims.iat, claims.exp = now, now + LIFE_S
  for name, value in pairs(given) do
    if not WORDS[name] then claims[name] = value or nil end
  end
  return assert(native.json_encode(claims))
end

--- A token: app:jwt { sub = "7", roles = { "doctor" } }.
-- @param given claims, and alg, key, kid, typ (default JWT).  Without a key: HS256 with JWT_SECRET of the
-- app's environment.  iat is the app's now and exp an hour later unless they are given; false leaves one out.
function M.token(app, given)
  given = given or {}
  local key, pair = given.key or app.env.JWT_SECRET, type(given.key) == "table" and not given.key.kty
  local alg = given.alg or pair and given.key.alg or "HS256"
  if not key and alg ~= "none" then
    error("jwt: the app has no JWT_SECRET in its environment: give key =", 2)
  end
  local kid = given.kid or pair and given.key.kid or nil
  local header = { alg = alg, typ = given.typ or "JWT", kid = kid }
  local claims = claims_of(app, given)
  if alg == "none" then return hmac_token(alg, header, claims) end
  local kind, text = key_of(key, alg)
  if kind == "secret" then return hmac_token(alg, header, claims, text) end
  local token, why = native.sign(alg, kid or "", kind, text, claims)
  if not token then error("jwt: " .. why, 2) end
  return token
end

return M
