-- The policy `cors` in front of an upstream, on the real binary.
local policy = require "spec.support.policy"
local upstream = require "spec.support.upstream"

local function origin(name, more) return { headers = "Origin: " .. name .. "\r\n" .. (more or "") } end

local function preflight(name, more)
  return origin(name, "Access-Control-Request-Method: PUT\r\n" .. (more or ""))
end

describe("cors", function()
  local g
  teardown(policy.stop_all)

  setup(function()
    g = policy.start {
      use = [[ { "cors", origins = { "https://a.example", "http://b.example:8080", "https://*.clinic.example",
                 "http://localhost:*" }, credentials = true, max_age = 600, private_network = true } ]],
      up = [[ return gw.response(200, "up", { ["Access-Control-Allow-Origin"] = "*", Vary = req.args.vary,
                ["Access-Control-Allow-Credentials"] = "true", ["Access-Control-Expose-Headers"] = "X-Up" }) ]],
    }
  end)

  local function allowed_origin(name) return g:ask("GET /p/x", origin(name)).headers["access-control-allow-origin"] end

  it("names an allowed origin, with Vary, credentials and what pages may read", function()
    local h = g:ask("GET /p/x", origin "https://a.example").headers
    assert.equal("https://a.example", h["access-control-allow-origin"])
    assert.equal("true", h["access-control-allow-credentials"])
    assert.equal("Origin", h.vary)
    assert.truthy(h["access-control-expose-headers"]:find("X-Request-ID", 1, true))
    assert.is_nil(h["access-control-expose-headers"]:find("X-Up", 1, true))
    assert.is_nil(h["access-control-allow-methods"])
  end)

  it("lets nobody else in, and nothing of the upstream's policy through", function()
    for _, name in ipairs { "https://evil.example", "null", "*", "https://a.example/", "https://a.example:443",
        "http://a.example", "https://A.example", "https://a.example.evil.example", "https://xa.example",
        "https://a.example, https://evil.example", "https://a.example@evil.example", "", "a.example" } do
      local res = g:ask("GET /p/x", origin(name))
      assert.equal(200, res.status)
      assert.is_nil(res.headers["access-control-allow-origin"], name)
      assert.is_nil(res.headers["access-control-allow-credentials"], name)
      assert.is_nil(res.headers["access-control-expose-headers"], name)
      assert.equal("Origin", res.headers.vary)
    end
  end)

  it("answers two Origin fields as none", function()
    local two = "Origin: https://a.example\r\nOrigin: https://a.example\r\n"
    assert.is_nil(g:ask("GET /p/x", { headers = two }).headers["access-control-allow-origin"])
  end)

  it("takes the star of a pattern for one or more whole labels", function()
    for _, name in ipairs { "https://x.clinic.example", "https://x.y.clinic.example", "https://x-1.clinic.example" } do
      assert.equal(name, allowed_origin(name))
    end
    for _, name in ipairs { "https://clinic.example", "https://.clinic.example", "https://xclinic.example",
        "https://x..clinic.example", "https://evil.example/.clinic.example", "https://evil.example#.clinic.example",
        "http://x.clinic.example", "https://x.clinic.example:8443", "https://x.clinic.example.evil.example",
        "https://user@x.clinic.example", "https://X.clinic.example", "https://x%2f.clinic.example" } do
      assert.is_nil(allowed_origin(name), name)
    end
  end)

  it("takes the star of a port for any port", function()
    for _, name in ipairs { "http://localhost:3000", "http://localhost", "http://b.example:8080" } do
      assert.equal(name, allowed_origin(name))
    end
    for _, name in ipairs { "http://localhost:", "http://localhost:x", "http://localhost.evil:3000",
        "http://localhost:3000.evil.example", "http://b.example:80801", "http://b.example" } do
      assert.is_nil(allowed_origin(name), name)
    end
  end)

  it("says Vary: Origin to those without an Origin, merged with the upstream's", function()
    local h = g:ask("GET /p/x").headers
    assert.equal("Origin", h.vary)
    assert.equal("true", h["access-control-allow-credentials"]) -- as the npm package; nothing is allowed
    assert.is_nil(h["access-control-allow-origin"])
    assert.equal("Accept-Encoding, Origin", g:ask("GET /p/x?vary=Accept-Encoding").headers.vary)
    assert.equal("origin", g:ask("GET /p/x?vary=origin").headers.vary)
    assert.equal("*", g:ask("GET /p/x?vary=*").headers.vary)
  end)

  it("answers a preflight itself", function()
    local res = g:ask("OPTIONS /p/x", preflight("https://a.example", "Access-Control-Request-Headers: X-Z, x-y\r\n"))
    assert.equal(204, res.status)
    assert.equal("", res.body)
    local h = res.headers
    assert.equal("https://a.example", h["access-control-allow-origin"])
    assert.equal("GET,HEAD,PUT,PATCH,POST,DELETE", h["access-control-allow-methods"])
    assert.equal("X-Z, x-y", h["access-control-allow-headers"])
    assert.equal("600", h["access-control-max-age"])
    assert.equal("true", h["access-control-allow-credentials"])
    assert.equal("Origin, Access-Control-Request-Headers", h.vary)
    assert.is_nil(h["access-control-expose-headers"])
    assert.is_nil(h["access-control-allow-private-network"])
  end)

  it("answers a preflight of a foreign origin without allowing anything", function()
    local res = g:ask("OPTIONS /p/x", preflight("https://evil.example"))
    assert.equal(204, res.status)
    assert.equal("Origin", res.headers.vary)
    for name in pairs(res.headers) do assert.is_nil(name:find("^access%-control"), name) end
  end)

  it("leaves an OPTIONS that is no preflight alone", function()
    assert.equal("up", g:ask("OPTIONS /p/x").body)
    assert.equal("up", g:ask("OPTIONS /p/x", origin "https://a.example").body)
    assert.equal("up", g:ask("OPTIONS /p/x", { headers = "Access-Control-Request-Method: PUT\r\n" }).body)
  end)

  it("allows a private network when it is asked and told to", function()
    local asked = "Access-Control-Request-Private-Network: true\r\n"
    local h = g:ask("OPTIONS /p/x", preflight("https://a.example", asked)).headers
    assert.equal("true", h["access-control-allow-private-network"])
    h = g:ask("OPTIONS /p/x", preflight("https://evil.example", asked)).headers
    assert.is_nil(h["access-control-allow-private-network"])
  end)

  it("has its fields on every error: no route, no server, a script that fails", function()
    local g2 = policy.start { all = [[ { "cors", origins = { "https://a.example" }, credentials = true } ]] }
    for path, status in pairs { ["/nowhere"] = 404, ["/p/dead"] = 503, ["/p/boom"] = 500 } do
      local res = g2:ask("GET " .. path, origin "https://a.example")
      assert.equal(status, res.status)
      assert.equal("https://a.example", res.headers["access-control-allow-origin"])
      assert.equal("true", res.headers["access-control-allow-credentials"])
      assert.equal("Origin", res.headers.vary)
      assert.is_nil(g2:ask("GET " .. path, origin "https://evil.example").headers["access-control-allow-origin"])
    end
  end)

  it("allows everybody with a star, and then without Vary", function()
    local g2 = policy.start { use = [[ { "cors", origins = { "*" }, headers = { "X-A", "X-B" }, expose = {} } ]] }
    local h = g2:ask("GET /p/x").headers
    assert.equal("*", h["access-control-allow-origin"])
    assert.is_nil(h.vary)
    assert.is_nil(h["access-control-expose-headers"])
    h = g2:ask("OPTIONS /p/x", preflight("https://any.example", "Access-Control-Request-Headers: x-z\r\n")).headers
    assert.equal("X-A,X-B", h["access-control-allow-headers"])
    assert.is_nil(h["access-control-max-age"])
  end)

  it("allows null only when it is listed", function()
    local g2 = policy.start { use = [[ { "cors", origins = { "null" }, preflight_status = 200 } ]] }
    assert.equal("null", g2:ask("GET /p/x", origin "null").headers["access-control-allow-origin"])
    assert.equal(200, g2:ask("OPTIONS /p/x", preflight "null").status)
  end)

  it("refuses a WebSocket of a foreign page", function()
    local upgrade = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    assert.equal(403, g:ask("GET /p/x", origin("https://evil.example", upgrade)).status)
    assert.equal(200, g:ask("GET /p/x", origin("https://a.example", upgrade)).status)
    assert.equal(200, g:ask("GET /p/x", { headers = upgrade }).status)
  end)

  it("lets the host's own pages open a WebSocket, whose origin nobody lists", function()
    local upgrade = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    local function status(name, host, more)
      local opts = origin(name, upgrade .. (more or ""))
      opts.host = host
      return g:ask("GET /p/x", opts).status
    end
    assert.equal(200, status("https://own.example", "own.example"))
    assert.equal(200, status("https://own.example:8443", "own.example:8443"))
    assert.equal(403, status("https://own.example:8443", "own.example"))
    assert.equal(403, status("https://own.example.evil.example", "own.example"))
    assert.equal(403, status("null", "own.example"))
    assert.equal(403, status("https://own.example", "own.example", "Origin: https://evil.example\r\n"))
    local plain = origin("https://own.example")
    plain.host = "own.example"
    assert.is_nil(g:ask("GET /p/x", plain).headers["access-control-allow-origin"])
  end)

  it("lets the WebSocket of an allowed page open, with its fields on the answer", function()
    policy.real_only "an upstream at a port"
    local up = upstream.listen()
    local g2 = policy.start {
      top = ('gw.upstream("ws", { "%s" })'):format(up:url()),
      use = [[ { "cors", origins = { "https://a.example" } }, "security_headers" ]],
      routes = 'gw.route("GET /ws", { to = "ws", websocket = true })',
    }
    local s = g2:connect()
    s:send("GET /p/ws HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example\r\nConnection: Upgrade\r\n"
      .. "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    local conn = up:accept()
    assert.truthy(upstream.head(conn))
    conn:send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
      .. "Access-Control-Allow-Origin: *\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello")
    local head = upstream.head(s)
    assert.truthy(head:find("^HTTP/1.1 101 "), head)
    assert.truthy(head:find("Access-Control-Allow-Origin: https://a.example", 1, true), head)
    assert.truthy(head:find("X-Frame-Options: SAMEORIGIN", 1, true), head)
    assert.equal("hello", s:receive(5))
    s:close()
    conn:close()
    up:close()
  end)

  it("refuses a list that could allow more than it says", function()
    for entry, why in pairs {
      ['"https://a.example/"'] = "is no origin", ['"https://A.example"'] = "is no origin",
      ['"a.example"'] = "is no origin", ['"https://*"'] = "is no origin", ['"https://a.*.example"'] = "is no origin",
      ['"https://*a.example"'] = "is no origin", ['"https://a.example:"'] = "is no origin",
      ['"https://a.example:x"'] = "no port", ['"*", "null"'] = "stands alone",
    } do
      local text, code = policy.check { use = [[ { "cors", origins = { ]] .. entry .. " } } " }
      assert.equal(1, code, entry)
      assert.truthy(text:find(why, 1, true), text)
    end
    local text, code = policy.check { use = [[ { "cors", origins = { "*" }, credentials = true } ]] }
    assert.equal(1, code)
    assert.truthy(text:find("does not go together", 1, true), text)
  end)
end)
