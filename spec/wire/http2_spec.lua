--- HTTP/2 with real clients: curl, nghttp and h2load, on the real binary.
local gateway = require "spec.support.gateway"
local h2 = require "spec.support.h2"

local SITE = [[
  local gw = require "moonlatch"
  gw.listen { port = PORT, host = "127.0.0.1"%s }
  gw.upstream("self", { "http://127.0.0.1:PORT/x" })
  gw.route("GET /version", { respond = function(req) return gw.response(200, req.version .. " " .. req.host) end })
  gw.route("POST /echo", { respond = function(req)
    return gw.response(200, (req:text { max = 4 * 1024 * 1024 }) or "none")
  end })
  gw.mount("metrics")
  gw.route("GET /big", { respond = gw.response(200, ("x"):rep(1000000)) })
  gw.route("GET /via/*rest", { to = "self" })
]]

local function sh(command)
  local p = io.popen("( " .. command .. " ) 2>&1")
  local text = p:read("*a")
  p:close()
  return text
end

local function start(options)
  return gateway.start({ ["gateway.lua"] = SITE:format(options or "") }, { args = { "--workers", "1" } })
end

describe("HTTP/2 by prior knowledge", function()
  after_each(gateway.stop_all)

  local function curl(g, path, args)
    return sh(("curl -sS --max-time 20 --http2-prior-knowledge %s http://127.0.0.1:%d%s"):format(args or "", g.port,
      path))
  end

  it("answers curl, by the script and by an upstream", function()
    local g = start()
    assert.equal("2.0 127.0.0.1 2", curl(g, "/version", "-w ' %{http_version}'"))
    assert.equal("body", curl(g, "/echo", "-d body"))
    local answer = curl(g, "/via/x", "-i")
    assert.truthy(answer:find("^HTTP/2 404"))
  end)

  it("carries large bodies both ways", function()
    local g = start()
    local file = gateway.folder() .. "/body"
    gateway.write(file, ("0123456789"):rep(300000))
    local code_and_size = " -o /dev/null -w '%{http_code} %{size_download}'"
    assert.equal("200 3000000", curl(g, "/echo", "--data-binary @" .. file .. code_and_size))
    assert.equal("200 1000000", curl(g, "/big", code_and_size))
  end)

  it("answers a body over the limit while it is still sent", function()
    local g = start(", limits = { body = 100000 }")
    local file = gateway.folder() .. "/body"
    gateway.write(file, ("0123456789"):rep(300000))
    assert.equal("413", curl(g, "/echo", "--data-binary @" .. file .. " -o /dev/null -w '%{http_code}'"))
  end)

  it("serves many streams of many connections", function()
    local g = start()
    local said = sh(("h2load -n 5000 -c 10 -m 50 http://127.0.0.1:%d/version"):format(g.port))
    assert.truthy(said:find("5000 succeeded, 0 failed, 0 errored", 1, true), said)
    said = sh(("h2load -n 100 -c 2 -m 10 http://127.0.0.1:%d/big"):format(g.port))
    assert.truthy(said:find("100 succeeded, 0 failed, 0 errored", 1, true), said)
  end)

  it("speaks to nghttp with its priorities, and says what it allows", function()
    local g = start(", limits = { streams = 7 }")
    local said = sh(("nghttp -nv http://127.0.0.1:%d/version"):format(g.port))
    assert.truthy(said:find("SETTINGS_MAX_CONCURRENT_STREAMS%(0x03%):7"), said)
    assert.truthy(said:find(":status: 200", 1, true), said)
  end)

  it("loses no request by a reload", function()
    local g = start()
    local out = gateway.folder() .. "/load"
    local pid = gateway.spawn({ "h2load", "-n", "20000", "-c", "4", "-m", "10",
      "http://127.0.0.1:" .. g.port .. "/version" }, {}, out)
    for _ = 1, 3 do g:command("reload", "--wait") end
    gateway.eventually(function() return gateway.read(out):find("requests:", 1, true) end, "the end of the load")
    require("posix.sys.wait").wait(pid)
    assert.truthy(gateway.read(out):find("20000 succeeded, 0 failed, 0 errored", 1, true), gateway.read(out))
  end)

  it("gives a client that closes its side what is ready", function()
    local g = start()
    local c = h2.open(g:connect())
    c:headers(1, h2.get("/version"), "end")
    c.socket:shutdown("send")
    assert.equal("2.0 test.example", c:answer(1).body)
    c:await(function() return c.closed end)
    c:close()
  end)

  it("is told in the access log", function()
    local g = start()
    curl(g, "/version", "-o /dev/null")
    g:ask("GET /version")
    g:wait_for_log('"protocol":"HTTP/2.0","method":"GET","url":"/version"')
    g:wait_for_log('"protocol":"HTTP/1.1","method":"GET","url":"/version"')
  end)

  it("tells how many were told to calm down", function()
    local g = start()
    local c = h2.open(g:connect())
    for _ = 1, 600 do c:send("PING", "", 0, "12345678") end
    assert.equal("ENHANCE_YOUR_CALM", c:fate())
    assert.truthy(g:ask("GET /metrics").body:find("\nmoonlatch_http2_calmed_total 1\n", 1, true))
    assert.truthy(g:ask("GET /metrics").body:find("\nmoonlatch_websockets 0\n", 1, true))
    assert.truthy(g:command("status", "--json"):find('"http2Calmed":1', 1, true))
  end)

  it("can be turned off", function()
    local g = start(", http2 = false")
    local client = g:connect()
    client:send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert.truthy(client:receive("*l"):find("^HTTP/1.1 505"))
    client:close()
  end)
end)

