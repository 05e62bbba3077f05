--- Delays or refuses a share of the requests on purpose, to see how clients and other policies bear it.
--
-- It refuses to be loaded unless `enabled = true`, so that it can not be left in a site by mistake. With
-- `header`, only requests that have this header are hurt. A request may be delayed and then refused.
--
--   gw.group("/api", {
--     { "fault", enabled = true, header = "X-Test-Fault", delay = 2, delay_share = 0.1, status = 503,
--       abort_share = 0.05 },
--   }, function() gw.route("* /*rest", { to = "api" }) end)
local gw = require "moonlatch"

local M = { name = "fault" }

M.config = {
  enabled = { "boolean", doc = "Must be true: the policy does harm.", check = function(enabled)
    if not enabled then return "must be true: this policy does harm; take it out of the site instead" end
  end },
  delay = { "seconds", optional = true, max = 3600, unit = "seconds", doc = "How long a request is held." },
  delay_share = { "number", default = 1, min = 0, max = 1, doc = "Share of the requests that are held." },
  status = { "integer", optional = true, min = 400, max = 599, doc = "Status of the refusal." },
  abort_share = { "number", default = 1, min = 0, max = 1, doc = "Share of the requests that are refused." },
  header = { "string", optional = true, min = 1, doc = "Only requests with this header are hurt." },
}

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req) -> res or nothing
function M.new(conf)
  local delay, status, header = conf.delay, conf.status, conf.header
  if not delay and not status then error('one of the options "delay" and "status" is needed', 0) end

  return function(req)
    if header and not req:header(header) then return end
    if delay and gw.random() < conf.delay_share then gw.sleep(delay) end
    if status and gw.random() < conf.abort_share then
      return gw.error(status, "fault", "This failure was made on purpose")
    end
  end
end

return M
