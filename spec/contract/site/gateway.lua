--- The site that the corpus of hostile clients and upstreams runs against; see spec/contract/README.md.
local gw = require "moonlatch"

gw.settings { access_log = gw.env("ACCESS_LOG", "-") }

local function listen(port, tls)
  gw.listen {
    host = "127.0.0.1", port = port, tls = tls,
    limits = { body = 1024 * 1024, head = 32 * 1024 },
    timeouts = { header = 5, body = 5, idle = 5, send = 5 },
  }
end

listen(gw.env.number "PORT")
if gw.env("TLS_PORT", "") ~= "" then
  listen(gw.env.number "TLS_PORT", { cert = "keys/tls.crt", key = "keys/tls.key", handshake_timeout = 5 })
end

gw.upstream("up", {
  "http://127.0.0.1:" .. gw.env "UP_PORT", max_fails = 0, keepalive = 32, preserve_host = true,
  connect_timeout = 2, first_byte_timeout = 5, read_timeout = 5, send_timeout = 5,
})
gw.upstream("dead", { "http://127.0.0.1:" .. gw.env "DEAD_PORT", connect_timeout = 2 })

gw.use {
  { "closed_paths", prefixes = { "/admin" }, guarded = { "/auth" } },
  function(req) req:remove_header("x-user") end, -- identity is the gateway's to give
}
