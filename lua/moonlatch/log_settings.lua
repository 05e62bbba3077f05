--- What gw.settings says of logs: access_log, error_log, redact, ship, tracing.  Checked here, and made flat
-- for the core.
local client_tls = require "moonlatch.client_tls"
local core = require "moonlatch.core"
local options = require "moonlatch.options"

local M = {}

local format = { "string", default = "auto", one_of = { "auto", "json", "pretty" } }
local headers = { "table", default = {} }
local text = { "string", optional = true, min = 1 }

local schemas = {
  access_log = {
    path = text, format = format, syslog = text, facility = text,
    level = { "string", default = "info", one_of = { "debug", "info", "warn", "error" } },
    sample = { "number", default = 1, min = 0, max = 1 },
    slow = { "seconds", default = 1, unit = "seconds" },
    message = { "string", optional = true, min = 1, max = 60 },
    request_headers = headers, response_headers = headers,
  },
  error_log = { path = text, format = format, syslog = text, facility = text },
  redact = {
    headers = { "list", of = "string", default = {} }, query = { "list", of = "string", default = {} },
    defaults = { "boolean", default = true },
  },
  ship = { elasticsearch = { "table", optional = true }, otlp = { "table", optional = true } },
  tracing = {
    otlp = { "table", optional = true }, sample = { "number", default = 1, min = 0, max = 1 },
    accept_from = { "list", of = "string", optional = true },
  },
}

-- What all collectors have; `batch` and `buffer` bound what is kept in memory.
local function collector(more)
  local schema = {
    url = { "string", min = 1 }, tls = { "table", optional = true },
    batch = { "integer", default = 500, min = 1, max = 10000 },
    batch_size = { "size", default = 512 * 1024, min = 4096, max = 16 * 1024 * 1024, unit = "bytes" },
    buffer = { "size", default = 4 * 1024 * 1024, min = 16 * 1024, max = 256 * 1024 * 1024, unit = "bytes" },
    interval = { "seconds", default = 1, min = 0.05, max = 3600, unit = "seconds" },
    timeout = { "seconds", default = 10, min = 0.1, max = 600, unit = "seconds" },
    gzip = { "boolean", default = true },
    headers = { "table", default = {} },
  }
  for name, rule in pairs(more) do schema[name] = rule end
  return schema
end

local elasticsearch = collector {
  index = { "string", default = "hospital-logs", min = 1, max = 100 },
  daily = { "boolean", default = true }, template = { "boolean", default = true },
  username = text, password = { "string", optional = true }, api_key = text,
}
local otlp = collector { resource = { "table", default = {} } }

for name, schema in pairs(schemas) do M[name] = schema end
M.elasticsearch, M.otlp = elasticsearch, otlp

-- "https://host:9200/a?b" -> "https://host:9200", "/a" or nil, what is wrong
local function split(url)
  local scheme, authority, path = url:match("^(https?)://([^/?#]+)([^?#]*)$")
  if not scheme then return nil, 'url must be "http://host:port/path" or "https://..."' end
  if authority:find("@", 1, true) then return nil, "url must not hold a user: use the options" end
  if path:find("[^%w%-._~!$&'()*+,;=:@%%/]") then return nil, "url holds a character that a path can not" end
  return scheme .. "://" .. authority, (path:gsub("/+$", ""))
end

