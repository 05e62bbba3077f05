--- GET <path>: what `moonlatch status --json` says, for operators' addresses only.
--
--   gw.mount("status", { path = "/internal/status", allow = { "10.0.0.0/8" } })
--
-- Whoever is not allowed gets 404, so that the path gives nothing away.
local gw = require "moonlatch"

local M = { name = "status" }

M.config = {
  path = { "string", default = "/status" },
  allow = { "list", of = "string", default = { "127.0.0.0/8", "::1" } },
}

--- Adds the route.
function M.mount(conf)
  gw.ip_match("127.0.0.1", conf.allow) -- a malformed network is an error now and not later
  gw.route("GET " .. conf.path, { respond = function(req)
    if not gw.ip_match(req.ip, conf.allow) then
      return gw.error(404, "not_found", "No route for " .. req.method .. " " .. req.path)
    end
    return gw.response(200, gw.status(), { ["content-type"] = "application/json",
                                           ["cache-control"] = "no-store" })
  end })
end

return M
