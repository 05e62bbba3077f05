--- gw.metrics: counters, gauges and histograms of a site, beside those of the gateway.
--
--   local operations = gw.metrics.counter {
--     name = "graphql_operations_total", help = "Total number of GraphQL operations",
--     labels = { "operation_name", "operation_type", "status" },
--   }
--   operations:inc({ operation_name = name, operation_type = "query", status = "success" })
--
-- Made while the site is loaded, counted in requests and timers, summed over all workers, kept over reloads.
-- A name means the same in all generations: another kind, other labels or other buckets are a load error.
local core = require "moonlatch.core"
local options = require "moonlatch.options"
local sandbox = require "moonlatch.sandbox"
local where = require "moonlatch.where"

local M = {}

local function name_complaint(name)
  if not name:find("^[%a_][%w_]*$") then return "has letters, digits and _, and begins with no digit" end
end

local function label_complaint(labels)
  local seen = {}
  for _, label in ipairs(labels) do
    if not label:find("^[%a_][%w_]*$") or label:find("^__") or label == "le" or label == "quantile"
        or #label > 100 then
      return ('"%s" is no name of a label'):format(label)
    elseif seen[label] then
      return ('the label "%s" is there twice'):format(label)
    end
    seen[label] = true
  end
end

local function bucket_complaint(buckets)
  for i, bound in ipairs(buckets) do
    if bound ~= bound or math.abs(bound) == math.huge then return "bounds are finite numbers" end
    if i > 1 and bound <= buckets[i - 1] then return "bounds must ascend" end
  end
end

local function schema(more)
  local all = {
    name = { "string", min = 1, max = 100, check = name_complaint },
    help = { "string", min = 1, max = 500 },
    labels = { "list", of = "string", default = {}, max = 8, check = label_complaint },
    max_series = { "integer", default = 1000, min = 1, max = 5000 },
  }
  for name, rule in pairs(more or {}) do all[name] = rule end
  return all
end

M.config = {
  counter = schema(),
  gauge = schema { merge = { "string", default = "sum", one_of = { "sum", "max", "min", "last" } } },
  histogram = schema { buckets = { "list", of = "number", min = 1, max = 40, check = bucket_complaint,
    default = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10 } } },
}

local reserved = {
  http_requests_total = true, http_request_duration_seconds = true, active_connections = true,
}
local suffixes = { "_total", "_sum", "_count", "_bucket", "_created", "_info" }

-- What the name of that kind of metric may not be, in any of the two formats of the page.
local function wrong_name(kind, name, families)
  if reserved[name] or name:find("^moonlatch_") or name:find("^process_") then
    return "is the gateway's own"
  end
  local family = name:match("^(.+)_total$")
  if kind == "counter" then
    if not family then return 'of a counter ends with "_total"' end
  else
    for _, suffix in ipairs(suffixes) do
      if name:sub(-#suffix) == suffix then return ('of a %s can not end with "%s"'):format(kind, suffix) end
    end
  end
  local other = families[family or name]
  if other and other ~= name then return ("can not be beside %s"):format(other) end
  families[family or name] = name
end

--- For one generation.
-- @param closed function() -> is the site loaded?
function M.new(closed)
  local gw_metrics, families = {}, {}
  for kind, config in pairs(M.config) do
    gw_metrics[kind] = function(given)
      local what = "gw.metrics." .. kind
      if closed() then error(what .. " can not be called once the site is loaded", 2) end
      local conf, wrong = options.check(config, given)
      if not conf then where.fail(what .. ": " .. wrong) end
      wrong = wrong_name(kind, conf.name, families)
      if wrong then where.fail(('%s: the name "%s" %s'):format(what, conf.name, wrong)) end
      conf.kind, conf.merge = kind, conf.merge or "sum"
      local metric, refusal = core.metric(conf)
      return metric or where.fail(('%s "%s": %s'):format(what, conf.name, refusal))
    end
  end
  gw_metrics.text = core.metrics_text
  return sandbox.read_only("gw.metrics", gw_metrics)
end

return M
