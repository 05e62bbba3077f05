--- GET /metrics: for Prometheus, unless METRICS_ENABLED is false; from the networks in METRICS_ALLOW (this
-- machine and private networks): the page tells routes and services, which is nobody else's business.
local gw = require "moonlatch"

-- Dashboards of the hospital ask for these of both gateways.  They are counted where operations are known: in
-- the GraphQL gateway; here the families are there and empty.
gw.metrics.counter {
  name = "graphql_operations_total", help = "Total number of GraphQL operations",
  labels = { "operation_name", "operation_type", "status" },
}
gw.metrics.histogram {
  name = "graphql_operation_duration_seconds", help = "Duration of GraphQL operations in seconds",
  labels = { "operation_name", "operation_type" }, buckets = { 0.1, 0.3, 0.5, 0.7, 1, 3, 5, 7, 10 },
}

if gw.env.boolean("METRICS_ENABLED", true) then
  gw.mount("metrics", { path = "/metrics", allow = gw.env.list("METRICS_ALLOW", nil) })
end
