--- Each prefix and everything below it goes to its service, /graphql to the GraphQL gateway.
local gw = require "moonlatch"
local services = require "lib.services"

local function forward(service)
  local errors = { "service_errors", service = service.name }
  gw.route("* " .. service.prefix, { errors, to = service.name })
  gw.route("* " .. service.prefix .. "/*rest", { errors, to = service.name })
end

for _, service in ipairs(services.all) do forward(service) end
forward(services.graphql)
