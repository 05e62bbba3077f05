--- GET <path>: the metrics of the gateway and of the site, for Prometheus and its like.
--
--   gw.mount("metrics", { path = "/metrics", allow = { "10.0.0.0/8" } })
--
-- Text 0.0.4, or OpenMetrics 1.0 for who asks for it by Accept.  Whoever is not allowed gets 404, so that the
-- path gives nothing away.  By default that is everybody but this machine and private networks.
local gw = require "moonlatch"
local operators = require "moonlatch.operators"

local M = { name = "metrics" }

M.config = {
  path = { "string", default = "/metrics" },
  allow = { "list", of = "string", default = { "127.0.0.0/8", "::1", "10.0.0.0/8", "172.16.0.0/12",
                                               "192.168.0.0/16", "fc00::/7" } },
}

--- Adds the route.
function M.mount(conf)
  local may_see = operators.new(conf.allow)
  gw.route("GET " .. conf.path, { respond = function(req)
    if not may_see(req) then return operators.not_found(req) end
    local text, media_type = gw.metrics.text(req:header("accept"))
    return gw.response(200, text, { ["content-type"] = media_type, ["cache-control"] = "no-store",
                                    vary = "Accept" })
  end })
end

return M
