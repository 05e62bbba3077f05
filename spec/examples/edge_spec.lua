--- examples/hospital/edge on the real binary, in front of API gateways and inside of one.
local gateway = require "spec.support.gateway"
local hospital = require "spec.support.hospital"
local pki = require "spec.support.pki"

local function sh(command)
  local p = io.popen(command .. " 2>&1")
  local text = p:read("*a")
  p:close()
  return text
end

local dir, pair, ca

local function edge_env(env)
  env.LB_HTTPS_PORT, env.LB_HTTP_PORT = tostring(gateway.free_port()), tostring(gateway.free_port())
  env.SERVER_NAME, env.LB_PUBLIC_PORT = "hospital.test", env.LB_HTTPS_PORT
  env.SSL_CERT_PATH, env.SSL_KEY_PATH, env.HOST = pair.cert, pair.key, "127.0.0.1"
  return env
end

-- curl under the name in the certificate
local function curl(env, path, args)
  return sh(("curl -s --max-time 20 --cacert %s --connect-to hospital.test:%s:127.0.0.1:%s %s 'https://hospital.test:%s%s'")
    :format(ca.cert, env.LB_HTTPS_PORT, env.LB_HTTPS_PORT, args or "", env.LB_HTTPS_PORT, path))
end

local function status(env, path, args)
  return curl(env, path, "-o /dev/null -w '%{http_code} %{http_version}' " .. (args or ""))
end

describe("the hospital's edge", function()
  local env, services, one
  teardown(gateway.stop_all)

  setup(function()
    dir = gateway.folder()
    ca = pki.authority(dir, "ca")
    pair = pki.certificate(dir, "edge", ca, { "hospital.test" })
    local offset = hospital.free_offset()
    services = hospital.start_services(offset)
    one = hospital.start_site { PORT_OFFSET = tostring(offset) }
    local two = hospital.start_site { PORT_OFFSET = tostring(offset) }
    env = edge_env { API_GATEWAY_URLS = ("http://127.0.0.1:%d,http://127.0.0.1:%d,http://127.0.0.1:%d"):format(
                       one.port, two.port, gateway.free_port()), API_RATE = "1000", API_BURST = "1000" }
    gateway.start({}, { dir = "examples/hospital/edge", env = env })
  end)

  it("speaks HTTP/2 and HTTP/1.1 over TLS 1.2 and 1.3, and nothing older", function()
    assert.equal("200 2", status(env, "/"))
    assert.equal("200 1.1", status(env, "/", "--http1.1"))
    assert.equal("200 2", status(env, "/", "--tls-max 1.2"))
    assert.equal("200 2", status(env, "/", "--tlsv1.3"))
    assert.equal("000 0", status(env, "/", "--tls-max 1.1 --ciphers DEFAULT@SECLEVEL=0"))
  end)

  it("sends clients of the plain port there, with their method", function()
    local head = sh(("curl -s -i -X POST --max-time 20 -H 'Host: hospital.test' 'http://127.0.0.1:%s/api/x?y=1'")
      :format(env.LB_HTTP_PORT))
    assert.truthy(head:find("HTTP/1.1 308", 1, true), head)
    assert.truthy(head:find(("Location: https://hospital.test:%s/api/x?y=1"):format(env.LB_HTTPS_PORT), 1, true), head)
    assert.is_nil(head:lower():find("strict-transport", 1, true))
  end)

  it("serves forty of forty requests, also POST, when one of three gateways is not there", function()
    for _, method in ipairs { "GET", "POST" } do
      for _ = 1, 20 do
        local got = status(env, "/api/doctors", ("-X %s -H '%s'"):format(method, hospital.bearer():gsub("\r\n", "")))
        assert.truthy(got:find(method == "GET" and "^200 2$" or "^[24]%d%d 2$"), got) -- it has no body
      end
    end
  end)

  it("compresses what is long, and sends the page with a year for its assets", function()
    local head = curl(env, "/assets/page.js", "-D - -o /dev/null")
    assert.truthy(head:find("cache-control: public, max-age=31536000, immutable", 1, true), head)
    assert.truthy(head:find("x-frame-options: DENY", 1, true), head)
    assert.truthy(head:find("strict-transport-security: max-age=31536000; includeSubDomains; preload", 1, true), head)
    head = curl(env, "/health", "-D - -o /dev/null")
    assert.equal(1, select(2, head:gsub("x%-frame%-options", "")))
  end)

  it("goes on when a gateway is killed", function()
    one:signal("KILL")
    one:wait()
    for _ = 1, 20 do
      assert.equal("200 2", status(env, "/health"))
    end
  end)

  it("can be a part of the API gateway", function()
    local both = edge_env { PORT_OFFSET = "0", API_RATE = "10", API_BURST = "5" }
    local g = hospital.start_site(both)
    assert.equal("200 2", status(both, "/patients/7"))
    assert.equal("200 2", status(both, "/health"))
    assert.equal("401 2", status(both, "/api/doctors"))
    assert.equal("404 2", status(both, "/assets/none.js"))
    assert.equal(200, g:ask("GET /health").status)
    local limited = gateway.eventually(function() -- many in one connection: a slow machine would stay below the rate
      return status(both, "/api/doctors?n=[1-40]"):find("429 2", 1, true)
    end, "the edge's limit")
    assert.truthy(limited)
    assert.truthy(services:alive())
  end)
end)
