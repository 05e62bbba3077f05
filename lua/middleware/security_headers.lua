--- Headers that make browsers careful: the defaults of helmet 8, one value per header, on every answer.
--
-- What an upstream sends under these names is replaced, `Server` and `X-Powered-By` are removed. Answers of
-- the gateway itself (a script that failed, 404, 503) have them too; in an outermost gw.use, those to
-- malformed requests as well. A header that is switched off by `false`
-- passes as the upstream sends it. Of two of these policies around a route the inner one counts.
--
-- `csp` is a table of directives that replace or complete helmet's; `false` drops one. Keywords have their
-- quotes, as in CSP: "'self'". `hsts = "always"` sends Strict-Transport-Security over plain HTTP too, as
-- helmet does: browsers ignore it there (RFC 6797 section 8.1), and behind a TLS terminator that is how it
-- reaches them.
--
--   gw.use { { "security_headers", frame_options = "DENY", hsts_preload = true,
--              csp = { ["img-src"] = { "'self'", "data:" }, ["connect-src"] = { "'self'", "wss:" } } } }
local gw = require "moonlatch"

local M = { name = "security_headers" }

-- ---- Content-Security-Policy ----

-- In the order of the header: helmet's, then what else there is.
local directives = {
  "default-src", "base-uri", "font-src", "form-action", "frame-ancestors", "img-src", "object-src",
  "script-src", "script-src-attr", "style-src", "upgrade-insecure-requests", "connect-src", "media-src",
  "frame-src",
  "child-src", "worker-src", "manifest-src", "script-src-elem", "style-src-elem", "style-src-attr", "sandbox",
  "require-trusted-types-for", "trusted-types", "report-uri", "report-to",
}
local known = {}
for _, name in ipairs(directives) do known[name] = true end

local csp_defaults = {
  ["default-src"] = { "'self'" }, ["base-uri"] = { "'self'" }, ["font-src"] = { "'self'", "https:", "data:" },
  ["form-action"] = { "'self'" }, ["frame-ancestors"] = { "'self'" }, ["img-src"] = { "'self'", "data:" },
  ["object-src"] = { "'none'" }, ["script-src"] = { "'self'" }, ["script-src-attr"] = { "'none'" },
  ["style-src"] = { "'self'", "https:", "'unsafe-inline'" }, ["upgrade-insecure-requests"] = true,
}

local keywords = { none = true, self = true, ["strict-dynamic"] = true, ["report-sample"] = true,
                   ["inline-speculation-rules"] = true, ["unsafe-inline"] = true, ["unsafe-eval"] = true,
                   ["unsafe-hashes"] = true, ["wasm-unsafe-eval"] = true }

local function source_complaint(source)
  if type(source) ~= "string" then return "must be strings" end
  if source == "" or source:find("[;,%s%c]") then return ('can not have the source "%s"'):format(source) end
  if keywords[source] or source:find("^nonce%-") or source:find("^sha%d+%-") then
    return ("needs quotes around its keyword: \"'%s'\""):format(source)
  end
end

local function directive_complaint(name, value)
  if not known[name] then return ('has the unknown directive "%s"'):format(tostring(name)) end
  if type(value) == "boolean" then return nil end
  if type(value) == "string" then value = { value } end
  if type(value) ~= "table" then return ('must have a list of sources in "%s"'):format(name) end
  for _, source in ipairs(value) do
    local wrong = source_complaint(source)
    if wrong then return ('in "%s" %s'):format(name, wrong) end
  end
end

local function csp_complaint(csp)
  if type(csp) == "boolean" then return nil end
  for name, value in pairs(csp) do
    local wrong = directive_complaint(name, value)
    if wrong then return wrong end
  end
end

local function directive_text(name, value)
  if value == true then return name end
  if type(value) == "table" then value = table.concat(value, " ") end
  return value == "" and name or name .. " " .. value
end

