--- Where the logs go, and the traces.
--
--   LOG_LEVEL info, LOG_FILE -    lines below that level are left out; "-" is standard output
--   LOG_SAMPLE 1                  share of the requests that went well and fast whose lines are kept
--   ELASTICSEARCH_URL             lines go there too, by the bulk API, into an index per day ...
--   ELASTICSEARCH_INDEX hospital-logs     ... of this name
--   ELASTICSEARCH_API_KEY, or ELASTICSEARCH_USERNAME and ELASTICSEARCH_PASSWORD
--   OTLP_LOGS_URL, OTLP_TRACES_URL        collectors of OTLP/HTTP, "http://collector:4318"
--   TRACE_SAMPLE 1                share of the traces begun here that are kept
local gw = require "moonlatch"

local M = {}

local function given(name)
  local value = gw.env(name, "")
  return value ~= "" and value or nil
end

local function elasticsearch()
  local url = given("ELASTICSEARCH_URL")
  return url and {
    url = url, index = gw.env("ELASTICSEARCH_INDEX", "hospital-logs"),
    api_key = given("ELASTICSEARCH_API_KEY"), username = given("ELASTICSEARCH_USERNAME"),
    password = given("ELASTICSEARCH_PASSWORD"),
  }
end

local function otlp(name)
  local url = given(name)
  return url and { url = url }
end

--- What gw.settings gets.
function M.settings(service)
  local level, traces = gw.env("LOG_LEVEL", "info"), otlp("OTLP_TRACES_URL")
  return {
    service = service, log_level = level,
    access_log = {
      path = gw.env("LOG_FILE", "-"), level = level, message = "request completed",
      sample = gw.env.number("LOG_SAMPLE", 1),
    },
    ship = { elasticsearch = elasticsearch(), otlp = otlp("OTLP_LOGS_URL") },
    tracing = traces and { otlp = traces, sample = gw.env.number("TRACE_SAMPLE", 1) },
  }
end

return M
