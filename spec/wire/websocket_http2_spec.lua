--- WebSockets over HTTP/2 (RFC 8441): to upstreams of HTTP/1.1, and in scripts.
local gateway = require "spec.support.gateway"
local h2 = require "spec.support.h2"
local upstream = require "spec.support.upstream"
local websocket = require "spec.support.websocket"

local TEXT, CLOSE = 1, 8

local SERVER = [[
local gw = require "moonlatch"
gw.listen { host = "127.0.0.1", port = PORT }
gw.route("GET /*rest", { respond = gw.websocket({}, function(ws, req)
  gw.log.info("opened", { version = req.version })
  for message in ws:messages() do ws:send(message) end
end) })
]]

local SITE = [[
local gw = require "moonlatch"
gw.listen { host = "127.0.0.1", port = PORT%s }
gw.upstream("b", { "http://127.0.0.1:%d" })
gw.use { function(req, next)
  if req.args.token ~= "right" then return gw.error(401, "unauthorized", "no") end
  return next()
end }
gw.route("GET /ws", { to = "b", websocket = true })
gw.route("GET /plain", { to = "b" })
gw.route("GET /page", { respond = function(req) return gw.response(200, req.method .. req:header("upgrade")) end })
gw.route("GET /script", { respond = gw.websocket({ protocols = { "chat" } }, function(ws)
  for message in ws:messages() do ws:send(message:upper()) end
end) })
]]

