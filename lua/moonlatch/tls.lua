--- The option `tls` of gw.listen: certificates, and what is demanded of clients.
--
--   gw.listen { port = 443, tls = { cert = "tls/site.pem", key = "tls/site-key.pem" } }
--   gw.listen { port = 8443, tls = "self-signed" }                      for development
--
-- Files are named relative to the site, or absolutely.
local core = require "moonlatch.core"
local options = require "moonlatch.options"

local M = {}

local text = { "string", optional = true, min = 1 }
local names = { "list", of = "string", optional = true, min = 1 }
local version = { "string", optional = true, one_of = { "1.2", "1.3" } }

M.schema = {
  cert = text, key = text, ocsp = text,
  certificates = { "list", of = "table", optional = true, min = 1 },
  min_version = version, max_version = version,
  ciphers = names, curves = names,
  session_tickets = { "boolean", default = true },
  session_timeout = { "seconds", default = 3600, min = 1, max = 7200, unit = "seconds" },
  handshake_timeout = { "seconds", default = 10, min = 0.1, unit = "seconds" },
  client_auth = { "string", default = "none", one_of = { "none", "optional", "required" } },
  client_ca = text, client_crl = text,
}
M.certificate = { cert = { "string", min = 1 }, key = { "string", min = 1 }, ocsp = text, names = names }

local numbers = { ["1.2"] = 12, ["1.3"] = 13 }

-- Takes in the file that option `name` of conf names; true when it will be there the next time.
local function read(conf, name, what)
  local file = conf[name]
  if not file then return end
  local bytes = core.file(file)
  if bytes == nil then return nil, ("%s: cannot read the file %s"):format(what .. name, file) end
  conf[name], conf[name .. "_name"] = bytes or "", file
  return bytes == false
end

local function read_all(conf, list, what)
  local later = false
  for _, name in ipairs(list) do
    local missing, wrong = read(conf, name, what)
    if wrong then return nil, wrong end
    later = later or missing
  end
  return later
end

-- The list of certificates that both ways to write them lead to, or nil and what is wrong.
local function pairs_of(conf)
  if conf.certificates then
    if conf.cert or conf.key or conf.ocsp then
      return nil, "certificates takes the place of cert, key and ocsp: say one or the other"
    end
    local list = {}
    for i, given in ipairs(conf.certificates) do
      local one, wrong = options.check(M.certificate, given)
      if not one then return nil, ("certificates[%d]: %s"):format(i, wrong) end
      list[i] = one
    end
    return list
  end
  if not conf.cert or not conf.key then return nil, "cert and key must name files" end
  return { { cert = conf.cert, key = conf.key, ocsp = conf.ocsp } }
end

local function read_pairs(conf)
  local list, wrong = pairs_of(conf)
  if not list then return nil, wrong end
  local later = false
  for i, pair in ipairs(list) do
    local what = #list > 1 and ("certificates[%d]: "):format(i) or ""
    local missing, complaint = read_all(pair, { "cert", "key", "ocsp" }, what)
    if complaint then return nil, complaint end
    later = later or missing
  end
  conf.pairs = list
  return later
end

local function client_complaint(conf)
  if conf.client_auth ~= "none" and not conf.client_ca then
    return ('client_auth = "%s" needs client_ca'):format(conf.client_auth)
  end
  for _, name in ipairs { "client_ca", "client_crl" } do
    if conf.client_auth == "none" and conf[name] then
      return name .. ' needs client_auth = "optional" or "required"'
    end
  end
end

-- What the core takes; nil: the files come later; nil and a sentence: something is wrong
local function read_table(given)
  local conf, wrong = options.check(M.schema, given)
  if not conf then return nil, wrong end
  wrong = client_complaint(conf)
  if wrong then return nil, wrong end
  local later, complaint = read_pairs(conf)
  if complaint then return nil, complaint end
  local missing, missing_wrong = read_all(conf, { "client_ca", "client_crl" }, "")
  if missing_wrong then return nil, missing_wrong end
  if later or missing then return nil end
  conf.min, conf.max = numbers[conf.min_version], numbers[conf.max_version]
  if not conf.session_tickets then conf.session_timeout = 0 end
  conf.certificates, conf.cert, conf.key, conf.ocsp = nil, nil, nil, nil
  return conf
end

--- What core.listener takes of the option, or nil (and what is wrong).
-- @param given "self-signed" or a table
-- @param http2 false: HTTP/2 is not offered
function M.read(given, http2)
  local conf, wrong
  if given == "self-signed" then
    conf = { development = "yes", pairs = {}, session_timeout = 3600 }
  elseif type(given) == "string" then
    return nil, 'must be a table or "self-signed"'
  else
    conf, wrong = read_table(given)
  end
  if not conf then return nil, wrong end
  conf.alpn = http2 == false and { "http/1.1" } or { "h2", "http/1.1" }
  return conf
end


M.redirect = {
  to = { "string", default = "https", one_of = { "https" } },
  status = { "integer", default = 308, check = function(status)
    if not ({ [301] = true, [302] = true, [307] = true, [308] = true })[status] then
      return "must be 301, 302, 307 or 308"
    end
  end },
  port = { "port", default = 443 },
  host = { "string", optional = true, check = function(host)
    if not host:find("^[%w_.-]+$") and not host:find("^%[[%x:.]+%]$") then
      return "must be a host without a port"
    end
  end },
  except = { "list", of = "string", default = {} },
}

--- The option `redirect` of gw.listen: "https", or a table with the port of the TLS listener.
function M.read_redirect(given)
  if type(given) == "string" then given = { to = given } end
  return options.check(M.redirect, given)
end

return M
