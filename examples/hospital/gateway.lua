--- The hospital's API gateway: one port in front of ten services and the GraphQL gateway.
--
-- Everything comes from the environment; the defaults fit the stand-ins in services/, so that
-- `moonlatch run examples/hospital` works as it is.
--
--   PORT 3100, HOST 0.0.0.0      where it listens
--   <NAME>_SERVICE_URL, GRAPHQL_GATEWAY_URL, PORT_OFFSET    where the services are, see lib/services.lua
--   PROXY_TIMEOUT_MS 30000       time a service has to begin its answer
--   HEALTH_CHECK_INTERVAL 30000  milliseconds between two looks at the services, see routes/health.lua
--   TRUSTED_PROXIES              networks of proxies in front: their X-Forwarded-For and X-Request-ID count
--   LOG_LEVEL info, LOG_FILE -   access log; "-" is standard output
local gw = require "moonlatch"
local services = require "lib.services"

local trusted = gw.env.list("TRUSTED_PROXIES", {})

gw.settings {
  service = "api-gateway", log_level = gw.env("LOG_LEVEL", "info"), access_log = gw.env("LOG_FILE", "-"),
}

gw.listen {
  host = gw.env("HOST", "0.0.0.0"), port = gw.env.number("PORT", 3100), trusted_proxies = trusted,
}

local timeout_s = gw.env.number("PROXY_TIMEOUT_MS", 30000) / 1000
for _, service in ipairs(services.all) do
  gw.upstream(service.name, { service.url, first_byte_timeout = timeout_s })
end
gw.upstream(services.graphql.name, { services.graphql.url, first_byte_timeout = timeout_s })

gw.use { { "request_id", accept_from = trusted }, "unknown_route", "identity_headers" }