local function ask(path, more)
  local fields = { { ":method", "CONNECT" }, { ":protocol", "websocket" }, { ":scheme", "http" }, { ":path", path },
    { ":authority", "test.example" }, { "sec-websocket-version", "13" } }
  for _, field in ipairs(more or {}) do fields[#fields + 1] = field end
  return h2.block(fields)
end

describe("a WebSocket over HTTP/2", function()
  local server, g

  local function start_site(port, options)
    return gateway.start({ ["gateway.lua"] = SITE:format(options or "", port) }, { args = { "--workers", "1" } })
  end

  setup(function()
    server = gateway.start({ ["gateway.lua"] = SERVER }, { args = { "--workers", "1" } })
    g = start_site(server.port)
  end)
  teardown(gateway.stop_all)

  local function open(c, id, path, more)
    c:headers(id, ask(path, more))
    local s = c:stream(id)
    c:await(function() return s.status or s.reset end)
    return s
  end

  local function says(c, s, bytes)
    c:await(function() return #s.body >= #bytes or s.reset end)
    assert.equal(bytes, s.body:sub(1, #bytes))
    s.body = s.body:sub(#bytes + 1)
  end

  local function echoes(c, s, text)
    c:data(s.id, websocket.frame(TEXT, text))
    says(c, s, websocket.frame(TEXT, text, { mask = false }))
  end

  local function ends(c, s)
    c:data(s.id, websocket.frame(CLOSE, websocket.code(1000)), "end")
    says(c, s, websocket.frame(CLOSE, websocket.code(1000), { mask = false }))
    c:answer(s.id)
    assert.truthy(s.ended)
    assert.is_nil(s.reset)
  end

  local function count(at)
    local total = 0
    for n in at:command("status", "--json"):gmatch('"websockets":(%d+)') do total = total + tonumber(n) end
    return total
  end

  it("is offered, and passes to an upstream of HTTP/1.1", function()
    local c = h2.open(g:connect())
    assert.equal(1, c.settings[8])
    local s = open(c, 1, "/ws?token=right")
    assert.equal(200, s.status)
    for _, name in ipairs { "sec-websocket-accept", "upgrade", "connection", "content-length" } do
      assert.is_nil(s.fields[name])
    end
    assert.equal(1, count(g))
    echoes(c, s, "hello")
    echoes(c, s, ("x"):rep(10000))
    server:wait_for_log('"version":"1.1"')
    ends(c, s)
    gateway.eventually(function() return count(g) == 0 end, "it is over")
    c:close()
  end)

  it("shares a connection with others and with requests, and carries more than all its windows", function()
    local c, sockets = h2.open(g:connect()), {}
    for i = 1, 20 do sockets[i] = open(c, 2 * i - 1, "/ws?token=right") end
    for round = 1, 10 do
      c:send("WINDOW_UPDATE", "", 0, h2.number(20 * 16000, 4))
      for i = 1, 20 do
        c:send("WINDOW_UPDATE", "", 2 * i - 1, h2.number(16000, 4))
        echoes(c, sockets[i], ("%d %d "):format(round, i) .. ("y"):rep(15000))
      end
    end
    c:headers(101, h2.get("/page?token=wrong"), "end")
    assert.equal(401, c:answer(101).status)
    for i = 1, 20 do ends(c, sockets[i]) end
    c:close()
  end)

  it("may end in a script, with a subprotocol", function()
    local c = h2.open(g:connect())
    local s = open(c, 1, "/script?token=right", { { "sec-websocket-protocol", "x, chat" } })
    assert.equal(200, s.status)
    assert.equal("chat", s.fields["sec-websocket-protocol"])
    c:data(1, websocket.frame(TEXT, "hello"))
    says(c, s, websocket.frame(TEXT, "HELLO", { mask = false }))
    ends(c, s)
    c:close()
  end)

  it("is what the client sent before it had an answer, too", function()
    local c = h2.open(g:connect())
    c:headers(1, ask("/ws?token=right"))
    c:data(1, websocket.frame(TEXT, "early"))
    local s = c:stream(1)
    says(c, s, websocket.frame(TEXT, "early", { mask = false }))
    ends(c, s)
    c:close()
  end)

  it("is refused by policies as over HTTP/1.1, and where nothing could be a tunnel", function()
    local c = h2.open(g:connect())
    assert.equal(401, open(c, 1, "/ws?token=wrong").status)
    assert.equal(501, open(c, 3, "/plain?token=right").status)
    assert.equal(501, open(c, 5, "/page?token=right").status)
    assert.equal(404, open(c, 7, "/nothing?token=right").status)
    for id = 1, 7, 2 do -- their ends of the tunnel, which they keep open, are closed
      local s = c:stream(id)
      assert.equal("NO_ERROR", c:await(function() return s.reset end))
    end
    c:close()
  end)

  it("is nothing but that, and does not end before it began", function()
    local c = h2.open(g:connect())
    c:headers(1, h2.block { { ":method", "CONNECT" }, { ":protocol", "connect-udp" }, { ":scheme", "http" },
      { ":path", "/ws?token=right" }, { ":authority", "a" } })
    assert.equal(501, c:answer(1).status)
    c:headers(3, h2.block { { ":method", "CONNECT" }, { ":authority", "a:1" } })
    assert.equal(501, c:answer(3).status)
    c:headers(5, ask("/ws?token=right"), "end")
    assert.equal(400, c:answer(5).status)
    c:headers(7, ask("/ws?token=right", { { "content-length", "3" } }))
    assert.equal(400, c:answer(7).status)
    c:headers(9, h2.get("/ws?token=right", { { ":protocol", "websocket" } }), "end")
    assert.equal("PROTOCOL_ERROR", c:answer(9).reset)
    c:close()
  end)

  it("is not there when it is turned off", function()
    local other = start_site(server.port, ", http2_websockets = false")
    local c = h2.open(other:connect())
    assert.is_nil(c.settings[8])
    assert.equal("PROTOCOL_ERROR", open(c, 1, "/ws?token=right").reset)
    c:close()
    other:stop()
  end)

  local function with_upstream(use)
    local up = upstream.listen()
    local other = start_site(up.port)
    local c = h2.open(other:connect())
    c:headers(1, ask("/ws?token=right", { { "sec-websocket-key", "mine" }, { "origin", "http://a" } }))
    local peer = up:accept()
    local head = upstream.head(peer)
    local function switch(key, more)
      peer:send("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: " .. key
        .. "\r\n\r\n" .. (more or ""))
    end
    use(c, peer, head, switch, other)
    peer:close()
    up:close()
    c:close()
    other:stop()
  end

  local function accept(head)
    local key = head:match("[Ss]ec%-[Ww]eb[Ss]ocket%-[Kk]ey: (%S+)\n")
    assert.equal(24, #key)
    local p = io.popen("printf %s '" .. key .. "258EAFA5-E914-47DA-95CA-C5AB0DC85B11' | openssl sha1 -binary | base64")
    local text = p:read("*l")
    p:close()
    return text
  end

  it("asks the upstream with a key of the gateway's, and demands its answer", function()
    with_upstream(function(c, peer, head, switch)
      assert.matches("^GET /ws%?token=right HTTP/1.1\n", head)
      assert.matches("\nConnection: upgrade\nUpgrade: websocket", head)
      assert.matches("\n[Oo]rigin: http://a\n", head)
      switch(accept(head), "\129\2hi")
      says(c, c:stream(1), "\129\2hi")
      assert.equal(200, c:stream(1).status)
      c:send("RST_STREAM", "", 1, h2.number(8, 4)) -- CANCEL is a reset of the other side
      assert.is_nil((peer:receive(1)))
    end)
    with_upstream(function(c, _, _, switch)
      switch(websocket.ACCEPT)
      assert.equal(502, c:answer(1).status)
    end)
  end)

  it("ends on both sides when the upstream ends, and when the client does", function()
    with_upstream(function(c, peer, head, switch)
      switch(accept(head))
      c:await(function() return c:stream(1).status end)
      peer:close()
      assert.truthy(c:answer(1).ended)
    end)
    with_upstream(function(c, peer, head, switch)
      switch(accept(head))
      c:await(function() return c:stream(1).status end)
      c:data(1, "\129\128abcd", "end")
      assert.equal("\129\128abcd", peer:receive(6))
      assert.equal("closed", (select(2, peer:receive(1))))
      peer:send("\136\0")
      peer:close()
      assert.equal("\136\0", c:answer(1).body)
    end)
  end)

  it("is closed with 1001 on both sides when the gateway ends", function()
    with_upstream(function(c, peer, head, switch, other)
      switch(accept(head), "\129\5he")
      says(c, c:stream(1), "\129\5he")
      other:signal("TERM")
      local bytes = assert(peer:receive(8))
      assert.same({ 128 + CLOSE, 128 + 2 }, { bytes:byte(1, 2) })
      peer:send("llo\129\1x")
      says(c, c:stream(1), "llo\136\2\3\233")
      peer:close()
      assert.equal("NO_ERROR", c:fate())
      assert.equal("exited", (other:wait()))
    end)
  end)

  it("outlives reloads", function()
    local c = h2.open(g:connect())
    local s = open(c, 1, "/ws?token=right")
    for round = 1, 3 do
      g:save("gateway.lua", SITE:format("", server.port) .. "-- " .. round .. "\n")
      assert.equal(0, select(2, g:command("reload", "--wait")))
      echoes(c, s, "round " .. round)
    end
    ends(c, s)
    c:close()
  end)
end)
