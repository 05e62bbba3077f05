--- GET /health: the gateway's own state and, from a probe in the background, that of each service.
local gw = require "moonlatch"
local services = require "lib.services"

local state = gw.shared("health")

local function probe_one(service)
  local res = gw.http { url = service.url .. "/health", timeout = 2 }
  state:set(service.name, res and res.status < 400 and "up" or "down")
end

local function probe_all()
  local probes = {}
  for i, service in ipairs(services.all) do
    probes[i] = function() probe_one(service) end
  end
  gw.all(probes)
end

gw.timer(gw.env.number("HEALTH_CHECK_INTERVAL", 30000) / 1000, probe_all,
         { once_per_machine = true, immediately = true })

gw.route("GET /health", { respond = function()
  local answer = { status = "healthy", service = "api-gateway", services = {} }
  for _, service in ipairs(services.all) do
    local up = state:get(service.name) or "unknown"
    answer.services[service.name] = up
    if up == "down" then answer.status = "degraded" end
  end
  answer.timestamp = gw.time_iso(gw.now())
  answer.uptime = gw.uptime()
  return gw.response(200, answer)
end })
