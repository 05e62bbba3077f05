-- Chromium, driven by playwright-core, and examples/hospital/edge.  Run by tools/npm.sh.
local cjson = require "cjson"
local gateway = require "spec.support.gateway"
local pki = require "spec.support.pki"

local function sh(command)
  local p = io.popen(command .. " 2>&1")
  local text = p:read("*a")
  p:close()
  return text
end

-- An API gateway: what the edge passes on to it, and pages of other origins.
local function api(pair)
  return gateway.start { ["gateway.lua"] = ([[
    local gw = require "moonlatch"
    gw.listen { host = "127.0.0.1", port = PORT }
    gw.listen { host = "127.0.0.1", port = PORT2, tls = { cert = %q, key = %q } }
    gw.route("GET /health", { respond = function() return gw.response(200, { status = "healthy" }) end })
    gw.route("GET /api/long", { respond = function()
      return gw.response(200, ("0123456789"):rep(2000), { ["Content-Type"] = "text/plain" })
    end })
    gw.route("GET /api/poll", { respond = function() return gw.response(200, "polled") end })
    gw.route("* /api/whoami", { respond = function(req)
      return gw.response(200, req.method .. " " .. (req:header("cookie") or "nobody"))
    end })
    gw.route("GET /graphql", { respond = gw.websocket({ protocols = { "echo.v1" }, origins = "*" }, function(ws)
      for message, kind in ws:messages() do
        if kind == "text" then ws:send(message) else ws:send_binary(message) end
      end
    end) })
    gw.route("GET /", { respond = function()
      return gw.response(200, "<!doctype html><link rel=icon href='data:,'>", { ["Content-Type"] = "text/html" })
    end })
  ]]):format(pair.cert, pair.key) }
end

local function report_of()
  local dir = gateway.folder()
  local ca = pki.authority(dir, "ca")
  local pair = pki.certificate(dir, "edge", ca, { "hospital.test", "app.hospital.test", "evil.test" })
  local one, two = api(pair), api(pair)
  local env = {
    LB_HTTPS_PORT = tostring(gateway.free_port()), LB_HTTP_PORT = tostring(gateway.free_port()), HOST = "127.0.0.1",
    SSL_CERT_PATH = pair.cert, SSL_KEY_PATH = pair.key, API_RATE = "10000", API_BURST = "10000", SERVER_NAME = "hospital.test",
    API_GATEWAY_URLS = ("http://127.0.0.1:%d,http://127.0.0.1:%d"):format(one.port, two.port),
    ALLOWED_ORIGINS = "https://app.hospital.test:" .. one.ports.PORT2,
  }
  local copy = gateway.folder() .. "/edge" -- it is changed
  sh("cp -rL examples/hospital/edge " .. copy)
  local edge = gateway.start({}, { dir = copy, env = env })
  local spki = sh(("openssl x509 -in %s -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary "
    .. "| openssl base64"):format(pair.cert)):gsub("%s", "")
  local what = cjson.encode {
    profile = dir .. "/profile", spki = spki, page = ("https://hospital.test:%s/"):format(env.LB_HTTPS_PORT),
    app = env.ALLOWED_ORIGINS, evil = "https://evil.test:" .. one.ports.PORT2,
    direct = ("wss://hospital.test:%d/graphql"):format(one.ports.PORT2),
    reload = { gateway.binary, "reload", "--wait", "--control", edge.control }, file = copy .. "/gateway.lua", api = two.pid,
  }
  local text = sh("timeout 200 node spec/npm/browser.mjs '" .. what .. "'")
  edge:stop()
  return text
end

describe("a browser and the hospital's edge:", function()
  local text
  setup(function() text = report_of() end)
  teardown(gateway.stop_all)

  for _, name in ipairs {
    "the page loads over HTTP/2, with its assets",
    "the browser finds nothing to complain about",
    "the policy of the page keeps foreign scripts out",
    "assets come from the cache, the page is asked for anew",
    "long answers are compressed on the way",
    "a WebSocket passes through the edge",
    "a WebSocket ends in a script",
    "an origin that is allowed calls with credentials",
    "any other origin is kept out",
    "no poll fails while the site is loaded anew and an API gateway leaves",
  } do
    it(name, function() assert.truthy(("\n" .. text):find("\nok " .. name .. "\n", 1, true), text) end)
  end
end)
