--- Who is asking: the gateway checks each token and tells the services in X-User-ID, X-User-Role and
-- X-User-Email.  What clients send under these names, or names that look alike, never gets there.
local gw = require "moonlatch"
local secret = require "lib.secret"

local M = {}

local NOT_GIVEN = { "No token provided", "Authorization header with Bearer token is required" }
local EXPIRED = { "Token expired", "jwt expired" }

-- Codes of the policy in the words that the hospital's clients know.
local words = {
  signature_invalid = "invalid signature", key_unknown = "invalid signature",
  alg_not_allowed = "invalid algorithm", token_not_yet_valid = "jwt not active",
}

-- What is wrong with the shape of a token.
local function malformed(token)
  local _, dots = token:gsub("%.", "")
  return dots == 2 and "invalid token" or "jwt malformed"
end

local function reason(code, token)
  if token:find("%.$") then return "jwt signature is required" end
  if code == "token_malformed" then return malformed(token) end
  return words[code] or "invalid token"
end

local function refusal(req, code)
  local token = (req:header("authorization") or ""):match("^%a+%s+(%S.*)$")
  if code == "token_missing" or not token then return unpack(NOT_GIVEN) end
  if code == "token_expired" then return unpack(EXPIRED) end
  return "Invalid token", reason(code, token)
end

local function deny(req, status, code)
  local title, text = refusal(req, code)
  return gw.response(status, { success = false, error = title, message = text })
end

local function policy(optional)
  return { "jwt", secret = secret, algorithms = { "HS256" }, optional = optional, deny = deny,
           required = { "exp" }, reject_types = { "refresh" },
           headers = { ["X-User-ID"] = { "sub", "userId", "id" }, ["X-User-Role"] = "role",
                       ["X-User-Email"] = "email" } }
end

--- For routes that need a token, and for those where it is optional but a bad one is refused.
M.required, M.optional = policy(false), policy(true)

return M
