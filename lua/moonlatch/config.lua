--- gw.settings, gw.listen and gw.upstream: options checked here, taken over by the core.
local client_tls = require "moonlatch.client_tls"
local core = require "moonlatch.core"
local handler = require "moonlatch.handler"
local log_settings = require "moonlatch.log_settings"
local options = require "moonlatch.options"
local tls = require "moonlatch.tls"
local upstream = require "moonlatch.upstream"
local where = require "moonlatch.where"

local M = {}

M.listeners = {} -- for `explain`

local seconds = { "seconds", optional = true, min = 0.001, unit = "seconds" }
local pause = { "seconds", optional = true }
local size = { "size", optional = true, min = 1, unit = "bytes" }
local text = { "string", optional = true }
local flag = { "boolean", optional = true }
local function count(min, max) return { "integer", optional = true, min = min, max = max } end

M.settings = {
  workers = count(1, 256),
  shutdown_delay = pause,
  shutdown_timeout = pause,
  script_budget_ms = { "number", optional = true, min = 1, max = 60000, unit = "ms" },
  script_memory = { "size", optional = true, min = 4 * 1024 * 1024, unit = "bytes" },
  heartbeat_timeout = { "seconds", optional = true, min = 1, unit = "seconds" },
  upgrade_timeout = pause,
  script_recycle = { "number", optional = true, min = 0, max = 1 },
  script_max_age = { "seconds", optional = true, min = 0.5, unit = "seconds" },
  memory_limit = { "size", optional = true, min = 32 * 1024 * 1024, unit = "bytes" },
  shared_memory = { "size", optional = true, min = 1024 * 1024, unit = "bytes" },
  limiter_memory = { "size", optional = true, min = 64 * 1024, unit = "bytes" },
  user = text,
  access_log = { "string", "table", optional = true }, error_log = { "string", "table", optional = true },
  ship = { "table", optional = true }, tracing = { "table", optional = true },
  log_level = { "string", optional = true, one_of = { "debug", "info", "warn", "error" } },
  service = text,
  poll_interval = { "seconds", optional = true, min = 0.1, unit = "seconds" },
  unsafe_files = { "list", of = "string", default = {} },
  development = flag,
  why = { "string", optional = true, one_of = { "some", "all" } },
  slow_after = { "seconds", optional = true, min = 0.001, unit = "seconds" },
  redact = { "table", default = {} },
  admin = { "table", optional = true },
}
M.admin = { listen = { "string" }, token = { "string", min = 16, max = 512 } }

M.listen = {
  host = text,
  port = { "port" },
  limits = { "table", default = {} },
  timeouts = { "table", default = {} },
  trusted_proxies = { "list", of = "string", default = {} },
  body_rate_min = { "number", optional = true, min = 0, unit = "bytes per second" },
  allow_encoded_slash = flag,
  keep_slashes = flag,
  trailers = flag, http2 = flag, http2_websockets = flag,
  proxy_protocol = { "table", optional = true },
  name = { "string", optional = true, min = 1, max = 100 },
  use = { "list", default = {} },
  tls = { "table", "string", optional = true },
  redirect = { "table", "string", optional = true },
}
M.limits = {
  line = { "size", optional = true, min = 64, max = 1024 * 1024, unit = "bytes" },
  head = { "size", optional = true, min = 256, max = 1024 * 1024, unit = "bytes" },
  fields = count(1, 10000), body = { "size", optional = true },
  connections = count(1, 1000000), requests = count(0, 1000000000), streams = count(1, 10000),
}
M.proxy_protocol = { from = { "list", of = "string", min = 1 }, required = { "boolean", default = false } }
M.timeouts = { header = seconds, body = seconds, idle = seconds, send = seconds }

M.upstream = {
  balance = { "string", default = "round_robin", one_of = { "round_robin", "least_conn", "hash", "p2c" } },
  hash = { "string", "function", optional = true, check = handler.hash_complaint },
  connect_timeout = seconds, first_byte_timeout = seconds, read_timeout = seconds,
  send_timeout = seconds, total_timeout = seconds, websocket_idle_timeout = seconds,
  keepalive = count(0, 65535), keepalive_timeout = seconds, ping_interval = seconds,
  max_fails = count(0, 1000000), fail_timeout = seconds, retries = count(0, 100),
  preserve_host = flag, via = flag, real_ip = flag, forwarded_port = flag,
  limits = { "table", default = {} }, tls = { "table", optional = true },
  health = { "table", optional = true }, slow_start = pause,
  panic_threshold = count(0, 100),
  resolve = { "string", default = "name", one_of = { "name", "all" } },
  send_proxy = { "string", optional = true, one_of = { "v1", "v2" } },
}
M.response_limits = { head = size, fields = count(1, 10000) }
local function checked(schema, given, what, line)
  local conf, wrong = options.check(schema, given)
  if not conf then where.fail(what .. ": " .. wrong, line) end
  return conf
end

local function accept(refusal, what, line)
  if refusal then where.fail(what .. ": " .. refusal, line) end
end

