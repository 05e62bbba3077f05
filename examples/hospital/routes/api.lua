--- /api/<prefix> and everything below it goes to its service; /graphql to the GraphQL gateway.
local gw = require "moonlatch"
local services = require "lib.services"

for _, service in ipairs(services.all) do
  gw.route("* " .. service.prefix, { to = service.name })
  gw.route("* " .. service.prefix .. "/*rest", { to = service.name })
end

gw.route("* /graphql", { to = "graphql" })
