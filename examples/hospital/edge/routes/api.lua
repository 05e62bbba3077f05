--- /api/, /graphql and /health go to the API gateways; a client has a limit of its own for the first two.
local gw = require "moonlatch"
local headers = require "lib.headers"
local limits = require "lib.limits"

gw.group("", headers.api, function()
  gw.route("* /api/*rest", { limits.api, to = "api-gateway" })
  gw.route("* /graphql", { limits.graphql, to = "api-gateway", timeout = 120, websocket = true,
                           websocket_idle_timeout = 120 })
  gw.route("GET /health", { to = "api-gateway" })
end)