--- gw.settings { service = "api", log_level = "warn" }: once, in gateway.lua.
function M.set(loader, given)
  local line = where.line()
  local conf = checked(M.settings, given, "gw.settings", line)
  loader:allow_unsafe(conf.unsafe_files)
  accept(log_settings.flatten(conf), "gw.settings", line)
  if conf.admin then
    local admin = checked(M.admin, conf.admin, "gw.settings: admin", line)
    if not admin.listen:find("^[%d.]+:%d+$") and not admin.listen:find("^%[[%x:.]+%]:%d+$") then
      where.fail('gw.settings: admin: listen is "address:port"', line)
    end
    if admin.token:find("[^%w%-._~+/=]") then
      where.fail("gw.settings: admin: the token holds a character that Authorization: Bearer can not", line)
    end
    conf.admin_listen, conf.admin_token = admin.listen, admin.token
  end
  if conf.why then conf.why_all = conf.why == "all" end
  for i, name in ipairs(conf.redact) do
    if not name:find("^[%w!#$%%&'*+.^_`|~-]+$") then
      where.fail(('gw.settings: redact: "%s" is no name of a header'):format(name), line)
    end
    conf.redact[i] = name:lower() .. "\0"
  end
  conf.redact = table.concat(conf.redact)
  local ok, refusal = pcall(core.settings, conf)
  accept(not ok and where.without_ours(refusal), "gw.settings", line)
end

-- Where an operator wants a listener or an upstream to be instead: for a second instance beside the first,
-- and for tests of the whole program.  Both leave the site as it is.
--   MOONLATCH_LISTEN="127.0.0.1:8081,127.0.0.1:8082"     the first listener of the site, the second ...
--   MOONLATCH_UPSTREAM_PATIENTS="http://127.0.0.1:9001"   the upstream "patients"; "-" and "." are "_"
local listeners = 0

local function listen_elsewhere(conf, line)
  listeners = listeners + 1
  local index = 0
  for entry in (core.getenv("MOONLATCH_LISTEN") or ""):gmatch("[^,]+") do
    index = index + 1
    if index == listeners then
      local host, port = entry:match("^%s*(%S+):(%d+)%s*$")
      if not host or tonumber(port) < 1 or tonumber(port) > 65535 then
        where.fail(('gw.listen: MOONLATCH_LISTEN: "%s" is not "address:port"'):format(entry), line)
      end
      conf.host, conf.port = host:match("^%[(.*)%]$") or host, tonumber(port)
    end
  end
end

local function upstream_elsewhere(conf)
  local url = core.getenv("MOONLATCH_UPSTREAM_" .. conf.name:upper():gsub("[^%w]", "_"))
  if url and url ~= "" then conf.servers = { { url = url, weight = 1 } } end
end

--- gw.listen { port = 8080, limits = { body = ... }, timeouts = { idle = ... } }
-- @return its name, its middlewares, the line
function M.add_listener(given)
  local line = where.line()
  local conf = checked(M.listen, given, "gw.listen", line)
  for name, value in pairs(checked(M.limits, conf.limits, "gw.listen: limits", line)) do
    conf["limit_" .. name] = value
  end
  for name, value in pairs(checked(M.timeouts, conf.timeouts, "gw.listen: timeouts", line)) do
    conf["timeout_" .. name] = value
  end
  if conf.redirect then
    local redirect, wrong = tls.read_redirect(conf.redirect)
    if redirect and conf.tls then wrong = "this listener has tls already" end
    if wrong then where.fail("gw.listen: redirect: " .. wrong, line) end
    conf.redirect_status, conf.redirect_port = redirect.status, redirect.port
    conf.redirect_host = redirect.host
    conf.redirect_except = redirect.except
  end
  if conf.proxy_protocol then
    local proxies = checked(M.proxy_protocol, conf.proxy_protocol, "gw.listen: proxy_protocol", line)
    conf.proxy_protocol, conf.proxy_required = proxies.from, proxies.required
  end
  if conf.tls and not core.for_tests then
    local wrong
    conf.tls, wrong = tls.read(conf.tls, conf.http2)
    if wrong then where.fail("gw.listen: tls: " .. wrong, line) end
  end
  listen_elsewhere(conf, line)
  conf.name = conf.name or ("%s:%d"):format(conf.host or "0.0.0.0", conf.port)
  if core.explaining then M.listeners[#M.listeners + 1] = { conf = conf, line = line } end
  accept(core.listener(conf), "gw.listen", line)
  return conf.name, conf.use, line
end

local function read_tls(given, what, line)
  if given == nil then return nil end
  local conf, wrong = client_tls.read(given)
  accept(wrong and "tls: " .. wrong, what, line)
  return conf
end

--- gw.upstream("name", { "http://host:port", ..., balance = "least_conn" })
-- @return index of the upstream and its `hash` option, for routes
function M.add_upstream(name, given)
  local line = where.line()
  if type(name) ~= "string" or name == "" then where.fail("gw.upstream: the name must be a string", line) end
  local what = ('gw.upstream("%s")'):format(name)
  if type(given) ~= "table" then where.fail(what .. ": a table with servers is expected", line) end
  local list, rest = {}, {}
  for i, entry in ipairs(given) do list[i] = entry end
  for key, value in pairs(given) do
    if not list[key] then rest[key] = value end
  end
  local conf = checked(M.upstream, rest, what, line)
  if conf.hash and conf.balance ~= "hash" then where.fail(what .. ': hash= needs balance = "hash"', line) end
  local limits = checked(M.response_limits, conf.limits, what .. ": limits", line)
  conf.limit_head, conf.limit_fields = limits.head, limits.fields
  local wrong
  conf.servers, wrong = upstream.servers(list)
  accept(wrong, what, line)
  accept(upstream.flatten(conf), what, line)
  conf.name = name
  upstream_elsewhere(conf)
  conf.tls = read_tls(conf.tls, what, line)
  local ok, refusal = pcall(core.group, conf)
  accept(ok and refusal or not ok and where.without_ours(refusal), what, line)
  return conf.hash, core.explaining and conf
end

return M
