--- Listeners with TLS: against curl and openssl s_client.
local gateway = require "spec.support.gateway"
local pki = require "spec.support.pki"
local socket = require "socket"

local dir, ca, other

local function sh(command)
  local p = io.popen("( " .. command .. " ) 2>&1")
  local text = p:read("*a")
  p:close()
  return text
end

local function site(listen, more)
  return { ["gateway.lua"] = ([[
    local gw = require "moonlatch"
    gw.listen { host = "127.0.0.1", port = PORT%s }
    gw.route("GET /", { respond = function(req)
      local tls = req.tls or {}
      return gw.response(200, { scheme = req.scheme, version = tls.version, cipher = tls.cipher, sni = tls.sni,
        alpn = tls.alpn, resumed = tls.resumed, client = tls.client, http = req.version })
    end })
    gw.route("POST /", { respond = function(req) return gw.response(200, req:text { max = 4000000 }) end })
    %s]]):format(listen, more or "") }
end

local function tls_of(pair, more)
  return (", tls = { cert = %q, key = %q%s }"):format(pair.cert, pair.key, more or "")
end

-- curl to the gateway under a name that the certificate has
local function curl(g, args, name)
  name = name or "a.test"
  return sh(("curl -sS --max-time 20 --cacert %s --connect-to %s:%d:127.0.0.1:%d %s https://%s:%d/"):format(
    ca.cert, name, g.port, g.port, args or "", name, g.port))
end

-- what s_client says of a handshake, and of one request when there is an answer
local function s_client(g, args, request)
  return sh(([[printf '%s' | timeout 20 openssl s_client -connect 127.0.0.1:%d -CAfile %s -ign_eof %s]]):format(
    request or [[GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n]], g.port, ca.cert, args or ""))
end

local function refused(listen, expected)
  local base = gateway.folder()
  for name, text in pairs(site(listen)) do
    gateway.write(base .. "/" .. name, (text:gsub("PORT", "8443")))
  end
  local text = sh(gateway.binary .. " check " .. base .. "; echo code=$?")
  assert.truthy(text:find(expected, 1, true), text)
  assert.truthy(text:find("gateway.lua:2:", 1, true), text)
  assert.is_nil(text:find("PRIVATE", 1, true))
  assert.is_nil(text:find("code=0", 1, true))
end

setup(function()
  dir = gateway.folder()
  ca, other = pki.authority(dir, "ca"), pki.authority(dir, "other")
end)
teardown(gateway.stop_all)