describe("HTTP/2 by ALPN", function()
  after_each(gateway.stop_all)

  local function version(g, args)
    return sh(("curl -sSk --max-time 20 %s -w ' %%{http_version}' https://127.0.0.1:%d/version"):format(args, g.port))
  end

  it("is what TLS clients get who can", function()
    local g = start(', tls = "self-signed"')
    assert.equal("2.0 127.0.0.1 2", version(g, "--http2"))
    assert.equal("1.1 127.0.0.1 1.1", version(g, "--http1.1"))
    local said = sh(("h2load -n 2000 -c 4 -m 25 https://127.0.0.1:%d/version"):format(g.port))
    assert.truthy(said:find("2000 succeeded, 0 failed, 0 errored", 1, true), said)
  end)

  it("carries files", function()
    local bytes = {}
    for i = 1, 5000 do bytes[i] = ("%d %s\n"):format(i * 7919 % 5000, ("z"):rep(i % 1000)) end
    local text = table.concat(bytes)
    local g = gateway.start({ ["gateway.lua"] = [[
      local gw = require "moonlatch"
      gw.listen { port = PORT, host = "127.0.0.1", tls = "self-signed" }
      gw.route("GET /files/*path", { respond = gw.static { root = "public" } })
    ]], ["public/large.txt"] = text, ["public/small.txt"] = "small" }, { args = { "--workers", "1" } })
    local out = gateway.folder() .. "/out"
    local function fetch(name, args)
      return sh(("curl -sSk --http2 --max-time 20 %s -o %s -w '%%{http_code} %%{http_version}' "
        .. "https://127.0.0.1:%d/files/%s"):format(args or "", out, g.port, name))
    end
    assert.equal("200 2", fetch("large.txt"))
    assert.truthy(gateway.read(out) == text)
    assert.equal("206 2", fetch("large.txt", "-r 100000-299999"))
    assert.truthy(gateway.read(out) == text:sub(100001, 300000))
    assert.equal("200 2", fetch("small.txt"))
    assert.equal("small", gateway.read(out))
    local said = sh(("h2load -n 60 -c 3 -m 10 https://127.0.0.1:%d/files/large.txt"):format(g.port))
    assert.truthy(said:find("60 succeeded, 0 failed, 0 errored", 1, true), said)
    assert.truthy(said:find(("%d) data"):format(60 * #text), 1, true), said)
  end)

  it("is not offered when it is off", function()
    local g = start(', tls = "self-signed", http2 = false')
    assert.equal("1.1 127.0.0.1 1.1", version(g, "--http2"))
  end)
end)
