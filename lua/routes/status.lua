--- GET <path>: what `moonlatch status --json` says, for operators' addresses only.
--
--   gw.mount("status", { path = "/internal/status", allow = { "10.0.0.0/8" } })
--
-- Whoever is not allowed, or comes through a proxy that is not trusted, gets 404, so that the path gives
-- nothing away.
local gw = require "moonlatch"
local operators = require "moonlatch.operators"

local M = { name = "status" }

M.config = {
  path = { "string", default = "/status" },
  allow = { "list", of = "string", default = { "127.0.0.0/8", "::1" } },
}

--- Adds the route.
function M.mount(conf)
  local may_see = operators.new(conf.allow)
  gw.route("GET " .. conf.path, { respond = function(req)
    if not may_see(req) then return operators.not_found(req) end
    return gw.response(200, gw.status(), { ["content-type"] = "application/json",
                                           ["cache-control"] = "no-store" })
  end })
end

return M