describe("a listener with TLS", function()
  local g, cert

  setup(function()
    cert = pki.certificate(dir, "a", ca, { "a.test", "127.0.0.1" })
    g = gateway.start(site(tls_of(cert)))
  end)

  it("speaks HTTP/2 and HTTP/1.1, as agreed in the handshake", function()
    local h2, h1 = curl(g), curl(g, "--http1.1")
    assert.truthy(h2:find('"alpn":"h2"', 1, true) and h2:find('"http":"2.0"', 1, true), h2)
    assert.truthy(h1:find('"alpn":"http/1.1"', 1, true) and h1:find('"http":"1.1"', 1, true), h1)
    for _, text in ipairs { h1, h2 } do
      assert.truthy(text:find('"scheme":"https"', 1, true))
      assert.truthy(text:find('"sni":"a.test"', 1, true))
      assert.truthy(text:find('"version":"TLSv1.3"', 1, true))
    end
  end)

  it("refuses what is old: versions, ciphers, renegotiation, foreign protocols", function()
    assert.truthy(s_client(g, "-tls1_1 -cipher ALL:@SECLEVEL=0"):find("Cipher is (NONE)", 1, true))
    assert.truthy(s_client(g, "-tls1_2 -cipher AES128-SHA:@SECLEVEL=0"):find("Cipher is (NONE)", 1, true))
    assert.truthy(s_client(g, "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA"):find("Cipher is (NONE)", 1, true))
    assert.truthy(s_client(g, "-alpn smtp"):find("no application protocol", 1, true))
    assert.truthy(s_client(g, "-tls1_2"):find("Cipher is ECDHE-ECDSA-AES128-GCM-SHA256", 1, true))
    local text = sh(("(printf 'R\\n'; sleep 1) | timeout 20 openssl s_client -tls1_2 -connect 127.0.0.1:%d"):format(g.port))
    assert.truthy(text:find("no renegotiation", 1, true), text)
  end)

  it("resumes sessions whichever worker meets them, in TLS 1.2 and 1.3", function()
    for _, version in ipairs { "-tls1_2", "-tls1_3" } do
      local kept = dir .. "/session" .. version
      s_client(g, version .. " -sess_out " .. kept)
      local workers = 0
      for _ = 1, 12 do
        local text = s_client(g, version .. " -sess_in " .. kept)
        if text:find("Reused, TLSv1", 1, true) and text:find('"resumed":true', 1, true) then workers = workers + 1 end
      end
      assert.equal(12, workers)
    end
  end)

  it("ends a connection with rubbish on it, and goes on", function()
    for _, bytes in ipairs { ("\0"):rep(600), "\22\3\1\255\255" .. ("x"):rep(70000) } do
      assert.is_nil(g:raw(bytes):find("HTTP/", 1, true))
    end
    assert.truthy(curl(g):find('"scheme"', 1, true))
  end)

  it("tells plain HTTP, in plain HTTP, that it is wrong here", function()
    for _, line in ipairs { "GET / HTTP/1.1", "DELETE /x HTTP/1.1", "OPTIONS * HTTP/1.1", "PRI * HTTP/2.0" } do
      local answer, err = g:raw(line .. "\r\nHost: a.test\r\n\r\n")
      local res = gateway.parse(answer)
      assert.equal(400, res.status)
      assert.equal("application/json", res.headers["content-type"])
      assert.equal(res.headers["content-length"], tostring(#res.body))
      assert.truthy(res.body:find('^{"error":"bad_request","message":"[^"]+"}\n$'), res.body)
      assert.is_nil(err) -- an end, no reset
    end
    assert.equal("400", sh(("curl -s -o /dev/null -w '%%{http_code}' http://127.0.0.1:%d/"):format(g.port)))
  end)

  it("counts handshakes that fail, by their reason", function()
    local own = gateway.start(site(tls_of(cert, ", handshake_timeout = 0.2"),
      'gw.listen { host = "127.0.0.1", port = PORT2 } gw.mount("metrics")'))
    local function counted(reason, n)
      local line = ('moonlatch_tls_handshake_failures_total{reason="%s"} %d\n'):format(reason, n)
      gateway.eventually(function()
        return own:ask("GET /metrics", { port = own.ports.PORT2 }).body:find(line, 1, true)
      end, line)
    end
    own:raw("GET / HTTP/1.1\r\n\r\n")
    own:raw("POST / HTTP/1.1\r\n\r\n")
    counted("http", 2)
    own:raw(("\0"):rep(600))
    counted("protocol", 1)
    s_client(own, "-tls1_1 -cipher ALL:@SECLEVEL=0")
    counted("version", 1)
    s_client(own, "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA")
    counted("cipher", 1)
    s_client(own, "-alpn smtp")
    counted("alpn", 1)
    sh(("curl -s --max-time 20 https://127.0.0.1:%d/"):format(own.port)) -- it does not know who signed it
    counted("alert", 1)
    own:connect():close()
    counted("closed", 1)
    own:raw("\22\3\1\0\200")
    counted("timeout", 1)
    curl(own)
    curl(own, "--http1.1")
    local text = own:ask("GET /metrics", { port = own.ports.PORT2 }).body
    assert.equal(8, select(2, text:gsub("\nmoonlatch_tls_handshake_failures_total{", "")))
    own:stop()
  end)

  it("takes and gives large bodies", function()
    local file = dir .. "/large"
    gateway.write(file, ("0123456789abcdef"):rep(200000))
    for _, version in ipairs { "--http1.1", "--http2" } do
      local sum = sh("md5sum < " .. file)
      assert.equal(sum, sh((
        "curl -sS --cacert %s --data-binary @%s %s --connect-to a.test:%d:127.0.0.1:%d https://a.test:%d/ | md5sum")
        :format(ca.cert, file, version, g.port, g.port, g.port)))
    end
  end)

  it("gives up on a client that is slow with its handshake", function()
    local slow = gateway.start(site(tls_of(cert, ", handshake_timeout = 0.5")))
    local s = slow:connect()
    s:send("\22\3\1\0\200") -- the begin of a hello
    local _, err = s:receive(1)
    assert.equal("closed", err)
    s:close()
    slow:stop()
  end)
end)

describe("certificates", function()
  it("are chosen by the name that the client asks for, and by the kind of key it knows", function()
    local one = pki.certificate(dir, "one", ca, { "one.test" })
    local wild = pki.certificate(dir, "wild", ca, { "*.wild.test" })
    local rsa = pki.certificate(dir, "rsa", ca, { "one.test" }, { rsa = true })
    local list = {}
    for i, pair in ipairs { one, wild, rsa } do list[i] = ("{ cert = %q, key = %q }"):format(pair.cert, pair.key) end
    local g = gateway.start(site((", tls = { certificates = { %s } }"):format(table.concat(list, ", "))))
    assert.truthy(curl(g, nil, "one.test"):find('"sni":"one.test"', 1, true))
    assert.truthy(curl(g, nil, "x.wild.test"):find('"sni":"x.wild.test"', 1, true))
    assert.truthy(curl(g, nil, "x.y.wild.test"):find("SSL", 1, true))
    local text = s_client(g, "-servername one.test -sigalgs RSA-PSS+SHA256")
    assert.truthy(text:find("2048 bit", 1, true), text)
    g:stop()
  end)

  it("are changed while connections are open, and stay when the new ones do not fit", function()
    local base = gateway.folder()
    local first = pki.certificate(base, "first", ca, { "a.test" })
    local second = pki.certificate(base, "second", ca, { "a.test", "b.test" })
    local live = { cert = base .. "/live.crt", key = base .. "/live.key" }
    local function install(cert, key)
      if cert then os.execute(("cp %s %s.new && mv %s.new %s"):format(cert, live.cert, live.cert, live.cert)) end
      if key then os.execute(("cp %s %s.new && mv %s.new %s"):format(key, live.key, live.key, live.key)) end
    end
    install(first.cert, first.key)
    local g = gateway.start(site(tls_of(live), "gw.settings { poll_interval = 0.1 }"))
    local fifo = base .. "/fifo"
    os.execute("mkfifo " .. fifo)
    local open = io.popen(("openssl s_client -quiet -connect 127.0.0.1:%d < %s 2>/dev/null"):format(g.port, fifo))
    local to = io.open(fifo, "w")
    local function ask()
      to:write("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
      to:flush()
      local line = open:read("*l")
      local length
      repeat
        local field = open:read("*l")
        length = length or field:match("^Content%-Length: (%d+)")
      until field == "\r" or field == ""
      open:read(tonumber(length))
      return line
    end
    assert.truthy(ask():find("200", 1, true))
    install(second.cert) -- with the old key
    g:wait_for_log("is not the one of this certificate")
    assert.truthy(ask():find("200", 1, true))
    assert.is_nil(curl(g, nil, "b.test"):find('"scheme"', 1, true))
    assert.truthy((g:command("status")):find("is not the one of this certificate", 1, true))
    install(nil, second.key)
    g:wait_for_log('"reloaded"')
    assert.truthy(curl(g, nil, "b.test"):find('"scheme"', 1, true))
    assert.truthy(ask():find("200", 1, true))
    to:close()
    open:close()
    g:stop()
  end)

  it("can be files of the site", function()
    local pair = pki.certificate(dir, "inside", ca, { "a.test" })
    local files = site(', tls = { cert = "tls/a.pem", key = "tls/a.key" }')
    files["tls/a.pem"], files["tls/a.key"] = gateway.read(pair.cert), gateway.read(pair.key)
    local g = gateway.start(files)
    assert.truthy(curl(g):find('"scheme"', 1, true))
    g:stop()
  end)

  it("may have a key that only root can read, although scripts run as another user", function()
    if require("posix.unistd").getuid() ~= 0 then return end -- nobody else can start it so
    local pair = pki.certificate(dir, "root", ca, { "a.test" })
    os.execute("chmod 600 " .. pair.key)
    local files = site(tls_of(pair, "") .. ' }\n gw.settings { user = "nobody", poll_interval = 60')
    local g = gateway.start(files)
    os.execute("chmod -R a+rX " .. g.dir)
    assert.truthy(curl(g):find('"scheme"', 1, true))
    local second = pki.certificate(dir, "root-too", ca, { "a.test", "b.test" })
    os.execute("chmod 600 " .. second.key)
    g:save("gateway.lua", files["gateway.lua"]:gsub("/root%-key%.pem", "/root-too-key.pem"):gsub("/root%.pem", "/root-too.pem"))
    local text, code = g:command("reload", "--wait")
    assert.equal(0, code, text)
    assert.truthy(curl(g, nil, "b.test"):find('"scheme"', 1, true))
    g:stop()
  end)

  it("can be one for development, the same in all workers", function()
    local g, seen = gateway.start(site(', tls = "self-signed"')), {}
    for _ = 1, 8 do
      local print = sh(("openssl s_client -connect 127.0.0.1:%d </dev/null 2>/dev/null "
        .. "| openssl x509 -noout -fingerprint -ext subjectAltName"):format(g.port))
      assert.truthy(print:find("DNS:localhost", 1, true), print)
      seen[print] = true
    end
    assert.is_nil(next(seen, (next(seen))))
    g:stop()
  end)

  it("have an OCSP answer stapled to them", function()
    local base = gateway.folder()
    local pair = pki.certificate(base, "stapled", ca, { "a.test" })
    local serial = sh("openssl x509 -noout -serial -in " .. pair.cert):match("serial=(%x+)")
    gateway.write(base .. "/index.txt", ("V\t401231235959Z\t\t%s\tunknown\t/CN=a.test\n"):format(serial))
    sh(("cd %s && openssl ocsp -index index.txt -rsigner %s -rkey %s -CA %s -issuer %s -cert %s "
      .. "-respout answer.der -ndays 3 -noverify"):format(base, ca.cert, ca.key, ca.cert, ca.cert, pair.cert))
    local g = gateway.start(site(tls_of(pair, (", ocsp = %q"):format(base .. "/answer.der"))))
    assert.truthy(s_client(g, "-status"):find("OCSP Response Status: successful", 1, true))
    g:stop()
    refused(tls_of(pki.certificate(dir, "unstapled", ca, { "a.test" }), (", ocsp = %q"):format(base .. "/answer.der")),
      "about another certificate")
  end)
end)

describe("what is wrong with a listener's TLS", function()
  it("is said with file and line before anything is served", function()
    local a = pki.certificate(dir, "wrong", ca, { "a.test" })
    local b = pki.certificate(dir, "wrong-too", ca, { "a.test" })
    refused(tls_of({ cert = a.cert, key = b.key }), "is not the one of this certificate")
    refused(tls_of({ cert = dir .. "/nowhere.pem", key = a.key }), "cannot read the file " .. dir .. "/nowhere.pem")
    refused(tls_of({ cert = a.key, key = a.key }), "there is no certificate in it")
    refused(tls_of(a, ', ciphers = { "ECDHE-ECDSA-AES128-GCM-SHA256", "NOPE" }'), "there is no cipher 'NOPE'")
    refused(tls_of(a, ', curves = { "P-255" }'), "there is no curve 'P-255'")
    refused(tls_of(a, ', min_version = "1.1"'), "min_version")
    refused(tls_of(a, ', min_version = "1.3", max_version = "1.2"'), "above the greatest")
    refused(tls_of(a, ', client_auth = "required"'), "needs client_ca")
    refused(tls_of(a, (", client_ca = %q"):format(ca.cert)), "needs client_auth")
    refused(tls_of(a, ", cipher = {}"), '"cipher"')
    refused(', tls = "self"', '"self-signed"')
    refused(", tls = { cert = 'a.pem' }", "cert and key")
    refused(tls_of(a, ", certificates = { {} }"), "certificates takes the place")
    refused(', redirect = "http"', "https")
  end)
end)

describe("certificates of clients", function()
  local cert, client, stranger

  setup(function()
    cert = pki.certificate(dir, "server", ca, { "a.test", "b.test" })
    client = pki.certificate(dir, "client", ca, { "alice.test" })
    stranger = pki.certificate(dir, "stranger", other, { "alice.test" })
  end)

  local function start(auth)
    return gateway.start(site(tls_of(cert, (", client_auth = %q, client_ca = %q"):format(auth, ca.cert))))
  end
  local function with(pair) return ("--cert %s --key %s"):format(pair.cert, pair.key) end

  it("are demanded, verified and shown to scripts", function()
    local g = start("required")
    for _, version in ipairs { "--http1.1 --tls-max 1.2", "--http2" } do
      local text = curl(g, version .. " " .. with(client))
      assert.truthy(text:find('"subject":"CN=alice.test"', 1, true), text)
      assert.truthy(text:find('"issuer":"CN=ca"', 1, true))
      assert.truthy(text:find('"verified":true', 1, true))
      assert.truthy(text:find('"san":["DNS:alice.test"]', 1, true))
      assert.truthy(text:find('"fingerprint":"' .. sh("openssl x509 -noout -fingerprint -sha256 -in " .. client.cert)
        :match("=(%S+)"):gsub(":", ""):lower(), 1, true))
      assert.is_nil(curl(g, version):find('"scheme"', 1, true))
      assert.is_nil(curl(g, version .. " " .. with(stranger)):find('"scheme"', 1, true))
    end
    g:stop()
  end)

  it("are optional when the site says so, but never wrong", function()
    local g = start("optional")
    assert.truthy(curl(g, with(client)):find("alice.test", 1, true))
    local without = curl(g)
    assert.truthy(without:find('"scheme":"https"', 1, true))
    assert.is_nil(without:find('"client"', 1, true))
    assert.is_nil(curl(g, with(stranger)):find('"scheme"', 1, true))
    g:stop()
  end)

  it("are refused when they are revoked, from the moment that the file says so", function()
    local base = gateway.folder()
    local good = pki.certificate(dir, "good", ca, { "bob.test" })
    local function list(name, ...)
      return pki.revoke(base, name, ca, { ... })
    end
    local empty, full = list("empty"), list("full", client)
    local live = base .. "/live-crl.pem"
    os.execute(("cp %s %s"):format(empty, live))
    local g = gateway.start(site(tls_of(cert, (', client_auth = "required", client_ca = %q, client_crl = %q'):format(
      ca.cert, live)), 'gw.settings { poll_interval = 0.1 }'))
    local kept = dir .. "/session-crl"
    local function resumed()
      return s_client(g, ("-tls1_2 -cert %s -key %s -sess_in %s"):format(client.cert, client.key, kept))
    end
    s_client(g, ("-tls1_2 -cert %s -key %s -sess_out %s"):format(client.cert, client.key, kept))
    assert.truthy(resumed():find('"resumed":true', 1, true))
    os.execute(("cp %s %s.new && mv %s.new %s"):format(full, live, live, live))
    g:wait_for_log('"reloaded"')
    assert.is_nil(resumed():find('"resumed"', 1, true))
    assert.is_nil(curl(g, with(client)):find('"scheme"', 1, true))
    assert.truthy(curl(g, with(good)):find("bob.test", 1, true))
    g:stop()
    local want = ', client_auth = "required", client_ca = %q, client_crl = %q'
    gateway.write(base .. "/nothing.pem", "")
    gateway.write(base .. "/half.pem", gateway.read(full) .. "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
    for _, name in ipairs { "nothing.pem", "half.pem" } do
      refused(tls_of(cert, want:format(ca.cert, base .. "/" .. name)), "not lists of revoked certificates")
    end
    refused(tls_of(cert, (", client_crl = %q"):format(full)), "client_crl needs client_auth")
  end)

  it("count for the host that was asked for in the handshake", function()
    local g = start("required")
    local args = with(client) .. " -o /dev/null -w '%{http_code}'"
    assert.equal("200", curl(g, args))
    assert.equal("421", curl(g, args .. " -H 'Host: b.test'"))
    assert.equal("421", curl(g, args .. " --http1.1 -H 'Host: b.test'"))
    g:stop()
  end)
end)

describe("a listener that redirects", function()
  local g
  setup(function()
    g = gateway.start { ["gateway.lua"] = [[
      local gw = require "moonlatch"
      gw.listen { host = "127.0.0.1", port = PORT, redirect = "https" }
      gw.listen { host = "127.0.0.1", port = PORT2,
        redirect = { to = "https", port = 8443, status = 301, except = { "/.well-known/acme-challenge/" } } }
      gw.use { "security_headers" }
      gw.route("GET /*rest", { respond = function(req) return gw.response(200, "served " .. req.path) end })]] }
  end)

  it("says where the same is over TLS", function()
    local res = g:ask("GET /a%20b?x=1&y=%2F", { host = "shop.test:8080" })
    assert.equal(308, res.status)
    assert.equal("https://shop.test/a%20b?x=1&y=%2F", res.headers.location)
    assert.equal("https://[::1]/", g:ask("POST /", { host = "[::1]:80", body = "x" }).headers.location)
    assert.is_nil(res.headers["strict-transport-security"])
    assert.equal("nosniff", res.headers["x-content-type-options"])
  end)

  it("has its own status, port and exceptions", function()
    local port = g:port_of("PORT2")
    local res = g:ask("GET /a", { host = "shop.test", port = port })
    assert.equal(301, res.status)
    assert.equal("https://shop.test:8443/a", res.headers.location)
    assert.equal("served /.well-known/acme-challenge/t",
      g:ask("GET /.well-known/acme-challenge/t", { port = port }).body)
    assert.equal(301, g:ask("GET /.well-known/acme-challenge/../../x", { port = port }).status)
  end)

  it("may send everybody to one host", function()
    local one = gateway.start { ["gateway.lua"] = [[
      local gw = require "moonlatch"
      gw.listen { host = "127.0.0.1", port = PORT, redirect = { host = "www.shop.test" } }]] }
    assert.equal("https://www.shop.test/a", one:ask("GET /a", { host = "evil.test" }).headers.location)
    refused(', redirect = { host = "a/b" }', "must be a host")
  end)

  it("refuses what names no host", function()
    local s = socket.connect("127.0.0.1", g.port)
    s:settimeout(10)
    s:send("GET / HTTP/1.0\r\n\r\n")
    assert.truthy(s:receive("*l"):find("400", 1, true))
    s:close()
  end)
end)
