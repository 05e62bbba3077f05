--- Each prefix and everything below it goes to its service, /graphql to the GraphQL gateway.
--
-- All of it needs a token, except for the three calls with which one is got.  /graphql decides by itself what
-- a caller without a token may see.
local gw = require "moonlatch"
local services = require "lib.services"
local tokens = require "lib.tokens"

-- As its own edge the gateway has also the edge's limits.
local limits = gw.env("LB_HTTPS_PORT", "") ~= "" and require "lib.edge.limits" or {}

local function forward(service, token, websocket)
  local errors = { "service_errors", service = service.name }
  local name = websocket and service.prefix or service.prefix .. "/*" -- what metrics call it
  gw.route("* " .. service.prefix, { errors, token, to = service.name, websocket = websocket, name = name })
  gw.route("* " .. service.prefix .. "/*rest", { errors, token, to = service.name, name = name })
end

local function api()
  for _, service in ipairs(services.all) do forward(service, tokens.required) end
  for _, name in ipairs { "login", "register", "refresh" } do
    gw.route("POST /api/auth/" .. name, { { "service_errors", service = "auth" }, to = "auth",
                                          name = "/api/auth/*" })
  end
end

local function graphql()
  forward(services.graphql, tokens.optional, true) -- subscriptions come through a socket
end

gw.group("", { limits.api }, api)
gw.group("", { limits.graphql }, graphql)
