--- The hospital's edge: TLS, HTTP/2, the page, and the API gateways behind it.
--
-- What an nginx did in front of them, as one directory; `moonlatch run examples/hospital/edge` works as it
-- is, with a development certificate, beside `moonlatch run examples/hospital`.
--
--   LB_HTTPS_PORT 443, LB_HTTP_PORT 80, HOST 0.0.0.0   where it listens; the latter redirects to the former
--   SERVER_NAME hospital.example.com, LB_PUBLIC_PORT 443   where it redirects to: how it is known outside
--   SSL_CERT_PATH, SSL_KEY_PATH   certificate chain and key (PEM); without them one for development is made
--   API_GATEWAY_URLS              the API gateways, separated by commas; http://127.0.0.1:PORT (3100)
--   STATIC_ROOT public            the page; every path that is no file is index.html, for it routes by itself
--   ALLOWED_ORIGINS               pages of other origins that may call the API, as the gateways have it
--   API_RATE 10, API_BURST 20, GRAPHQL_RATE 5, GRAPHQL_BURST 10   requests per second, and at once
--   TRUSTED_PROXIES               networks of balancers in front of this one
--   LOG_LEVEL info, LOG_FILE -    access log
local gw = require "moonlatch"
local headers = require "lib.headers"
local listeners = require "lib.listeners"

gw.settings {
  service = "edge", log_level = gw.env("LOG_LEVEL", "info"), access_log = gw.env("LOG_FILE", "-"),
}
listeners.open(gw.env.list("TRUSTED_PROXIES", {}))

local gateways = gw.env.list("API_GATEWAY_URLS", { "http://127.0.0.1:" .. gw.env("PORT", "3100") })
gateways.balance, gateways.max_fails, gateways.fail_timeout = "least_conn", 3, 30
gateways.connect_timeout, gateways.send_timeout, gateways.read_timeout = 5, 60, 60
gateways.preserve_host, gateways.retries = true, math.max(1, #gateways - 1)
gw.upstream("api-gateway", gateways)

gw.use { "request_id", { "compress", min_length = 1024 } }
gw.use { headers.security }
