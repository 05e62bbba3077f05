--- What browsers are told: one value of each, on the page, its assets and the API, refusals included.
--
-- Where the old balancer and the API gateways both sent a header, the stricter or the newer one is left:
-- frames are denied altogether, HSTS asks for preloading, connect-src has https: as the gateways say.
local gw = require "moonlatch"

local self, none = { "'self'" }, { "'none'" }
local origins = gw.env.list("ALLOWED_ORIGINS", {})

local M = {}

--- The policy for every answer.
M.security = {
  "security_headers", frame_options = "DENY", hsts = "tls", hsts_preload = true, csp = {
    ["default-src"] = self, ["font-src"] = self, ["media-src"] = self,
    ["script-src"] = { "'self'", "'unsafe-inline'" }, ["style-src"] = { "'self'", "'unsafe-inline'" },
    ["img-src"] = { "'self'", "data:", "https:" }, ["connect-src"] = { "'self'", "wss:", "https:" },
    ["object-src"] = none, ["frame-src"] = none, ["frame-ancestors"] = none,
  },
}

--- Policies for the API alone.
M.api = {}

if #origins > 0 then
  M.api[1] = { "cors", origins = origins, credentials = true, expose = {
    "X-Request-ID", "Retry-After", "RateLimit-Policy", "RateLimit-Limit", "RateLimit-Remaining",
    "RateLimit-Reset",
  } }
end

return M
