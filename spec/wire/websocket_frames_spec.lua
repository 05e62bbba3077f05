--- What the test suite of the Autobahn project asks of a server, in our words: an echo in a script,
-- and a client that sends each frame as the case wants it.
local deflate = require "spec.support.deflate"
local gateway = require "spec.support.gateway"
local websocket = require "spec.support.websocket"

local TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
local frame, code = websocket.frame, websocket.code

local SITE = [[
local gw = require "moonlatch"
gw.listen { host = "127.0.0.1", port = PORT }
local function echo(ws)
  for message, kind in ws:messages() do
    if kind == "text" then ws:send(message) else ws:send_binary(message) end
  end
end
local MAX = 16 * 1024 * 1024
gw.route("GET /echo", { respond = gw.websocket({ max_message = MAX }, echo) })
gw.route("GET /packed", { respond = gw.websocket({ max_message = MAX,
  compress = { min_length = 0 } }, echo) })
gw.route("GET /forgets", { respond = gw.websocket({ max_message = MAX,
  compress = { min_length = 0, context_takeover = false, window_bits = 10 } }, echo) })
gw.route("GET /small", { respond = gw.websocket({ max_message = 1000, compress = true }, echo) })
]]

describe("a WebSocket in a script, frame by frame", function()
  local g

  setup(function() g = gateway.start({ ["gateway.lua"] = SITE }, { args = { "--workers", "1" } }) end)
  teardown(gateway.stop_all)

  local function open(path, headers)
    local c = websocket.open(g:connect(), path or "/echo", headers)
    assert.equal(101, c.status)
    return c
  end

  -- Sends bytes, in pieces of that size; what comes back up to the end, as words.
  local function talk(bytes, piece, path)
    local c = open(path)
    for i = 1, #bytes, piece or #bytes do c:raw(bytes:sub(i, i + (piece or #bytes) - 1)) end
    local words = c:rest()
    c.socket:close()
    return words
  end

  local goodbye = frame(CLOSE, code(1000))

  -- The words, then an ordinary end.
  local function answers(expected, bytes, piece)
    expected[#expected + 1] = "close 1000 "
    expected[#expected + 1] = "end"
    assert.same(expected, talk(bytes .. goodbye, piece))
  end

  -- The words, then a Close frame with that code whatever follows.
  local function fails(with, bytes, expected, piece, path)
    local words = talk(bytes .. frame(TEXT, "never answered") .. goodbye, piece, path)
    expected = expected or {}
    assert.equal("end", table.remove(words))
    assert.matches("^close " .. with .. " ", table.remove(words))
    assert.same(expected, words)
  end

  it("echoes text and binary of every length form, in pieces too (1.1, 1.2)", function()
    for opcode = TEXT, BINARY do
      for _, len in ipairs { 0, 1, 125, 126, 127, 128, 65535, 65536 } do
        local payload = ("*"):rep(len)
        answers({ opcode .. ":" .. payload }, frame(opcode, payload))
      end
      answers({ opcode .. ":" .. ("*"):rep(65536) }, frame(opcode, ("*"):rep(65536)), 997)
      answers({ opcode .. ":" .. ("*"):rep(200) }, frame(opcode, ("*"):rep(200)), 1)
    end
  end)

  it("takes any mask, also that of zeroes", function()
    answers({ "1:hello" }, frame(TEXT, "hello", { mask = "\0\0\0\0" }))
    answers({ "1:hello" }, frame(TEXT, "hello", { mask = "\255\254\253\252" }))
  end)

  it("refuses a frame that is not masked", function()
    fails(1002, frame(TEXT, "hello", { mask = false }))
    fails(1002, frame(PING, "", { mask = false }))
  end)

  it("answers pings with their payload (2.1 to 2.4, 2.6)", function()
    for _, payload in ipairs { "", "Hello", "\0\255\254\253\252\251\0\255", ("\254"):rep(125) } do
      answers({ "10:" .. payload }, frame(PING, payload))
      answers({ "10:" .. payload }, frame(PING, payload), 1)
    end
  end)

  it("refuses a ping that is too long (2.5)", function()
    fails(1002, frame(PING, ("\254"):rep(126)))
  end)

  it("ignores pongs that nobody asked for (2.7 to 2.9)", function()
    answers({}, frame(PONG, ""))
    answers({}, frame(PONG, "unsolicited"))
    answers({ "10:ping" }, frame(PONG, "unsolicited") .. frame(PING, "ping"))
  end)

  it("answers many pings in order (2.10, 2.11)", function()
    local bytes, expected = {}, {}
    for i = 1, 10 do bytes[i], expected[i] = frame(PING, "payload-" .. i), "10:payload-" .. i end
    answers(expected, table.concat(bytes))
    expected[12], expected[11] = nil, nil
    answers(expected, table.concat(bytes), 1)
  end)

  it("refuses reserved bits wherever they are (3)", function()
    for rsv = 1, 7 do
      fails(1002, frame(TEXT, "hello", { rsv = rsv }))
      fails(1002, frame(BINARY, "hello", { rsv = rsv }))
      fails(1002, frame(PING, "hello", { rsv = rsv }))
      fails(1002, frame(CLOSE, code(1000), { rsv = rsv }))
    end
    fails(1002, frame(TEXT, "first") .. frame(TEXT, "second", { rsv = 2 }), { "1:first" })
    fails(1002, frame(TEXT, "first") .. frame(TEXT, "second", { rsv = 3 }) .. frame(PING, ""),
          { "1:first" }, 1)
  end)

  it("refuses opcodes that mean nothing (4)", function()
    for _, opcode in ipairs { 3, 4, 5, 6, 7, 11, 12, 13, 14, 15 } do
      fails(1002, frame(opcode, ""))
      fails(1002, frame(opcode, "payload"))
      fails(1002, frame(TEXT, "first") .. frame(opcode, "payload") .. frame(PING, ""), { "1:first" }, 1)
    end
  end)

  it("refuses control frames in parts (5.1, 5.2)", function()
    fails(1002, frame(PING, "part", { fin = false }) .. frame(0, "rest"))
    fails(1002, frame(PONG, "part", { fin = false }) .. frame(0, "rest"))
  end)

  it("puts messages together, with control frames between their parts (5.3 to 5.8, 5.19, 5.20)", function()
    local first, last = frame(TEXT, "frag1", { fin = false }), frame(0, "frag2")
    for _, piece in ipairs { 1000, 1 } do
      answers({ "1:frag1frag2" }, first .. last, piece)
      answers({ "10:p", "1:frag1frag2" }, first .. frame(PING, "p") .. last, piece)
      answers({ "10:a", "10:b", "1:12345" }, frame(TEXT, "1", { fin = false })
        .. frame(0, "2", { fin = false }) .. frame(PING, "a") .. frame(0, "3", { fin = false })
        .. frame(0, "4", { fin = false }) .. frame(PING, "b") .. frame(0, "5"), piece)
    end
  end)

  it("refuses continuations of nothing (5.9 to 5.14)", function()
    for _, fin in ipairs { true, false } do
      fails(1002, frame(0, "non-continuation", { fin = fin }))
      fails(1002, frame(0, "non-continuation", { fin = fin }) .. frame(TEXT, "hello"), nil, 1)
    end
    fails(1002, frame(TEXT, "a", { fin = false }) .. frame(0, "b") .. frame(0, "c"), { "1:ab" })
  end)

  it("refuses a message inside of another (5.15 to 5.18)", function()
    fails(1002, frame(TEXT, "frag1", { fin = false }) .. frame(TEXT, "frag2"))
    fails(1002, frame(TEXT, "frag1", { fin = false }) .. frame(BINARY, "frag2", { fin = false }))
  end)

  it("takes messages and parts without bytes (6.1)", function()
    answers({ "1:" }, frame(TEXT, ""))
    answers({ "1:" }, frame(TEXT, "", { fin = false }) .. frame(0, "", { fin = false }) .. frame(0, ""))
    answers({ "1:middle" }, frame(TEXT, "", { fin = false }) .. frame(0, "middle", { fin = false })
      .. frame(0, ""))
  end)

  it("takes all valid text, cut anywhere (6.2, 6.5 to 6.22)", function()
    local text = "Hello-µ@ßöäüàá-UTF-8!!"
    answers({ "1:" .. text }, frame(TEXT, text), 1)
    local parts = {}
    for i = 1, #text do parts[i] = frame(i == 1 and TEXT or 0, text:sub(i, i), { fin = i == #text }) end
    answers({ "1:" .. text }, table.concat(parts))
    for _, valid in ipairs { "\206\186\225\189\185\207\131\206\188\206\181", "\0", "\194\128",
        "\224\160\128", "\240\144\128\128", "\127", "\223\191", "\239\191\191", "\244\143\191\191",
        "\237\159\191", "\238\128\128", "\239\191\189", "\239\191\190", "\240\159\191\190",
        "\240\175\191\191", "\239\183\144" } do
      answers({ "1:" .. valid }, frame(TEXT, valid))
    end
  end)

  it("refuses text that is no UTF-8 as soon as it is known (6.3, 6.4, 6.6 to 6.21)", function()
    for _, bad in ipairs { "\206\186\225\189\185\207\131\206\188\206\181\237\160\128edited",
        "\206", "\206\186\225", "\248\136\128\128\128", "\252\132\128\128\128\128", "\247\191\191\191",
        "\251\191\191\191\191", "\244\144\128\128", "\128", "\191", "\128\191\128", "\192\175", "\193\191",
        "\224\128\175", "\224\159\191", "\240\128\128\175", "\240\143\191\191", "\237\160\128",
        "\237\191\191", "\237\160\128\237\176\128", "\254", "\255", "\192\128", "\194 ", "\226\130 " } do
      fails(1007, frame(TEXT, bad))
      fails(1007, frame(TEXT, bad), nil, 1)
    end
    -- the message is not complete, and never will be
    local c = open()
    c:raw(frame(TEXT, "\206\186\225\189\185", { fin = false }) .. frame(0, "\244\144", { fin = false }))
    assert.matches("^close 1007", c:rest()[1])
    c = open()
    c:raw(frame(TEXT, "\237\160\128 and much more", { length = 100000 }):sub(1, 20))
    assert.matches("^close 1007", c:rest()[1])
  end)

  it("does not look at the bytes of binary messages", function()
    answers({ "2:\255\254\128" }, frame(BINARY, "\255\254\128"))
  end)

  it("answers a Close frame with its code, and no frame behind it (7.1, 7.3)", function()
    answers({ "1:hello" }, frame(TEXT, "hello"))
    assert.same({ "close 1000 ", "end" }, talk(goodbye .. goodbye))
    assert.same({ "close 1000 ", "end" }, talk(goodbye .. frame(PING, "") .. frame(TEXT, "x")))
    assert.same({ "close 1000 ", "end" }, talk(frame(TEXT, "a", { fin = false }) .. goodbye .. frame(0, "b")))
    assert.same({ "close", "end" }, talk(frame(CLOSE, "")))
    local reason = ("x"):rep(123)
    assert.same({ "close 1000 " .. reason, "end" }, talk(frame(CLOSE, code(1000, reason))))
  end)

  it("refuses malformed Close frames (7.3.2, 7.3.6, 7.5)", function()
    fails(1002, frame(CLOSE, "a"))
    fails(1002, frame(CLOSE, code(1000, ("x"):rep(124))))
    fails(1007, frame(CLOSE, code(1000, "\206\186\225\189\185\237\160\128")))
  end)

  it("knows which codes may be sent (7.7, 7.9, 7.13)", function()
    for _, n in ipairs { 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014,
                         3000, 3999, 4000, 4999 } do
      assert.same({ ("close %d "):format(n), "end" }, talk(frame(CLOSE, code(n))))
    end
    for _, n in ipairs { 0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535 } do
      fails(1002, frame(CLOSE, code(n)))
      fails(1002, frame(CLOSE, code(n, "reason")))
    end
  end)

  it("echoes messages of megabytes, in one frame and in many (9, 10.1)", function()
    local text = ("0123456789abcdef"):rep(4 * 65536)
    for _, opcode in ipairs { TEXT, BINARY } do
      local c = open()
      c:send(opcode, text, { mask = "\0\0\0\0" })
      assert.equal(text, c:frame().payload)
      local parts = {}
      for i = 1, 64 do
        parts[i] = frame(i == 1 and opcode or 0, text:sub(i * 65536 - 65535, i * 65536),
                         { fin = i == 64, mask = "\0\0\0\0" })
      end
      c:raw(table.concat(parts))
      local f = c:frame()
      assert.equal(opcode, f.opcode)
      assert.is_true(f.payload == text)
      assert.same({ "close 1000 ", "end" }, c:bye())
    end
  end)

  it("refuses what is larger than max_message, as soon as it is known", function()
    fails(1009, frame(TEXT, ("x"):rep(1001)), nil, nil, "/small")
    fails(1009, frame(TEXT, ("x"):rep(600), { fin = false }) .. frame(0, ("x"):rep(401)), nil, nil, "/small")
    local c = open("/small")
    c:raw(frame(BINARY, "", { length = 2 ^ 40 }))
    assert.matches("^close 1009", c:rest()[1])
    c = open("/small")
    c:send(TEXT, ("x"):rep(1000))
    assert.equal(1000, #c:frame().payload)
  end)

  it("refuses lengths that no endpoint may write", function()
    fails(1002, "\129\254\0\5\0\0\0\0hello")
    fails(1002, "\129\255\0\0\0\0\0\0\0\5\0\0\0\0hello")
    fails(1002, "\130\255\128\0\0\0\0\0\0\0\0\0\0\0")
  end)

  describe("with permessage-deflate (12, 13)", function()
    local OFFER = "Sec-WebSocket-Extensions: %s\r\n"

    -- Echoes messages, packed by the client's rules, and checks what comes back.
    local function echoes(path, offer, agreed, opts)
      local c = open(path, OFFER:format(offer))
      assert.equal(agreed, c:header("sec-websocket-extensions"))
      local pack, unpack_one = deflate.packer(opts.client_bits), deflate.unpacker(opts.server_bits)
      local words = { "moonlatch", "permessage", "deflate", "{\"id\":1}", ("lorem ipsum "):rep(50) }
      for round = 1, 60 do
        local message = {}
        for i = 1, round * round % 97 * 3 + 1 do message[i] = words[i * round % #words + 1] end
        local text = table.concat(message, " ")
        local bytes, opcode = pack(text, opts.client_forgets, round % 7 == 3), round % 2 + 1
        if round % 3 == 0 and #bytes > 2 then
          c:send(opcode, bytes:sub(1, 1), { rsv = 4, fin = false })
          c:send(0, bytes:sub(2, -2), { fin = false })
          c:send(0, bytes:sub(-1))
        else
          c:send(opcode, bytes, { rsv = 4 })
        end
        local f = assert(c:frame())
        assert.same({ opcode, 4, true }, { f.opcode, f.rsv, f.fin })
        assert.is_true(text == unpack_one(f.payload, opts.server_forgets))
      end
      assert.same({ "close 1000 ", "end" }, c:bye())
    end

    it("packs with the windows of both sides kept", function()
      echoes("/packed", "permessage-deflate", "permessage-deflate", {})
      echoes("/packed", "permessage-deflate; client_max_window_bits", "permessage-deflate", {})
    end)

    it("packs with windows as small, and as short of memory, as the client wants", function()
      echoes("/packed", "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9",
             "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9",
             { server_bits = 9, client_bits = 9 })
      echoes("/packed", "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
             "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
             { server_forgets = true, client_forgets = true })
    end)

    it("packs as the site wants it", function()
      echoes("/forgets", "permessage-deflate; client_max_window_bits",
             "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
             .. "server_max_window_bits=10; client_max_window_bits=10",
             { server_forgets = true, client_forgets = true, server_bits = 10, client_bits = 10 })
    end)

    it("accepts the first offer that it can keep, or none", function()
      local function agreed(offer)
        local c = open("/packed", OFFER:format(offer))
        local value = c:header("sec-websocket-extensions")
        assert.same({ "close 1000 ", "end" }, c:bye())
        return value
      end
      assert.equal("permessage-deflate; server_max_window_bits=12",
                   agreed("permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=12"))
      assert.is_nil(agreed("permessage-deflate; unknown"))
      assert.is_nil(agreed("x-webkit-deflate-frame"))
    end)

    it("packs empty messages", function()
      local c = open("/packed", OFFER:format("permessage-deflate"))
      local unpack_one, pack = deflate.unpacker(), deflate.packer()
      for _, text in ipairs { "", "a", "", "", "b" } do
        c:send(TEXT, text == "" and "\0" or pack(text), { rsv = 4 })
        assert.equal(text, unpack_one(c:frame().payload))
      end
    end)

    it("takes messages that are not packed, too", function()
      local c = open("/packed", OFFER:format("permessage-deflate"))
      c:send(TEXT, "plain")
      assert.equal("plain", deflate.unpacker()(c:frame().payload))
    end)

    it("refuses packed frames when it was not agreed on, and packed control frames", function()
      fails(1002, frame(TEXT, deflate.packer()("x"), { rsv = 4 }), nil, nil, "/packed")
      local c = open("/packed", OFFER:format("permessage-deflate"))
      c:send(PING, "x", { rsv = 4 })
      assert.matches("^close 1002", c:rest()[1])
      c = open("/packed", OFFER:format("permessage-deflate"))
      c:raw(frame(TEXT, "x", { fin = false }) .. frame(0, "y", { rsv = 4 }))
      assert.matches("^close 1002", c:rest()[1])
    end)

    it("refuses what can not be unpacked, is no UTF-8, or grows beyond max_message", function()
      local c = open("/packed", OFFER:format("permessage-deflate"))
      c:send(TEXT, "\255\255\255", { rsv = 4 })
      assert.matches("^close 1007", c:rest()[1])
      c = open("/packed", OFFER:format("permessage-deflate"))
      c:send(TEXT, deflate.packer()("\237\160\128"), { rsv = 4 })
      assert.matches("^close 1007", c:rest()[1])
      c = open("/small", OFFER:format("permessage-deflate"))
      local bomb = deflate.packer()(("\0"):rep(900000))
      assert.is_true(#bomb < 1000)
      c:send(BINARY, bomb, { rsv = 4 })
      assert.matches("^close 1009", c:rest()[1])
    end)
  end)
end)
