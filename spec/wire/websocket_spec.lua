--- gw.websocket: the handshake, and what a script can do with a WebSocket and a client to it.
local gateway = require "spec.support.gateway"
local websocket = require "spec.support.websocket"

local TEXT, PING, PONG = 1, 9, 10

local SITE = [[
local gw = require "moonlatch"
gw.listen { host = "127.0.0.1", port = PORT }
gw.settings { script_budget_ms = 100 }
gw.use { function(_, next) local res = next() res:set_header("x-policy", "seen") return res end }
local function route(path, opts, fn) gw.route("GET " .. path, { respond = gw.websocket(opts, fn) }) end
local function echo(ws) for message in ws:messages() do ws:send(message) end end

route("/echo", nil, echo)
route("/chat", { protocols = { "chat.v2", "chat.v1" } }, function(ws) ws:send(tostring(ws.protocol)) end)
route("/listed", { origins = { "https://app.example" } }, echo)
route("/anybody", { origins = "*" }, echo)
route("/who", nil, function(ws, req) ws:send(req.path .. " " .. req.args.name) ws:receive() end)
route("/returns", nil, function() end)
route("/says", nil, function(ws) ws:close(4001, "enough") ws:send("dropped") end)
route("/fails", nil, function(ws) ws:receive() error("as it should") end)
route("/burns", nil, function(ws) ws:receive() while true do end end)
route("/patient", nil, function(ws)
  local message, why = ws:receive(0.01)
  ws:send(tostring(message) .. " " .. why)
  gw.log.info("ended", { how = tostring(select(2, ws:receive())), open = tostring(ws.open) })
end)
route("/quick", { idle_timeout = 0.2, ping_interval = 0.05 }, echo)
route("/flood", nil, function(ws)
  local sent = 0
  local piece = ("x"):rep(30000)
  while ws:send_binary(piece) do
    sent = sent + 1
    gw.shared("n"):set("sent", sent)
  end
  gw.shared("n"):set("stopped", true)
end)
route("/deaf", nil, function() while not gw.shared("n"):get("listen") do gw.sleep(0.01) end end)
route("/many", nil, function(ws)
  local function worker(name)
    return function()
      for i = 1, 20 do
        ws:send(name .. i .. ("-"):rep(5000))
        gw.sleep(0)
      end
    end
  end
  gw.all { worker "a", worker "b", worker "c" }
end)
route("/outlives", nil, function(ws)
  local done
  gw.spawn(function()
    gw.sleep(0.02)
    ws:send("from a background task")
    done = true
  end)
  while not done do gw.sleep(0.01) end
  ws:receive()
  local ok, why = ws:send("too late")
  gw.log.info("cleaned up", { ok = tostring(ok), why = why })
end)
route("/misuse", nil, function(ws)
  local wrong = {}
  for _, fn in ipairs {
    function() ws:send("\255") end,
    function() ws:close(1005) end,
    function() ws:close(1000, ("x"):rep(124)) end,
    function() ws:ping(("x"):rep(126)) end,
    function() return ws.nothing end,
    function() ws.send({}, "x") end,
  } do
    wrong[#wrong + 1] = tostring(select(2, pcall(fn))):gsub("^.-: ", "")
  end
  ws:send(table.concat(wrong, "\n"))
end)
gw.route("GET /dynamic", { respond = function(req)
  return gw.websocket(req, { max_message = 10 }, function(ws) ws:send(req.id) end)
end })
gw.route("GET /replaced", { function(_, next) next() return gw.response(200, "another") end,
  respond = gw.websocket({}, echo) })
gw.route("GET /meddled", { function(req, next)
  local res = next()
  req:set_body("nobody wants it")
  return res
end, respond = gw.websocket({}, echo) })
gw.route("GET /n/:name", { respond = function(req)
  return gw.response(200, tostring(gw.shared("n"):get(req.params.name)))
end })
gw.route("GET /set/:name", { respond = function(req)
  gw.shared("n"):set(req.params.name, true)
  return gw.response(200, "")
end })
]]

describe("gw.websocket", function()
  local g

  setup(function() g = gateway.start({ ["gateway.lua"] = SITE }, { args = { "--workers", "1" } }) end)
  teardown(gateway.stop_all)

  local function open(path, headers) return websocket.open(g:connect(), path, headers) end
  local function refused(path, headers) return gateway.parse((g:raw("GET " .. path
    .. " HTTP/1.1\r\nHost: test.example\r\nConnection: Upgrade, close\r\n" .. headers .. "\r\n"))) end

  local KEY = "Sec-WebSocket-Key: " .. websocket.KEY .. "\r\n"
  local UPGRADE, VERSION = "Upgrade: websocket\r\n", "Sec-WebSocket-Version: 13\r\n"

  it("opens with the fields of the RFC, and those of policies", function()
    local c = open("/echo")
    assert.equal(101, c.status)
    assert.equal(websocket.ACCEPT, c:header("sec-websocket-accept"))
    assert.equal("websocket", c:header("upgrade"))
    assert.equal("seen", c:header("x-policy"))
    assert.is_nil(c:header("content-length") or c:header("transfer-encoding") or c:header("date"))
    c:send(TEXT, "hello")
    assert.equal("hello", c:frame().payload)
    assert.same({ "close 1000 ", "end" }, c:bye())
  end)

  it("refuses what is no handshake, and says what it wants", function()
    local res = refused("/echo", "")
    assert.same({ 426, "websocket", "13" },
                { res.status, res.headers.upgrade, res.headers["sec-websocket-version"] })
    assert.equal(426, refused("/echo", UPGRADE .. KEY).status)
    res = refused("/echo", UPGRADE .. KEY .. "Sec-WebSocket-Version: 8\r\n")
    assert.same({ 426, "13" }, { res.status, res.headers["sec-websocket-version"] })
    assert.equal(400, refused("/echo", UPGRADE .. VERSION).status)
    assert.equal(400, refused("/echo", UPGRADE .. VERSION .. "Sec-WebSocket-Key: short\r\n").status)
    assert.equal(400, refused("/echo", UPGRADE .. VERSION .. KEY .. KEY).status)
    assert.equal(426, refused("/echo", "Upgrade: h2c\r\n" .. VERSION .. KEY).status)
  end)

  it("takes the client's first subprotocol that it knows", function()
    local function protocol(list)
      local c = open("/chat", list and "Sec-WebSocket-Protocol: " .. list .. "\r\n")
      return c.status, c:header("sec-websocket-protocol"), c.status == 101 and c:rest()[1]
    end
    assert.same({ 101, "chat.v1", "1:chat.v1" }, { protocol("x, chat.v1, chat.v2") })
    assert.same({ 101, nil, "1:nil" }, { protocol() })
    assert.equal(400, (protocol("soap")))
  end)

  it("lets pages of its own host connect, or those that are listed", function()
    local function status(path, origin) return open(path, "Origin: " .. origin .. "\r\n").status end
    assert.equal(101, status("/echo", "http://test.example"))
    assert.equal(101, status("/echo", "https://TEST.example:443"))
    assert.equal(403, status("/echo", "https://evil.example"))
    assert.equal(403, status("/echo", "http://test.example.evil.example"))
    assert.equal(403, status("/echo", "null"))
    assert.equal(101, status("/listed", "https://app.example"))
    assert.equal(403, status("/listed", "http://test.example"))
    assert.equal(101, status("/anybody", "https://evil.example"))
  end)

  it("gives the function its request", function()
    assert.equal("/who me", open("/who?name=me"):frame().payload)
    assert.matches("^%x+$", open("/dynamic"):frame().payload)
  end)

  it("is not opened when another response is sent instead", function()
    assert.equal(200, open("/replaced").status)
  end)

  it("minds no body that a policy sets meanwhile", function()
    local c = open("/meddled")
    c:send(TEXT, "hello")
    assert.equal("hello", c:frame().payload)
  end)

  it("closes when the function returns, says so, fails or burns its budget", function()
    assert.same({ "close 1000 ", "end" }, open("/returns"):rest())
    assert.same({ "close 4001 enough", "end" }, open("/says"):rest())
    for _, path in ipairs { "/fails", "/burns" } do
      local c = open(path)
      c:send(TEXT, "go")
      assert.same({ "close 1011 ", "end" }, c:rest())
    end
    assert.matches('"route":"/fails"', g:wait_for_log("as it should"), 1, true)
    g:wait_for_log("script_budget")
  end)

  it("receives with patience, and tells of a client that is lost", function()
    local c = open("/patient")
    assert.equal("nil timeout", c:frame().payload)
    c.socket:close()
    g:wait_for_log('"how":"1006"')
  end)

  it("asks a silent client for a sign of life, and closes when there is none", function()
    local c = open("/quick")
    for _ = 1, 8 do -- longer than idle_timeout
      local f = c:frame()
      assert.equal(PING, f.opcode)
      c:send(PONG, f.payload)
    end
    c:send(TEXT, "alive")
    repeat local f = c:frame() until f.opcode == TEXT
    local words = c:rest()
    assert.equal("close 1001 silent for too long", words[#words - 1])
  end)

  it("waits in send while the client is behind, and ends with the client", function()
    local c = open("/flood")
    local last
    gateway.eventually(function()
      local _, now = g:get("/n/sent")
      local same = now == last and now ~= "nil"
      last = now
      return same
    end, "the sender waits")
    assert.is_true(tonumber(last) < 1000, last)
    for _ = 1, 200 do assert.equal(30000, #c:frame().payload) end
    c.socket:close()
    gateway.eventually(function() return select(2, g:get("/n/stopped")) == "true" end, "stopped")
  end)

  it("reads no further than a script that does not receive lets it", function()
    local c = open("/deaf")
    c.socket:settimeout(0.3)
    local piece, taken = websocket.frame(TEXT, ("x"):rep(1000), { mask = "\0\0\0\0" }):rep(64), 0
    repeat
      local ok, _, part = c.socket:send(piece)
      taken = taken + (ok or part)
    until not ok or taken > 64 * 1024 * 1024
    assert.is_true(taken < 32 * 1024 * 1024) -- what the kernel holds, and a little
    g:get("/set/listen")
  end)

  it("keeps messages of several coroutines whole", function()
    local c, counts = open("/many"), { a = 0, b = 0, c = 0 }
    for _ = 1, 60 do
      local name, n, rest = c:frame().payload:match("^(%a)(%d+)(%-+)$")
      assert.equal(5000, #rest)
      assert.equal(counts[name] + 1, tonumber(n))
      counts[name] = counts[name] + 1
    end
    assert.same({ "close 1000 ", "end" }, c:rest())
  end)

  it("can be used by background tasks, and cleaned up after its end", function()
    local c = open("/outlives")
    assert.equal("from a background task", c:frame().payload)
    c.socket:close()
    assert.matches('"why":"closed"', g:wait_for_log("cleaned up"), 1, true)
  end)

  it("complains of what can not be sent", function()
    local text = open("/misuse"):frame().payload
    for _, what in ipairs { "not UTF%-8", "the code must be", "at most 123 bytes", "125 bytes",
                            'no member "nothing"', "WebSocket expected" } do
      assert.matches(what, text)
    end
  end)

  it("goes on over reloads, by the script it began with", function()
    local c = open("/echo")
    for i = 1, 10 do
      g:save("gateway.lua", SITE .. "-- " .. i .. "\n")
      assert.equal(0, select(2, g:command("reload", "--wait")))
      c:send(TEXT, "still " .. i)
      assert.equal("still " .. i, c:frame().payload)
    end
    assert.same({ "close 1000 ", "end" }, c:bye())
  end)

  it("is closed with 1001 when the gateway ends", function()
    local other = gateway.start({ ["gateway.lua"] = SITE }, { args = { "--workers", "1" } })
    local c = websocket.open(other:connect(), "/echo")
    c:send(TEXT, "hello")
    c:frame()
    other:signal("TERM")
    assert.same({ "close 1001 ", "end" }, c:rest())
    assert.equal("exited", (other:wait()))
  end)

  it("names the line of an option that is wrong", function()
    local function complaint(call)
      local bad = gateway.start({ ["gateway.lua"] = [[
local gw = require "moonlatch"
gw.listen { host = "127.0.0.1", port = PORT }
]] .. call }, { wait = false })
      bad:wait()
      return bad:output()
    end
    assert.matches('gateway%.lua:3: gw%.websocket: option "max_message" must be at least 1',
                   complaint("gw.websocket({ max_message = 0 }, function() end)"))
    assert.matches('gateway%.lua:3: gw%.websocket: .*"sides"', complaint("gw.websocket({ sides = 2 }, print)"))
    assert.matches("gateway%.lua:3: gw%.websocket: a function", complaint("gw.websocket({})"))
    assert.matches('gateway%.lua:3: .*"app.example" is no origin',
                   complaint('gw.websocket({ origins = { "app.example" } }, print)'))
    assert.matches("gateway%.lua:3: gw%.websocket: compress: .*window_bits",
                   complaint("gw.websocket({ compress = { window_bits = 8 } }, print)"))
  end)
end)
