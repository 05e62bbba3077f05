--- WebSockets that pass through to an upstream.
local gateway = require "spec.support.gateway"
local upstream = require "spec.support.upstream"
local websocket = require "spec.support.websocket"

local TEXT, CLOSE = 1, 8

local SERVER = [[
local gw = require "moonlatch"
gw.listen { host = "127.0.0.1", port = PORT }
gw.route("GET /*rest", { respond = gw.websocket({}, function(ws)
  for message in ws:messages() do ws:send(message) end
  local _, code = ws:receive()
  gw.log.info("ended", { code = code })
end) })
]]

local SITE = [[
local gw = require "moonlatch"
gw.listen { host = "127.0.0.1", port = PORT }
gw.upstream("b", { "http://127.0.0.1:%d", websocket_idle_timeout = 60 })
gw.use { function(req, next)
  if req.args.token ~= "right" then return gw.error(401, "unauthorized", "no") end
  return next()
end }
gw.route("GET /ws", { to = "b", websocket = true })
gw.route("GET /short", { to = "b", websocket = true, websocket_idle_timeout = 0.2 })
gw.route("GET /plain", { to = "b" })
]]

describe("a WebSocket to an upstream", function()
  local server, g

  local function start_site(port)
    return gateway.start({ ["gateway.lua"] = SITE:format(port) }, { args = { "--workers", "1" } })
  end

  setup(function()
    server = gateway.start({ ["gateway.lua"] = SERVER }, { args = { "--workers", "1" } })
    g = start_site(server.port)
  end)
  teardown(gateway.stop_all)

  local function open(path, at) return websocket.open((at or g):connect(), path) end

  local function echoes(c, text)
    c:send(TEXT, text)
    assert.equal(text, c:frame().payload)
  end

  it("passes frames both ways until either side closes", function()
    local c = open("/ws?token=right")
    assert.equal(101, c.status)
    assert.equal(websocket.ACCEPT, c:header("sec-websocket-accept"))
    echoes(c, "hello")
    echoes(c, ("x"):rep(300000))
    assert.same({ "close 1000 ", "end" }, c:bye())
  end)

  it("passes nothing when a policy refuses the handshake, or the route has no WebSockets", function()
    assert.equal(401, open("/ws?token=wrong").status)
    local c = open("/plain?token=right")
    assert.equal(426, c.status) -- the upstream was asked for a page
  end)

  it("does not open for a 101 that is no answer to the client's key", function()
    local up = upstream.listen()
    local other = start_site(up.port)
    local s = other:connect()
    s:send(websocket.handshake("/ws?token=right") .. "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
    local peer = up:accept()
    assert.matches("^GET /ws", upstream.head(peer))
    peer:send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
    assert.matches("^HTTP/1%.1 502", (s:receive("*l")))
    peer:settimeout(0.1)
    assert.is_nil((peer:receive(1)))
    peer:close()
    s:close()
    up:close()
  end)

  it("says good-bye to both when it is silent for too long", function()
    local c = open("/short?token=right")
    echoes(c, "one")
    assert.same({ "close 1001 ", "end" }, c:rest())
    server:wait_for_log('"code":1001')
  end)

  local function count(at)
    local text = at:command("status", "--json")
    local total = 0
    for n in text:gmatch('"websockets":(%d+)') do total = total + tonumber(n) end
    return total
  end

  it("outlives reloads, and is counted", function()
    local clients = {}
    gateway.eventually(function() return count(g) == 0 end, "the earlier ones are over")
    for i = 1, 100 do clients[i] = open("/ws?token=right") end
    assert.equal(100, count(g))
    for round = 1, 10 do
      g:save("gateway.lua", SITE:format(server.port) .. "-- " .. round .. "\n")
      assert.equal(0, select(2, g:command("reload", "--wait")))
      for i = round, 100, 10 do echoes(clients[i], ("%d %d"):format(round, i)) end
    end
    for i = 1, 100 do
      echoes(clients[i], "at last")
      if i % 2 == 0 then assert.same({ "close 1000 ", "end" }, clients[i]:bye())
      else clients[i].socket:close() end
    end
    gateway.eventually(function() return count(g) == 0 and count(server) == 0 end, "none is left")
  end)

  it("is closed with 1001 on both sides when the gateway ends", function()
    local up = upstream.listen()
    local other = start_site(up.port)
    local s = other:connect()
    s:send(websocket.handshake("/ws?token=right"))
    local peer = up:accept()
    upstream.head(peer)
    peer:send("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: "
              .. websocket.ACCEPT .. "\r\n\r\n" .. "\129\5he")
    repeat local line = assert(s:receive("*l")) until line == ""
    assert.equal("\129\5he", s:receive(4))
    other:signal("TERM")
    local head = assert(peer:receive(8)) -- masked
    assert.same({ 128 + CLOSE, 128 + 2 }, { head:byte(1, 2) })
    peer:send("llo\129\1x") -- what was begun passes, and no more
    assert.equal("llo\136\2\3\233", (s:receive(7)))
    peer:close()
    assert.equal("closed", (select(2, s:receive(1))))
    assert.equal("exited", (other:wait()))
    up:close()
  end)
end)
