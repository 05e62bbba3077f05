--- TLS to servers: upstreams, gw.http, gw.redis, JWKS; against openssl's own server, a gateway and redis-server.
local gateway = require "spec.support.gateway"
local pki = require "spec.support.pki"
local redis = require "spec.support.redis"
local socket = require "socket"

local function site(text) return { ["gateway.lua"] = text } end

describe("an https upstream", function()
  local ca, other, dir, server, mutual
  teardown(gateway.stop_all)

  -- a gateway whose listener speaks TLS is the upstream
  local function tls_gateway(cert, more)
    return gateway.start { ["gateway.lua"] = ([[
      local gw = require "moonlatch"
      gw.listen { host = "127.0.0.1", port = PORT, tls = { cert = %q, key = %q%s } }
      gw.route("* /*rest", { respond = function(req)
        local text = req:text { max = 10000000 }
        return gw.response(200, req.method .. " " .. req.scheme .. " " .. req.host .. " " .. #text, {
          ["X-Sni"] = req.tls.sni or "none", ["X-Client"] = req.tls.client and req.tls.client.subject or "none" })
      end })]]):format(cert.cert, cert.key, more or "") }
  end

  local function front(url, tls)
    return gateway.start({
      ["gateway.lua"] = ([[
        local gw = require "moonlatch"
        gw.listen { host = "127.0.0.1", port = PORT }
        gw.upstream("up", { %q, retries = 0, max_fails = 0%s })
        local tls = gw.client_tls(%s)
        gw.route("* /http", { respond = function(req)
          local res, code = gw.http.get(%q, { tls = tls })
          return gw.response(200, res and res.body or code)
        end })
        gw.route("* /*rest", { to = "up" })]]):format(url, tls and ", tls = " .. tls or "", tls or "{}", url .. "/x"),
      ["ca.pem"] = gateway.read(ca.cert), ["other.pem"] = gateway.read(other.cert),
      ["client.pem"] = gateway.read(dir .. "/client.pem"), ["client-key.pem"] = gateway.read(dir .. "/client-key.pem"),
    })
  end

  setup(function()
    dir = gateway.folder()
    ca, other = pki.authority(dir, "ca"), pki.authority(dir, "other")
    pki.certificate(dir, "client", ca, { "client.test" })
    local cert = pki.certificate(dir, "server", ca, { "localhost", "api.test" })
    server = tls_gateway(cert)
    mutual = tls_gateway(cert, (', client_auth = "required", client_ca = %q'):format(ca.cert))
  end)

  it("is spoken to when its certificate is good, over connections that are kept", function()
    local g = front("https://localhost:" .. server.port, '{ ca = "ca.pem" }')
    for _ = 1, 3 do
      local res = g:ask("GET /a")
      assert.equal("GET https localhost 0", res.body)
      assert.equal("localhost", res.headers["x-sni"])
    end
    local body = ("x"):rep(3000000)
    assert.equal("POST https localhost 3000000", g:ask("POST /a", { body = body }).body)
    assert.equal("GET https localhost 0", g:ask("GET /http").body)
  end)

  it("is refused when nobody known has signed its certificate, or it is for another name", function()
    for _, tls in ipairs { '{ ca = "other.pem" }', '{ ca = "ca.pem", name = "other.test" }', "{}" } do
      local g = front("https://localhost:" .. server.port, tls)
      local res = g:ask("GET /a")
      assert.equal(502, res.status)
      assert.truthy(res.body:find('"error":"upstream_tls"', 1, true))
      assert.equal("upstream_tls", g:ask("GET /http").body)
      g:wait_for_log("no TLS with an upstream server")
      g:stop()
    end
  end)

  it("may have another name, or be anybody when the site says so", function()
    local g = front("https://127.0.0.1:" .. server.port, '{ ca = "ca.pem", name = "api.test" }')
    assert.equal("api.test", g:ask("GET /a").headers["x-sni"])
    g:stop()
    g = front("https://127.0.0.1:" .. server.port, "{ verify = false }")
    local res = g:ask("GET /a")
    assert.equal(200, res.status)
    assert.equal("none", res.headers["x-sni"]) -- an address is no name (RFC 6066 section 3)
    g:stop()
    g = front("https://127.0.0.1:" .. server.port, '{ ca = "ca.pem" }')
    assert.equal(502, g:ask("GET /a").status)
  end)

  it("may ask for a certificate of ours", function()
    local g = front("https://localhost:" .. mutual.port, '{ ca = "ca.pem", cert = "client.pem", key = "client-key.pem" }')
    local res = g:ask("GET /a")
    assert.truthy(res.headers["x-client"]:find("client.test", 1, true), res.head)
    assert.equal(200, res.status)
    g:stop()
    g = front("https://localhost:" .. mutual.port, '{ ca = "ca.pem" }')
    assert.equal(502, g:ask("GET /a").status)
  end)

  it("does not take connections that were made under other settings, after a reload", function()
    local g = front("https://localhost:" .. server.port, '{ ca = "ca.pem" }')
    assert.equal(200, g:ask("GET /a").status)
    local text = gateway.read(g.dir .. "/gateway.lua")
    g:save("gateway.lua", (text:gsub('ca%.pem', 'other.pem')))
    gateway.eventually(function() return g:ask("GET /a").status == 502 end, "the other authority counts")
    g:save("gateway.lua", text)
    gateway.eventually(function() return g:ask("GET /a").status == 200 end, "the first one counts again")
  end)

  it("may have the keys that tokens are signed with", function()
    local cert = pki.certificate(dir, "issuer", ca, { "localhost" })
    local issuer = gateway.start { ["gateway.lua"] = ([[
      local gw = require "moonlatch"
      gw.listen { host = "127.0.0.1", port = PORT, tls = { cert = %q, key = %q } }
      local secret = "a secret of thirty-two bytes 1234"
      local keys = gw.jwt.keys { secret = secret, kid = "1" }
      gw.route("GET /token", { respond = function() return gw.response(200,
        gw.jwt.sign({ sub = "7" }, keys, { alg = "HS256", expires_in = 60 })) end })
      gw.route("GET /keys", { respond = function() return gw.response(200,
        { keys = { { kty = "oct", kid = "1", k = gw.base64_encode(secret, true) } } }) end })]]):format(
      cert.cert, cert.key) }
    local p = io.popen(("curl -s --cacert %s https://localhost:%d/token"):format(ca.cert, issuer.port))
    local token = p:read("*a")
    p:close()
    local function front_with(tls)
      return gateway.start { ["gateway.lua"] = ([[
        local gw = require "moonlatch"
        gw.listen { host = "127.0.0.1", port = PORT }
        gw.use { { "jwt", algorithms = { "HS256" }, jwks_url = "https://localhost:%d/keys"%s } }
        gw.route("GET /me", { respond = function(req) return gw.response(200, req.user.sub) end })]]):format(
        issuer.port, tls), ["ca.pem"] = gateway.read(ca.cert) }
    end
    local bearer = { headers = "Authorization: Bearer " .. token .. "\r\n" }
    local g = front_with(', jwks_tls = { ca = "ca.pem" }')
    gateway.eventually(function() return g:ask("GET /me", bearer).body == "7" end, "the keys are known")
    g = front_with("")
    assert.equal(503, g:ask("GET /me", bearer).status)
    g:wait_for_log("upstream_tls")
  end)

  it("that speaks no TLS, or says nothing, is a failure in time", function()
    local silent = assert(socket.bind("127.0.0.1", 0))
    local _, port = silent:getsockname()
    local g = front(("https://localhost:%d"):format(port), "{ verify = false }")
    local res = g:ask("GET /a")
    assert.equal(504, res.status)
    assert.truthy(res.body:find("upstream_connect_timeout", 1, true), res.body)
    silent:close()
    g:stop()
    local plain = gateway.start(site [[
      local gw = require "moonlatch"
      gw.listen { host = "127.0.0.1", port = PORT } gw.route("GET /", { respond = gw.response(200) })]])
    g = front("https://localhost:" .. plain.port, "{ verify = false }")
    assert.equal(502, g:ask("GET /a").status)
  end)

  it("is checked when the site is loaded", function()
    local function refused(tls)
      local folder = gateway.folder()
      gateway.write(folder .. "/gateway.lua", ([[
        local gw = require "moonlatch"
        gw.listen { port = 8080 }
        gw.upstream("up", { "https://h", tls = %s })]]):format(tls))
      gateway.write(folder .. "/bad.pem", "no certificate")
      local p = io.popen(("%s check %s 2>&1"):format(gateway.binary, folder))
      local text = p:read("*a")
      p:close()
      assert.truthy(text:find("gateway.lua:3", 1, true), text)
      return text
    end
    assert.truthy(refused('{ ca = "none.pem" }'):find("cannot read the file none.pem", 1, true))
    assert.truthy(refused('{ ca = "bad.pem" }'):find("ca", 1, true))
    assert.truthy(refused('{ ciphers = { "NOPE" } }'):find("NOPE", 1, true))
    assert.truthy(refused('{ cert = "-----BEGIN X" }'):find("go together", 1, true))
    assert.truthy(refused('{ min_version = "1.1" }'):find("min_version", 1, true))
    assert.truthy(refused('{ color = 1 }'):find("color", 1, true))
  end)
