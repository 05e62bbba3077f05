--- The hospital's ten services as small deterministic programs, so that the gateway has something
-- to stand in front of.  An operator replaces them by the addresses of the real ones.
--
-- One process plays all ten: each has a port of its own, and each port answers for all of them.
--
--   HOST 127.0.0.1, PORT_OFFSET 0    where it listens
--   JWT_SECRET, JWT_EXPIRES_IN, JWT_REFRESH_EXPIRES_IN    tokens, see lib/sessions.lua
--   ADMIN_PASSWORD                   see lib/accounts.lua
local gw = require "moonlatch"

gw.settings { service = "hospital-services", access_log = "off" }

local host, offset = gw.env("HOST", "127.0.0.1"), gw.env.number("PORT_OFFSET", 0)
for _, port in ipairs { 3001, 3002, 3003, 3004, 3005, 3006, 3007, 3008, 3009, 3011 } do
  gw.listen { host = host, port = port + offset }
end

gw.use { "unknown_route" }
gw.mount("health", { path = "/health" })
