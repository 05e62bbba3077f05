--- The listeners of the edge: HTTPS, and one that redirects to it.  Used by the edge as a process of its own,
-- and by the API gateway when it is its own edge.
local gw = require "moonlatch"

-- What the old balancer allowed, without the ciphers that need finite-field Diffie-Hellman.
local ciphers = {
  "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
}

local M = {}

--- Opens them.
-- @param trusted networks of balancers in front
function M.open(trusted)
  local host, https = gw.env("HOST", "0.0.0.0"), gw.env.number("LB_HTTPS_PORT", 443)
  local cert = gw.env("SSL_CERT_PATH", "")
  gw.listen {
    host = host, port = https, trusted_proxies = trusted,
    tls = cert ~= "" and { cert = cert, key = gw.env "SSL_KEY_PATH", ciphers = ciphers } or "self-signed",
  }
  gw.listen {
    host = host, port = gw.env.number("LB_HTTP_PORT", 80),
    redirect = { host = gw.env("SERVER_NAME", "hospital.example.com"),
                 port = gw.env.number("LB_PUBLIC_PORT", 443) },
  }
end

return M