local function csp_text(csp, with_defaults)
  if csp == true then csp = {} end
  local parts = {}
  for _, name in ipairs(directives) do
    local value = csp[name]
    if value == nil and with_defaults then value = csp_defaults[name] end
    if value then parts[#parts + 1] = directive_text(name, value) end
  end
  return table.concat(parts, ";")
end

-- ---- options ----

local referrer_policies = { [""] = true }
for name in ([[no-referrer no-referrer-when-downgrade same-origin origin strict-origin
    origin-when-cross-origin strict-origin-when-cross-origin unsafe-url]]):gmatch("%S+") do
  referrer_policies[name] = true
end

local function referrer_complaint(value)
  if value == false then return nil end
  if value == true then return "must be one or more policies, or false" end
  for name in (value .. ","):gmatch("([^,]*),") do
    if not referrer_policies[name:match("^%s*(.-)%s*$")] then
      return ('has the unknown policy "%s"'):format(name)
    end
  end
end

local function choice(doc, default, ...)
  return { "string", "boolean", default = default, one_of = { false, ... }, doc = doc }
end

M.config = {
  csp = { "table", "boolean", default = true, check = csp_complaint,
    doc = "Content-Security-Policy: directives; `true` for helmet's alone, `false` for none." },
  csp_defaults = { "boolean", default = true, doc = "Complete `csp` by helmet's directives." },
  csp_report_only = { "boolean", default = false, doc = "Browsers report what they would block, no more." },
  hsts = { "string", "boolean", default = "always", one_of = { "always", "tls", false },
    doc = "Strict-Transport-Security: on every answer, on those over TLS only, or never." },
  hsts_max_age = { "seconds", default = 31536000, unit = "seconds", doc = "How long browsers use TLS only." },
  hsts_subdomains = { "boolean", default = true, doc = "Also for all sub-domains." },
  hsts_preload = { "boolean", default = false, doc = "Consent to be in the lists that browsers ship." },
  frame_options = choice("X-Frame-Options", "SAMEORIGIN", "SAMEORIGIN", "DENY"),
  referrer_policy = { "string", "boolean", default = "no-referrer", check = referrer_complaint,
    doc = "Referrer-Policy: one policy, or several separated by commas." },
  cross_origin_opener_policy = choice("Cross-Origin-Opener-Policy", "same-origin", "same-origin",
    "same-origin-allow-popups", "noopener-allow-popups", "unsafe-none"),
  cross_origin_resource_policy = choice("Cross-Origin-Resource-Policy", "same-origin", "same-origin",
    "same-site", "cross-origin"),
  cross_origin_embedder_policy = choice("Cross-Origin-Embedder-Policy; off, as in helmet 8.", false,
    "require-corp", "credentialless", "unsafe-none"),
  content_type_options = choice("X-Content-Type-Options", "nosniff", "nosniff"),
  origin_agent_cluster = choice("Origin-Agent-Cluster", "?1", "?1"),
  dns_prefetch_control = choice("X-DNS-Prefetch-Control", "off", "off", "on"),
  download_options = choice("X-Download-Options", "noopen", "noopen"),
  permitted_cross_domain_policies = choice("X-Permitted-Cross-Domain-Policies", "none", "none", "master-only",
    "by-content-type", "all"),
  xss_protection = choice("X-XSS-Protection; the filter it controlled did harm, `0` turns it off.", "0", "0"),
  permissions_policy = { "string", optional = true, min = 1,
    doc = "Permissions-Policy, such as `camera=(), geolocation=(self)`." },
  remove = { "list", of = "string", default = { "Server", "X-Powered-By" },
    doc = "Response headers that tell what is behind the gateway." },
}

-- ---- the policy ----

local function hsts_text(conf)
  if conf.hsts_preload and (conf.hsts_max_age < 31536000 or not conf.hsts_subdomains) then
    error("security_headers: hsts_preload needs hsts_max_age of a year (31536000) and hsts_subdomains", 0)
  end
  return ("max-age=%d"):format(conf.hsts_max_age) .. (conf.hsts_subdomains and "; includeSubDomains" or "")
    .. (conf.hsts_preload and "; preload" or "")
end

-- The options that are the value of a header, in helmet's order.
local simple = {
  { "Cross-Origin-Embedder-Policy", "cross_origin_embedder_policy" },
  { "Cross-Origin-Opener-Policy", "cross_origin_opener_policy" },
  { "Cross-Origin-Resource-Policy", "cross_origin_resource_policy" },
  { "Origin-Agent-Cluster", "origin_agent_cluster" }, { "Referrer-Policy", "referrer_policy" },
  { "X-Content-Type-Options", "content_type_options" }, { "X-DNS-Prefetch-Control", "dns_prefetch_control" },
  { "X-Download-Options", "download_options" }, { "X-Frame-Options", "frame_options" },
  { "X-Permitted-Cross-Domain-Policies", "permitted_cross_domain_policies" },
  { "X-XSS-Protection", "xss_protection" }, { "Permissions-Policy", "permissions_policy" },
}

local function list_of(conf, with_hsts)
  local list = {}
  if conf.csp then
    local name = "Content-Security-Policy" .. (conf.csp_report_only and "-Report-Only" or "")
    list[#list + 1] = { name, csp_text(conf.csp, conf.csp_defaults) }
  end
  for _, entry in ipairs(simple) do
    local value = conf[entry[2]]
    if value then list[#list + 1] = { entry[1], value } end
  end
  if with_hsts then list[#list + 1] = { "Strict-Transport-Security", hsts_text(conf) } end
  return list
end

local function fields_of(conf, with_hsts)
  local list = list_of(conf, with_hsts)
  for _, name in ipairs(conf.remove) do list[#list + 1] = { name, false } end
  return gw.fields(list)
end

--- The fields of answers to requests that never get to a chain: malformed, too large, too late.
-- @return list of { name, value }
function M.always(conf) return list_of(conf, conf.hsts == "always") end

-- request -> the fields of the last of these policies that it came through; of no use when there is but one
local innermost = setmetatable({}, { __mode = "k" })
local made = 0

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req, next) -> res
function M.new(conf)
  local over_tls, plain = fields_of(conf, conf.hsts), fields_of(conf, conf.hsts == "always")
  made = made + 1

  return function(req, next)
    local fields = req.scheme == "https" and over_tls or plain
    if made == 1 then
      fields:keep(req)
      local res = next()
      fields:apply(res)
      return res
    end
    local outermost = innermost[req] == nil
    innermost[req] = fields
    fields:keep(req)
    local res = next()
    if outermost then innermost[req]:apply(res) end
    return res
  end
end

return M
