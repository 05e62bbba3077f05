--- HTTP/2 to servers: a second gateway is the server, or nghttp2's nghttpd.
local gateway = require "spec.support.gateway"
local pki = require "spec.support.pki"
local socket = require "socket"

local function sh(command)
  local p = io.popen(command .. " 2>&1")
  local text = p:read("*a")
  p:close()
  return text
end

local function stop(pid)
  require "posix.signal".kill(pid, 15)
  require "posix.sys.wait".wait(pid)
end

local function await(port)
  gateway.eventually(function()
    local probe = socket.connect("127.0.0.1", port)
    if probe then probe:close() end
    return probe
  end, "a server")
end

local SERVER = [[
  local gw = require "moonlatch"
  gw.listen { host = "127.0.0.1", port = PORT, limits = { body = 64000000 } }
  gw.listen { host = "127.0.0.1", port = PORT2, tls = { cert = %q, key = %q }, limits = { body = 64000000 } }
  gw.listen { host = "127.0.0.1", port = PORT3, tls = { cert = %q, key = %q }, http2 = false }
  gw.route("GET /big", { respond = function() return gw.response(200, ("x"):rep(5000000)) end })
  gw.route("GET /none", { respond = function() return gw.response(204) end })
  gw.route("* /*rest", { respond = function(req)
    local text = req:text { max = 64000000 } or ""
    return gw.response(200, table.concat({ req.version, req.method, req.path, req.host, #text }, " "), {
      ["X-Via"] = req:header("via"), ["X-For"] = req:header("x-forwarded-for"), ["X-Te"] = req:header("te") or "none",
      ["X-Up"] = req:header("upgrade") or "none", ["X-Proto"] = req:header("x-forwarded-proto") })
  end })]]

describe("an upstream of HTTP/2", function()
  local ca, server, cert
  teardown(gateway.stop_all)

  setup(function()
    local dir = gateway.folder()
    ca = pki.authority(dir, "ca")
    cert = pki.certificate(dir, "server", ca, { "localhost" })
    server = gateway.start { ["gateway.lua"] = SERVER:format(cert.cert, cert.key, cert.cert, cert.key) }
  end)

  local function front(url, more)
    return gateway.start({
      ["gateway.lua"] = ([[
        local gw = require "moonlatch"
        gw.listen { host = "127.0.0.1", port = PORT, limits = { body = 64000000 } }
        gw.upstream("up", { %q, retries = 0%s })
        gw.route("GET /denied", { respond = function() return gw.response(403, "not you") end })
        gw.route("* /*rest", { to = "up" })]]):format(url, more or ""),
      ["ca.pem"] = gateway.read(ca.cert),
    }, { args = { "--workers", "1" } })
  end

  local function connections_of(port)
    local count = 0
    for line in io.lines("/proc/net/tcp") do
      if line:find((":%04X 01 "):format(port), 1, true) and line:find(" 0100007F:%x+ 0100007F:") then count = count + 1 end
    end
    return count
  end

  it("gets requests of HTTP/1.1 and HTTP/2 over one plain connection", function()
    local g = front("h2c://127.0.0.1:" .. server.port .. "/base")
    for _ = 1, 5 do
      local res = g:ask("GET /a")
      assert.equal("2.0 GET /base/a 127.0.0.1 0", res.body)
      assert.equal("127.0.0.1", res.headers["x-for"])
      assert.equal("1.1 moonlatch", res.headers["x-via"])
      assert.equal("none", res.headers["x-te"])
    end
    local out = sh(("h2load -n 500 -c 5 -m 20 http://127.0.0.1:%d/b"):format(g.port))
    assert.truthy(out:find("500 succeeded, 0 failed", 1, true), out)
    assert.equal(1, connections_of(server.port))
    g:stop()
  end)

  it("gets bodies of any length, and sends them", function()
    local g = front("h2c://127.0.0.1:" .. server.port)
    local body = ("y"):rep(3000000)
    assert.equal("2.0 POST /up 127.0.0.1 3000000", g:ask("POST /up", { body = body }).body)
    assert.equal(5000000, #g:ask("GET /big").body)
    assert.equal(204, g:ask("GET /none").status)
    local head = g:ask("HEAD /big")
    assert.equal("5000000", head.headers["content-length"])
    local chunked = g:raw("POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
      .. "5\r\nhello\r\n0\r\n\r\n")
    assert.truthy(chunked:find("2.0 POST /c 127.0.0.1 5", 1, true), chunked)
    g:stop()
  end)

  it("has no part in an upgrade", function()
    local g = front("h2c://127.0.0.1:" .. server.port)
    local res = g:ask("GET /a", { headers = "Upgrade: h2c\r\nConnection: upgrade, te\r\nTE: trailers\r\n" })
    assert.equal("none", res.headers["x-up"])
    g:stop()
  end)

  it("speaks TLS when it agrees to h2", function()
    local g = front("h2://localhost:" .. server.ports.PORT2, ', tls = { ca = "ca.pem" }, preserve_host = true')
    local res = g:ask("GET /a")
    assert.equal("2.0 GET /a test.example 0", res.body)
    assert.equal("2.0 POST /a test.example 3", g:ask("POST /a", { body = "abc" }).body)
    g:stop()
    g = front("h2://localhost:" .. server.ports.PORT3, ', tls = { ca = "ca.pem" }')
    res = g:ask("GET /a")
    assert.equal(502, res.status)
    assert.truthy(res.body:find('"error":"upstream_tls"', 1, true))
    g:wait_for_log("no TLS with an upstream server")
    g:stop()
    local port = gateway.free_port() -- one that has not heard of ALPN
    local pid = gateway.spawn({ "openssl", "s_server", "-quiet", "-accept", tostring(port), "-cert", cert.cert,
      "-key", cert.key })
    await(port)
    g = front("h2://localhost:" .. port, ', tls = { ca = "ca.pem" }')
    assert.equal(502, g:ask("GET /a").status)
    g:wait_for_log("did not agree to HTTP/2")
    stop(pid)
    g:stop()
  end)

  it("that is none gets a 502, one that is away a 503", function()
    local dead = gateway.free_port()
    local g = front("h2c://127.0.0.1:" .. dead)
    assert.equal(503, g:ask("GET /a").status)
    g:stop()
    local listener = assert(socket.bind("127.0.0.1", 0))
    local _, port = listener:getsockname()
    g = front("h2c://127.0.0.1:" .. port)
    local client = g:connect()
    client:send("GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    local peer = assert(listener:accept())
    peer:send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    local answer = client:receive("*a")
    assert.truthy(answer:find("^HTTP/1.1 502"), answer)
    g:wait_for_log("an HTTP/2 connection to a server broke")
    peer:close()
    listener:close()
    client:close()
    g:stop()
  end)

  it("is asked by health checks, and goes on through a reload", function()
    local g = front("h2c://127.0.0.1:" .. server.port, ', health = { path = "/live", interval = 0.2 }')
    assert.equal(200, g:ask("GET /a").status)
    local _, code = g:command("reload", "--wait")
    assert.equal(0, code)
    assert.equal(200, g:ask("GET /a").status)
    g:stop()
  end)

  it("has options that are checked", function()
    local text = [[local gw = require "moonlatch"
      gw.listen { host = "127.0.0.1", port = PORT }
      gw.upstream("up", { "h2c:///x" })
      gw.route("* /*rest", { to = "up" })]]
    local g = gateway.start({ ["gateway.lua"] = text }, { wait = false })
    gateway.eventually(function() return not g:alive() end, "its end")
    assert.truthy(g:output():find("gateway.lua:3: gw.upstream(\"up\"): \"h2c:///x\": the host is missing", 1, true), g:output())
  end)

  it("of nghttp2 gives pages, and trailers", function()
    local dir = gateway.folder()
    gateway.write(dir .. "/page.txt", ("line\n"):rep(50000))
    local port = gateway.free_port()
    local pid = gateway.spawn({ "nghttpd", "--no-tls", "-a", "127.0.0.1", "-d", dir, "--trailer", "x-sum: 7",
      tostring(port) })
    await(port)
    local g = front("h2c://127.0.0.1:" .. port)
    assert.equal(250000, #g:ask("GET /page.txt").body)
    local out = sh(("nghttp -v http://127.0.0.1:%d/page.txt"):format(g.port))
    assert.truthy(out:find("x-sum: 7", 1, true), "the trailer came")
    stop(pid)
    g:stop()
  end)
end)
