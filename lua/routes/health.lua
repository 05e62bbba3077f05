--- GET <path>: is this gateway alive?  200 as long as it can answer at all.
--
--   gw.mount("health", { path = "/health" })   -->  {"status":"healthy","service":...,"uptime":...}
local gw = require "moonlatch"

local M = { name = "health" }

M.config = {
  path = { "string", default = "/health" },
  service = { "string", default = "moonlatch" },
}

--- Adds the route.
function M.mount(conf)
  gw.route("GET " .. conf.path, { respond = function()
    return gw.response(200, { status = "healthy", service = conf.service, uptime = gw.uptime(),
                              timestamp = gw.time_iso(gw.now()) }, { ["cache-control"] = "no-store" })
  end })
end

return M
