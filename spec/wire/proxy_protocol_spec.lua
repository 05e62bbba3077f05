--- The PROXY protocol on both sides: whom clients are said to be, and what upstreams are told.
local gateway = require "spec.support.gateway"
local upstream = require "spec.support.upstream"
local socket = require "socket"

local function site(options, more)
  return ([[
    local gw = require "moonlatch"
    gw.listen { port = PORT, host = "127.0.0.1", timeouts = { header = 1 }, %s }
    gw.route("GET /", { respond = function(req) return gw.response(200, req.ip .. " " .. req.peer_ip) end })
    %s
  ]]):format(options, more or "")
end

local trusting = [[proxy_protocol = { from = { "127.0.0.1" } }]]
local signature = "\r\n\r\n\0\r\nQUIT\n"
local get = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
local v2 = signature .. "\x21\x11\0\x0c\xc6\x33\x64\x09\x7f\0\0\1\x10\x01\0\x50"

local function body(bytes)
  return bytes and bytes:match("\r\n\r\n(.*)$")
end

describe("the PROXY protocol of clients", function()
  after_each(gateway.stop_all)

  it("says who the client is, in both versions, in any pieces", function()
    local g = gateway.start { ["gateway.lua"] = site(trusting) }
    assert.equal("192.0.2.7 192.0.2.7", body(g:raw("PROXY TCP4 192.0.2.7 127.0.0.1 5 80\r\n" .. get)))
    assert.equal("2001:db8::7 2001:db8::7", body(g:raw("PROXY TCP6 2001:db8::7 ::1 5 80\r\n" .. get)))
    assert.equal("198.51.100.9 198.51.100.9", body(g:raw(v2 .. get)))
    assert.equal("127.0.0.1 127.0.0.1", body(g:raw("PROXY UNKNOWN\r\n" .. get)))
    assert.equal("127.0.0.1 127.0.0.1", body(g:raw(signature .. "\x20\0\0\0" .. get)))
    for _, head in ipairs { "PROXY TCP4 192.0.2.7 127.0.0.1 5 80\r\n", v2 } do
      local s = g:connect()
      for i = 1, #head do s:send(head:sub(i, i)) end
      s:send(get)
      assert.truthy(body(s:receive("*a")):find("^%d+%.%d"))
      s:close()
    end
  end)

  it("must be spoken by those it is expected of", function()
    local g = gateway.start { ["gateway.lua"] = site(trusting) }
    assert.equal("", (g:raw(get)))
    assert.equal("", (g:raw("PROXY TCP4 192.0.2.7 127.0.0.1 5 80\n" .. get)))
    assert.equal("", (g:raw(signature .. "\x21\x12\0\x0c............" .. get)))
    assert.truthy(g:output():find("no PROXY header", 1, true))
    local s = g:connect()
    s:send("PROXY TCP4 192.0.2")
    assert.same({ "", "closed" }, { select(3, s:receive("*a")) or "", "closed" }) -- too late
    g:connect():close() -- a balancer's own check
    assert.equal("192.0.2.7 192.0.2.7", body(g:raw("PROXY TCP4 192.0.2.7 127.0.0.1 5 80\r\n" .. get)))
  end)

  it("is nothing but a bad request of others, or closes them", function()
    local g = gateway.start { ["gateway.lua"] = site([[proxy_protocol = { from = { "192.0.2.0/24" } }]]) }
    assert.equal("127.0.0.1 127.0.0.1", body(g:raw(get)))
    assert.truthy(g:raw("PROXY TCP4 192.0.2.7 127.0.0.1 5 80\r\n" .. get):find("^HTTP/1.1 400 "))
    g = gateway.start { ["gateway.lua"] = site([[proxy_protocol = { from = { "192.0.2.0/24" }, required = true }]]) }
    assert.equal("", (g:raw(get)))
  end)

  it("leads to the addresses that trusted_proxies speaks of", function()
    local g = gateway.start { ["gateway.lua"] = site(trusting .. [[, trusted_proxies = { "192.0.2.0/24" }]]) }
    local request = get:gsub("\r\n\r\n", "\r\nX-Forwarded-For: 203.0.113.5\r\n\r\n")
    assert.equal("203.0.113.5 192.0.2.7", body(g:raw("PROXY TCP4 192.0.2.7 127.0.0.1 5 80\r\n" .. request)))
    assert.equal("198.51.100.9 198.51.100.9", body(g:raw(v2 .. request)))
  end)

  it("comes before TLS", function()
    local g = gateway.start { ["gateway.lua"] = site(trusting .. [[, tls = "self-signed"]]) }
    local script = g.base .. "/client.sh"
    gateway.write(script, ([[
      printf 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n' |
        timeout 20 openssl s_client -quiet -connect 127.0.0.1:%d 2>&1
    ]]):format(g.port))
    -- openssl has no PROXY option for servers behind it: a relay says the header for it
    local relay = assert(socket.bind("127.0.0.1", 0))
    local _, port = relay:getsockname()
    gateway.write(script, (gateway.read(script):gsub(":" .. g.port, ":" .. port)))
    local p = io.popen("sh " .. script)
    local client, server = assert(relay:accept()), g:connect()
    server:send(v2)
    client:settimeout(0)
    server:settimeout(0)
    local open, pairs_of = true, { [client] = server, [server] = client }
    while open do
      for _, s in ipairs((socket.select({ client, server }, nil, 20))) do
        local all, err, part = s:receive(8192)
        pairs_of[s]:send(all or part or "")
        if err == "closed" then open = false end
      end
    end
    client:close()
    server:close()
    relay:close()
    assert.truthy(p:read("*a"):find("198.51.100.9 198.51.100.9", 1, true))
    p:close()
  end)

  it("is configured with the addresses it is believed from", function()
    for options, complaint in pairs {
      ["proxy_protocol = {}"] = 'gw.listen: proxy_protocol: option "from" is missing',
      ["proxy_protocol = { from = {} }"] = "at least 1",
      ['proxy_protocol = { from = { "x" } }'] = 'gateway.lua:2: gw.listen: proxy_protocol: "x" is no address',
    } do
      local g = gateway.start({ ["gateway.lua"] = site(options) }, { wait = false })
      assert.same({ "exited", 1 }, { g:wait() })
      assert.truthy(g:output():find(complaint, 1, true), g:output())
    end
  end)

  it("lets a port go that a reload takes away, and workers end", function()
    local g = gateway.start { ["gateway.lua"] = site(trusting) }
    local s = g:connect()
    s:send("PROXY ")
    g:signal("TERM")
    assert.same({ "exited", 0 }, { g:wait() })
    s:close()
  end)
end)

