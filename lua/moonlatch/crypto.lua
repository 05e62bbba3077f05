--- gw.crypto: hashes, MACs, passwords.
--
--   gw.crypto.sha256("abc")          --> 64 hexadecimal digits; ("abc", "raw") --> 32 bytes
--   gw.crypto.hmac("sha256", key, "abc", "raw")
--   gw.crypto.equals(a, b)           --> takes the same time wherever the texts differ
--   local hash = gw.crypto.password_hash "correct horse"     -- waits, the gateway goes on
--   local good, code = gw.crypto.password_verify("correct horse", hash)
local core = require "moonlatch.core"
local sandbox = require "moonlatch.sandbox"

local M = {}

local function is_raw(form)
  if form == nil or form == "hex" then return false end
  if form == "raw" then return true end
  error('the form of a hash is "hex" or "raw"', 3)
end

local function digest(name)
  return function(text, form) return (core.digest(name, text, is_raw(form))) end
end

local function hmac(name, key, text, form)
  return (core.hmac(name, key, text, is_raw(form)))
end

-- opts: method "yescrypt" (default), "scrypt", "bcrypt" or "sha512", and its cost
local function password_hash(password, opts)
  opts = opts or {}
  return core.password_hash(password, opts.method, opts.cost)
end

function M.new()
  return sandbox.read_only("gw.crypto", {
    sha1 = digest "sha1", sha256 = digest "sha256", sha384 = digest "sha384", sha512 = digest "sha512",
    hmac = hmac, equals = core.equals, random = core.random,
    password_hash = password_hash, password_verify = core.password_verify,
    password_check = core.password_check,
  })
end

return M
