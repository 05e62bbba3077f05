--- The listeners and upstreams of this site, and what every request goes through.
--
-- `moonlatch run .` serves it; save a file and it is live about a second later.
local gw = require "moonlatch"

gw.listen { port = gw.env.number("PORT", 8080) }

-- A named group of servers; routes send requests there with to = "backend".
-- gw.upstream("backend", { gw.env("BACKEND_URL", "http://127.0.0.1:9000") })

gw.use { "request_id", { "example", value = "moonlatch" } }
