--- The option `tls` of upstreams, gw.http and gw.redis: what is demanded of servers, and shown to them.
--
--   tls = { ca = "pki/internal.pem" }                          whom the server's certificate must come from
--   tls = { cert = "pki/gateway.pem", key = gw.env("KEY") }    a certificate of ours
--
-- ca, cert and key are PEM texts, or names of files: relative to the site, or absolute.
local core = require "moonlatch.core"
local options = require "moonlatch.options"
local where = require "moonlatch.where"

local M = {}

local version = { "string", optional = true, one_of = { "1.2", "1.3" } }
local text = { "string", optional = true }

M.schema = {
  ca = text, cert = text, key = text, name = text,
  verify = { "boolean", default = true },
  min_version = version, max_version = version,
  ciphers = { "list", of = "string", optional = true },
  curves = { "list", of = "string", optional = true },
}

-- Puts the text in the place of the file's name; what is wrong.  A file outside of the site may only come
-- when the site is loaded once more: until then the option is left out.
local function pem(conf, name)
  local value = conf[name]
  if value == nil or value:find("-----BEGIN", 1, true) then return end
  local loading, bytes = pcall(core.file, value)
  if not loading then
    return ("option \"%s\": files are read while the site is loaded: use gw.client_tls there"):format(name)
  end
  if bytes == nil then return ('option "%s": cannot read the file %s'):format(name, value) end
  conf[name] = bytes or nil
  if bytes == false then conf.later = true end
end

--- What the core takes, or nil and what is wrong.
-- @param given a table
function M.read(given)
  local conf, wrong = options.check(M.schema, given)
  if not conf then return nil, wrong end
  wrong = pem(conf, "ca") or pem(conf, "cert") or pem(conf, "key")
  if wrong then return nil, wrong end
  return conf.later and {} or conf
end

local made = setmetatable({}, { __mode = "k" }) -- tables that gw.client_tls has checked

--- gw.client_tls { ca = "pki/internal.pem" }: checked at load, for the option `tls` of later calls.
function M.make(given)
  if made[given] then return given end
  if type(given) ~= "table" then where.fail("gw.client_tls: a table of options is expected") end
  local conf, wrong = M.read(given)
  local ok, refusal = pcall(core.client_tls_check, conf or {})
  if not conf or not ok then
    where.fail("gw.client_tls: " .. (wrong or where.without_ours(refusal)))
  end
  made[conf] = true
  return conf
end

--- opts with its field `tls` read, for functions of the core; raises what is wrong.
function M.within(what, opts)
  if type(opts) ~= "table" or opts.tls == nil or made[opts.tls] then return opts end
  local copy = {}
  for key, value in pairs(opts) do copy[key] = value end
  if type(opts.tls) ~= "table" then where.fail(what .. ": tls must be a table") end
  local conf, wrong = M.read(opts.tls)
  if not conf then where.fail(("%s: tls: %s"):format(what, wrong)) end
  copy.tls = conf
  return copy
end

return M