-- Adds fields of a table of headers to a list, in order of their names; what is wrong.
local function add_headers(list, given)
  local names = {}
  for name in pairs(given) do names[#names + 1] = tostring(name) end
  table.sort(names)
  for _, name in ipairs(names) do
    local value = given[name]
    local named = name:find("^[%w!#$%%&'*+%-.^_`|~]+$")
    if not named or type(value) ~= "string" or value:find("[%z\1-\31\127]") then
      return ('headers: "%s" is no header with a text'):format(name)
    end
    list[#list + 1] = { name, value }
  end
end

local function make(kind, schema, given)
  local conf, wrong = options.check(schema, given)
  if not conf then return nil, wrong end
  local origin, path = split(conf.url)
  if not origin then return nil, path end
  wrong = core.server_url_check(origin)
  if wrong then return nil, "url: " .. wrong end
  local list = {}
  wrong = add_headers(list, conf.headers)
  if wrong then return nil, wrong end
  local tls
  if conf.tls then
    tls, wrong = client_tls.read(conf.tls)
    if wrong then return nil, "tls: " .. wrong end
  end
  return {
    kind = kind, origin = origin, path = path, headers = list, tls = tls, batch = conf.batch,
    batch_size = conf.batch_size, buffer = conf.buffer, interval = conf.interval, timeout = conf.timeout,
    gzip = conf.gzip,
  }, conf
end

local function make_elasticsearch(given)
  local ship, conf = make("elasticsearch", elasticsearch, given)
  if not ship then return nil, conf end
  if not conf.index:find("^[a-z0-9][a-z0-9_.-]*$") then
    return nil, "index must be of lower-case letters, digits, - _ and ."
  end
  if conf.api_key and conf.username then return nil, "api_key and username exclude each other" end
  if (conf.username == nil) ~= (conf.password == nil) then
    return nil, "username and password need each other"
  end
  local key = conf.api_key and "ApiKey " .. conf.api_key
    or conf.username and "Basic " .. core.base64_encode(conf.username .. ":" .. conf.password)
  if key and key:find("[%z\1-\31\127]") then return nil, "api_key holds a control character" end
  if key then ship.headers[#ship.headers + 1] = { "Authorization", key } end
  ship.index, ship.daily, ship.template = conf.index, conf.daily, conf.template
  return ship
end

local function attribute(name, value)
  local kind = type(value)
  if kind == "number" then
    if value % 1 == 0 then return { key = name, value = { intValue = ("%d"):format(value) } } end
    return { key = name, value = { doubleValue = value } }
  elseif kind == "boolean" then
    return { key = name, value = { boolValue = value } }
  elseif kind == "string" then
    return { key = name, value = { stringValue = value } }
  end
end

-- The attributes of the resource as JSON | nil, what is wrong
local function resource_of(given, service)
  local all, names, list = { ["service.name"] = service or "moonlatch" }, {}, {}
  for name, value in pairs(given) do all[name] = value end
  for name in pairs(all) do
    if type(name) ~= "string" then return nil, "resource must be a table of names and values" end
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    list[i] = attribute(name, all[name])
    if not list[i] then return nil, ('resource: "%s" must be a string, number or boolean'):format(name) end
  end
  return core.json_encode(list)
end

-- A URL without a path is that of a collector, which has its paths by the specification of OTLP/HTTP.
local function make_otlp(kind, given, service)
  local ship, conf = make(kind, otlp, given)
  if not ship then return nil, conf end
  local wrong
  ship.resource, wrong = resource_of(conf.resource, service)
  if not ship.resource then return nil, wrong end
  local own = kind == "otlp_logs" and "/v1/logs" or "/v1/traces"
  if ship.path == "" then
    ship.path = own
  elseif not ship.path:find("/v1/%a+$") then
    ship.path = ship.path .. own
  elseif ship.path:sub(-#own) ~= own then
    return nil, ('url: "%s" is expected at its end'):format(own)
  end
  return ship
end

-- ---- logs ----

-- Fields of the log from a list of headers, or a table of keys and headers; what is wrong.
local function add_fields(list, given, what, response)
  local keys = {}
  for key in pairs(given) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for _, key in ipairs(keys) do
    local header = given[key]
    if type(header) ~= "string" or not header:find("^[%w!#$%%&'*+%-.^_`|~]+$") then
      return what .. ": names of headers are expected"
    end
    local name = type(key) == "number" and header:lower() or key
    if not name:find("^[%w_.-]+$") or #name > 64 then
      return ('%s: "%s" is no name of a field'):format(what, name)
    end
    if core.log_field_is_own(name) then
      return ('%s: "%s" is a field of every line: choose another name'):format(what, name)
    end
    list[#list + 1] = { key = name, header = header, response = response }
  end
  if #list > 32 then return what .. ": at most 32 fields can be added" end
end

-- The place of a log as the core takes it | nil, what is wrong
local function place(conf)
  if conf.syslog and conf.path then return nil, "path and syslog exclude each other" end
  if not conf.syslog then
    if conf.facility then return nil, "facility is an option of syslog" end
    return conf.path
  end
  local where = "syslog:" .. conf.syslog .. (conf.facility and "#" .. conf.facility or "")
  if conf.format == "pretty" then return nil, "syslog gets JSON" end
  local wrong = core.syslog_check(where)
  if wrong then return nil, "syslog: " .. wrong end
  return where
end

local function read(name, given)
  if type(given) == "string" then given = { path = given } end
  local conf, wrong = options.check(schemas[name], given)
  if not conf then return nil, wrong end
  local where
  where, wrong = place(conf)
  if not wrong and where and where:sub(1, 7) == "syslog:" then wrong = core.syslog_check(where) end
  if wrong then return nil, wrong end
  return conf, where
end

local function access(conf)
  local given, where = read("access_log", conf.access_log or {})
  if not given then return "access_log: " .. where end
  local fields = {}
  local wrong = add_fields(fields, given.request_headers, "request_headers", false)
    or add_fields(fields, given.response_headers, "response_headers", true)
  if wrong then return "access_log: " .. wrong end
  conf.access_log = where
  conf.access = { format = given.format, level = given.level, skip = 1 - given.sample, slow = given.slow,
    message = given.message, fields = fields }
end

local function events(conf)
  if not conf.error_log then return end
  local given, where = read("error_log", conf.error_log)
  if not given then return "error_log: " .. where end
  conf.error_log, conf.error_format = where, given.format
end

local function redaction(conf)
  local given = conf.redact or {}
  if given[1] ~= nil then given = { headers = given } end
  local rules, wrong = options.check(schemas.redact, given)
  if not rules then return "redact: " .. wrong end
  conf.redact, conf.redact_query, conf.redact_defaults = rules.headers, rules.query, rules.defaults
end

local function collectors(conf)
  local given, wrong = options.check(schemas.ship, conf.ship or {})
  if not given then return "ship: " .. wrong end
  local list, ship = {}
  if given.elasticsearch then
    ship, wrong = make_elasticsearch(given.elasticsearch)
    if not ship then return "ship: elasticsearch: " .. wrong end
    list[#list + 1] = ship
  end
  if given.otlp then
    ship, wrong = make_otlp("otlp_logs", given.otlp, conf.service)
    if not ship then return "ship: otlp: " .. wrong end
    list[#list + 1] = ship
  end
  conf.ship = list
end

local function tracing(conf)
  if not conf.tracing then return end
  local given, wrong = options.check(schemas.tracing, conf.tracing)
  if not given then return "tracing: " .. wrong end
  if given.otlp then
    local ship
    ship, wrong = make_otlp("otlp_traces", given.otlp, conf.service)
    if not ship then return "tracing: otlp: " .. wrong end
    conf.ship[#conf.ship + 1] = ship
  end
  conf.tracing = true
  conf.tracing_sample, conf.tracing_accept = given.sample, given.accept_from
end

--- Changes the settings to what the core takes; a sentence when something is wrong with them.
function M.flatten(conf)
  return access(conf) or events(conf) or redaction(conf) or collectors(conf) or tracing(conf)
end

return M
