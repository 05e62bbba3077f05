--- The hospital's API gateway: one port in front of ten services and the GraphQL gateway.
--
-- Everything comes from the environment; without it the addresses of examples/hospital/services
-- count, so that `moonlatch run examples/hospital` works as it is.
local gw = require "moonlatch"
local services = require "lib.services"

gw.settings { service = "api-gateway", log_level = gw.env("LOG_LEVEL", "info") }

gw.listen {
  host = gw.env("HOST", "0.0.0.0"),
  port = gw.env.number("PORT", 3100),
  trusted_proxies = gw.env.list("TRUSTED_PROXIES", {}),
}

for _, service in ipairs(services.all) do
  gw.upstream(service.name, { service.url, first_byte_timeout = services.timeout_s })
end
gw.upstream("graphql", {
  gw.env("GRAPHQL_GATEWAY_URL", "http://127.0.0.1:3200"), first_byte_timeout = services.timeout_s,
})

gw.use { "request_id", "identity_headers" }
