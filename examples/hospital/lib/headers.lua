--- What browsers are told with each answer, whoever gives it: the hospital's headers, and who may read it.
--
--   ALLOWED_ORIGINS   origins of pages that may call the API; without it, none
local gw = require "moonlatch"

local self, none = { "'self'" }, { "'none'" }
local origins = gw.env.list("ALLOWED_ORIGINS", {})
local readable = { "X-Request-ID", "Retry-After", "RateLimit-Policy", "RateLimit-Limit",
                   "RateLimit-Remaining", "RateLimit-Reset" }

local M = {}

--- The policies in the order of the chain.
M.chain = {
  { "security_headers", hsts_preload = true, csp = {
    ["default-src"] = self, ["font-src"] = self, ["media-src"] = self,
    ["script-src"] = { "'self'", "'unsafe-inline'" }, ["style-src"] = { "'self'", "'unsafe-inline'" },
    ["img-src"] = { "'self'", "data:", "https:" }, ["connect-src"] = { "'self'", "wss:", "https:" },
    ["object-src"] = none, ["frame-src"] = none,
  } },
}

if #origins > 0 then
  M.chain[2] = { "cors_of_npm", expose = readable }
  M.chain[3] = { "cors", origins = origins, credentials = true, expose = {} }
else -- nobody's pages: what a service says about that does not count
  M.chain[2] = { "closed_to_pages" }
end

return M