describe("the PROXY protocol to upstreams", function()
  local up
  before_each(function() up = upstream.listen() end)
  after_each(function()
    up:close()
    gateway.stop_all()
  end)

  local function forwarding(version)
    return site(trusting, ([[
      gw.upstream("up", { "%s", send_proxy = "%s" })
      gw.route("GET /up", { to = "up" })
    ]]):format(up:url(), version))
  end

  local answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

  it("names the client in version 1, and no two clients share a connection", function()
    local g = gateway.start { ["gateway.lua"] = forwarding("v1") }
    for i = 1, 2 do
      local s = g:connect()
      s:send(("PROXY TCP4 192.0.2.%d 127.0.0.1 4097 80\r\n"):format(i) .. get:gsub("GET /", "GET /up"))
      local c = assert(up:accept())
      assert.equal(("PROXY TCP4 192.0.2.%d 127.0.0.1 4097 %d"):format(i, up.port), (c:receive("*l"):gsub("\r", "")))
      local head = upstream.head(c)
      assert.truthy(head:find("^GET /up HTTP/1.1\n") and head:lower():find("\nconnection: close", 1, true))
      c:send(answer)
      assert.equal("ok", body(s:receive("*a")))
      s:close()
      c:close()
    end
  end)

  it("names the client in version 2", function()
    local g = gateway.start { ["gateway.lua"] = forwarding("v2") }
    local s = g:connect()
    s:send(v2 .. get:gsub("GET /", "GET /up"))
    local c = assert(up:accept())
    local head = c:receive(28)
    assert.equal(signature .. "\x21\x11\0\x0c\xc6\x33\x64\x09\x7f\0\0\1\x10\x01"
                 .. string.char(math.floor(up.port / 256), up.port % 256), head)
    assert.truthy(upstream.head(c):find("^GET /up HTTP/1.1\n"))
    c:send(answer)
    assert.equal("ok", body(s:receive("*a")))
    s:close()
    c:close()
  end)
end)
