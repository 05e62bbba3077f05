--- GET /health: always 200 while the gateway can answer at all; whether the services can is in the body:
--
--   {"status": "degraded", "service": "api-gateway", "timestamp": "...", "uptime": 12.5,
--    "services": {"auth": "up", "doctor": "down", ...}}
--
-- One worker looks at the services in the background, every HEALTH_CHECK_INTERVAL milliseconds, and
-- more often while one of them is not up.  A request never waits for that.
local gw = require "moonlatch"
local services = require "lib.services"

local interval_s = gw.env.number("HEALTH_CHECK_INTERVAL", 30000) / 1000
local tick_s = math.min(interval_s, 1)
local probe_timeout_s = 2

local state = gw.shared("health") -- name of a service -> "up" or "down"; "probed_at" -> gw.mono()

local function probe(service)
  local res = gw.http { url = service.url .. "/health", timeout = probe_timeout_s }
  local up = res and res.status >= 200 and res.status < 300
  state:set(service.name, up and "up" or "down")
end

local function all_up()
  for _, service in ipairs(services.all) do
    if state:get(service.name) ~= "up" then return false end
  end
  return true
end

local function probe_when_due()
  local age_s = gw.mono() - (state:get("probed_at") or 0)
  if all_up() and age_s < interval_s then return end
  local probes = {}
  for i, service in ipairs(services.all) do
    probes[i] = function() probe(service) end
  end
  gw.all(probes)
  state:set("probed_at", gw.mono())
end

gw.timer(tick_s, probe_when_due, { once_per_machine = true, immediately = true })

gw.route("GET /health", { respond = function()
  local states, status = {}, "healthy"
  for _, service in ipairs(services.all) do
    local now = state:get(service.name) or "unknown"
    states[service.name] = now
    if now == "down" then status = "degraded" end
  end
  return gw.response(200, {
    status = status, service = "api-gateway", timestamp = gw.time_iso(gw.now()), uptime = gw.uptime(),
    services = states,
  })
end })
