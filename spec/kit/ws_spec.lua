--- app:ws: the kit's client of WebSockets, simulated and against the real program.
local test = require "moonlatch.test"

local SITE = { ["gateway.lua"] = [[
local gw = require "moonlatch"
gw.listen { port = 8080 }
gw.route("GET /echo", { respond = gw.websocket({ protocols = { "echo.v1" } }, function(ws)
  for message, kind in ws:messages() do
    if message == "bye" then ws:close(4000, "as you like") end
    if kind == "text" then ws:send(message) else ws:send_binary(message) end
  end
end) })
gw.route("GET /ticks", { respond = gw.websocket({ ping_interval = 2 }, function(ws)
  for i = 1, 3 do
    gw.sleep(10)
    ws:send("tick " .. i)
  end
end) })
gw.route("GET /lost", { respond = gw.websocket({}, function(ws)
  local _, code = ws:receive()
  gw.log.info("client left", { code = code })
end) })
]] }

describe("app:ws", function()
  local app

  before_each(function() app = test.load(SITE) end)
  after_each(function() app:close() end)

  it("sends and receives messages of both kinds", function()
    local ws = assert(app:ws("/echo", { protocols = { "echo.v1" } }))
    assert.equal("echo.v1", ws.protocol)
    for _, text in ipairs { "", "hello", ("x"):rep(200), ("y"):rep(70000) } do
      ws:send(text)
      assert.same({ text, "text" }, { ws:receive() })
      ws:send_binary(text)
      assert.same({ text, "binary" }, { ws:receive() })
    end
    assert.is_true(ws:ping("?"))
    assert.equal(1000, ws:close())
    assert.same({ nil, "closed" }, { ws:send("more") })
  end)

  it("tells how the site closed", function()
    local ws = app:ws("/echo")
    ws:send("bye")
    assert.same({ nil, 4000, "as you like" }, { ws:receive() })
  end)

  it("moves the clock while it waits", function()
    local ws = app:ws("/ticks")
    local begin = app:elapsed()
    assert.same({ nil, "timeout" }, { ws:receive(9) })
    for i = 1, 3 do assert.equal("tick " .. i, (ws:receive())) end
    assert.is_true(app:elapsed() - begin >= 30)
    assert.same({ nil, 1000 }, { (ws:receive()), (select(2, ws:receive())) })
  end)

  it("can go away without a word", function()
    app:ws("/lost"):drop()
    app:advance(1)
    local found
    for _, line in ipairs(app.logs) do
      if line.message == "client left" then found = line.code end
    end
    assert.equal(1006, found)
  end)

  it("gives the answer when it is no 101", function()
    local ws, res = app:ws("/echo", { origin = "https://evil.example" })
    assert.is_nil(ws)
    assert.equal(403, res.status)
  end)
end)
