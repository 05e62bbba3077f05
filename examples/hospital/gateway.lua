--- The hospital's API gateway: one port in front of ten services and the GraphQL gateway.
--
-- Everything comes from the environment; the defaults fit the stand-ins in services/, so that
-- `moonlatch run examples/hospital` works as it is.
--
--   PORT 3100, HOST 0.0.0.0      where it listens
--   <NAME>_SERVICE_URL, GRAPHQL_GATEWAY_URL, PORT_OFFSET    where the services are, see lib/services.lua
--   PROXY_TIMEOUT_MS 30000       time a service has to begin its answer
--   HEALTH_CHECK_INTERVAL 30000  milliseconds between two looks at the services, see routes/health.lua
--   JWT_SECRET                   see lib/secret.lua
--   ALLOWED_ORIGINS              see lib/headers.lua
--   RATE_LIMIT_*, SLOWDOWN_*, SLOW_DOWN_IMPL, REDIS_*       see lib/limits.lua
--   TRUSTED_PROXIES, TRUST_PROXY see lib/proxies.lua
--   METRICS_ENABLED true, METRICS_ALLOW   see routes/metrics.lua
--   LOG_LEVEL info, LOG_FILE -, ELASTICSEARCH_*, OTLP_*     see lib/logs.lua
--
-- With LB_HTTPS_PORT it is its own edge: TLS, HTTP/2, the page and the limits of edge/ in the same process,
-- see edge/gateway.lua for their variables.  The port above stays open, for those inside.
local gw = require "moonlatch"
local headers = require "lib.headers"
local limits = require "lib.limits"
local logs = require "lib.logs"
local proxies = require "lib.proxies"
local services = require "lib.services"

local trusted = proxies.env()

gw.settings(logs.settings("api-gateway"))

gw.listen {
  host = gw.env("HOST", "0.0.0.0"), port = gw.env.number("PORT", 3100), trusted_proxies = trusted,
  keep_slashes = true,
}

local is_edge = gw.env("LB_HTTPS_PORT", "") ~= ""
if is_edge then require("lib.edge.listeners").open(trusted) end

local function upstream(service)
  gw.upstream(service.name, {
    service.url, first_byte_timeout = gw.env.number("PROXY_TIMEOUT_MS", 30000) / 1000,
    forwarded_port = true, real_ip = false, via = false,
  })
end
for _, service in ipairs(services.all) do upstream(service) end
upstream(services.graphql)

gw.use { { "request_id", accept_from = trusted }, "own_answers" }
if is_edge then gw.use { { "compress", min_length = 1024 } } end
gw.use(headers.chain)
gw.use(limits.chain)
gw.use { "unknown_route", "identity_headers" }