end)

describe("rediss", function()
  local dir, ca, pair, client
  teardown(function()
    gateway.stop_all()
    redis.stop_all()
  end)

  setup(function()
    dir = gateway.folder()
    ca = pki.authority(dir, "ca")
    pair, client = pki.certificate(dir, "redis", ca, { "localhost", "127.0.0.1" }), pki.certificate(dir, "me", ca, { "me" })
  end)

  local function front(url, opts)
    return gateway.start({
      ["gateway.lua"] = ([[
        local gw = require "moonlatch"
        gw.listen { host = "127.0.0.1", port = PORT }
        local r = gw.redis(%q, %s)
        gw.route("GET /set/:k/:n", { respond = function(req)
          local ok, code, why = r:set(req.params.k, ("v"):rep(tonumber(req.params.n)))
          return gw.response(200, ok or code .. " " .. why)
        end })
        gw.route("GET /get/:k", { respond = function(req)
          local v, code, why = r:get(req.params.k)
          return gw.response(200, v and tostring(#v) or code .. " " .. why)
        end })]]):format(url, opts),
      ["ca.pem"] = gateway.read(ca.cert), ["me.pem"] = gateway.read(client.cert), ["me-key.pem"] = gateway.read(client.key),
    })
  end

  it("is Redis over TLS, small and large values", function()
    local args, port = redis.tls(pair, ca)
    redis.start(args)
    local g = front(("rediss://localhost:%d"):format(port), '{ tls = { ca = "ca.pem" } }')
    for _, n in ipairs { 1, 1000, gateway.hard and 30000 or 3000000 } do
      assert.equal("OK", g:ask("GET /set/a/" .. n).body)
      assert.equal(tostring(n), g:ask("GET /get/a").body)
    end
  end)

  it("says why it can not be trusted", function()
    local args, port = redis.tls(pair, ca)
    redis.start(args)
    local g = front(("rediss://localhost:%d"):format(port), "{}")
    local body = g:ask("GET /get/a").body
    assert.truthy(body:find("redis_unavailable", 1, true), body)
    assert.truthy(body:find("TLS: ", 1, true), body)
  end)

  it("shows a certificate of ours to a server that wants one", function()
    local args, port = redis.tls(pair, ca, "yes")
    redis.start(args)
    local g = front(("rediss://localhost:%d"):format(port), '{ tls = { ca = "ca.pem", cert = "me.pem", key = "me-key.pem" } }')
    assert.equal("OK", g:ask("GET /set/a/5").body)
    g:stop()
    g = front(("rediss://localhost:%d"):format(port), '{ tls = { ca = "ca.pem" } }')
    assert.truthy(g:ask("GET /set/a/5").body:find("redis_unavailable", 1, true))
  end)

  it("is a cluster too", function()
    local nodes = redis.cluster(3, pair, ca)
    local g = front(("rediss+cluster://127.0.0.1:%d"):format(nodes[1].tls_port), '{ tls = { ca = "ca.pem" } }')
    for i = 1, 30 do
      assert.equal("OK", g:ask(("GET /set/k%d/%d"):format(i, i)).body)
      assert.equal(tostring(i), g:ask("GET /get/k" .. i).body)
    end
  end)
end)
