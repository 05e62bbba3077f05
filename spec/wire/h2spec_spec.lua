--- What h2spec asks of a server, section by section: RFC 9113 and RFC 7541 by raw frames.
--
-- A case is { section, what is done, function(c), expectation... }; see `judges`. Sections are those of h2spec, which
-- are RFC 7540's where the number has changed since.
local gateway = require "spec.support.gateway"
local h2 = require "spec.support.h2"

local SITE = [[
  local gw = require "moonlatch"
  gw.listen { port = PORT, host = "127.0.0.1" }
  gw.route("GET /", { respond = gw.response(200, "hello, world") })
  gw.route("HEAD /", { respond = gw.response(200, "hello, world") })
  gw.route("POST /", { respond = function(req) return gw.response(200, "got " .. (req:text() or "nothing")) end })
]]

local number = h2.number
local GET = h2.get("/")
local function get(...) return h2.get("/", { ... }) end
local function post(...) return h2.post("/", { ... }) end
local function block(...) return h2.block { ... } end
local M, S, P, A = { ":method", "GET" }, { ":scheme", "http" }, { ":path", "/" }, { ":authority", "a" }
local PM = { ":method", "POST" }

-- ---- expectations ----

local function one_of(word, words)
  for wanted in words:gmatch("%S+") do
    if wanted == word then return true end
  end
  return false
end

local judges = {}

-- A GOAWAY with one of these codes, or the end of the connection.
function judges.connection(c, words)
  c:await(function() return c.goaway and c.goaway ~= "NO_ERROR" end, "GOAWAY")
  assert.truthy(c.goaway and one_of(c.goaway, words) or not c.goaway and c.closed,
    "GOAWAY says " .. tostring(c.goaway))
  c:await(function() return c.closed end, "the end")
end

-- The same, or a reset of the stream (1 unless said).
function judges.stream(c, words, id)
  local s = c:stream(id or 1)
  c:await(function() return s.reset or c.goaway end, "a reset")
  local word = s.reset or c.goaway
  assert.truthy(word and one_of(word, words) or not word and c.closed, "it says " .. tostring(word))
end

function judges.answer(c, body, id)
  local s = c:answer(id or 1)
  assert.is_nil(c.goaway)
  assert.is_nil(s.reset)
  assert.equal(200, s.status)
  if body then assert.equal(body, s.body) end
end

-- It is still there.
function judges.alive(c)
  local before = c.pings
  c:send("PING", "", 0, "h2spec!!")
  c:await(function() return c.pings > before end, "an acknowledgement")
  assert.is_nil(c.goaway)
  assert.equal("h2spec!!", c.pong)
end

local cases = {}
local function case(section, title, act, judge, ...)
  cases[#cases + 1] = { section = section, title = title, act = act, judge = judge, ... }
end

local function ask(c) c:headers(1, GET, "end") end
local function asked(c) -- and the answer has come: the stream is closed
  ask(c)
  c:answer(1)
end

-- ---- generic ----

case("generic 1", "a preface", function() end, "alive")
case("generic 2.1", "PRIORITY on an idle stream", function(c)
  c:send("PRIORITY", "", 1, number(0, 4) .. "\255")
  ask(c)
end, "answer", "hello, world")
case("generic 2.2", "WINDOW_UPDATE on a stream that the client has ended", function(c)
  ask(c)
  c:send("WINDOW_UPDATE", "", 1, number(100, 4))
end, "answer")
case("generic 2.3", "PRIORITY on a stream that the client has ended", function(c)
  ask(c)
  c:send("PRIORITY", "", 1, number(0, 4) .. "\255")
end, "answer")
case("generic 2.4", "RST_STREAM on a stream that the client has ended", function(c)
  ask(c)
  c:send("RST_STREAM", "", 1, number(8, 4))
end, "alive")
case("generic 2.5", "PRIORITY on a closed stream", function(c)
  asked(c)
  c:send("PRIORITY", "", 1, number(0, 4) .. "\255")
end, "alive")

case("generic 3.1.1", "DATA", function(c)
  c:headers(1, post())
  c:data(1, "test", "end")
end, "answer", "got test")
case("generic 3.1.2", "two DATA", function(c)
  c:headers(1, post())
  c:data(1, "test")
  c:data(1, "test", "end")
end, "answer", "got testtest")
case("generic 3.1.3", "DATA with padding", function(c)
  c:headers(1, post())
  c:data(1, "\6test\0\0\0\0\0\0", "end padded")
end, "answer", "got test")
case("generic 3.2.1", "HEADERS", ask, "answer", "hello, world")
case("generic 3.2.2", "HEADERS with padding", function(c)
  c:headers(1, "\6" .. GET .. "\0\0\0\0\0\0", "end padded")
end, "answer", "hello, world")
case("generic 3.2.3", "HEADERS with priority", function(c)
  c:headers(1, number(0, 4) .. "\255" .. GET, "end priority")
end, "answer", "hello, world")
for title, payload in pairs {
  ["of weight 1"] = number(0, 4) .. "\0", ["of weight 256"] = number(0, 4) .. "\255",
  ["with a dependency"] = number(3, 4) .. "\255", ["that is exclusive"] = number(3 + 2 ^ 31, 4) .. "\255",
} do
  case("generic 3.3", "PRIORITY " .. title, function(c)
    c:send("PRIORITY", "", 1, payload)
    ask(c)
  end, "answer")
end
case("generic 3.3.5", "PRIORITY for an idle stream, HEADERS for a lower one", function(c)
  c:send("PRIORITY", "", 5, number(0, 4) .. "\255")
  c:headers(3, GET, "end")
end, "answer", "hello, world", 3)
case("generic 3.4", "RST_STREAM", function(c)
  c:headers(1, post())
  c:send("RST_STREAM", "", 1, number(8, 4))
end, "alive")
case("generic 3.5", "SETTINGS", function(c)
  c:send("SETTINGS", "", 0, h2.settings(3, 100))
  c:await(function() return c.acks == 2 end)
end, "alive")
case("generic 3.7", "PING", function() end, "alive")
case("generic 3.8", "GOAWAY", function(c)
  c:send("GOAWAY", "", 0, number(0, 4) .. number(0, 4) .. "h2spec")
  c:send("PING", "", 0, "12345678")
  c:await(function() return c.pings > 0 end) -- or the end
end, function(c) assert.truthy(c.closed or c.pings > 0) end)
case("generic 3.9.1", "WINDOW_UPDATE of the connection", function(c)
  c:send("WINDOW_UPDATE", "", 0, number(1, 4))
  ask(c)
end, "answer")
case("generic 3.9.2", "WINDOW_UPDATE of a stream", function(c)
  c:headers(1, post())
  c:send("WINDOW_UPDATE", "", 1, number(1, 4))
  c:data(1, "", "end")
end, "answer", "got ")
case("generic 3.10.1", "CONTINUATION", function(c)
  c:headers(1, GET:sub(1, 20), "end more")
  c:send("CONTINUATION", "headers", 1, GET:sub(21))
end, "answer", "hello, world")
case("generic 3.10.2", "two CONTINUATION", function(c)
  c:headers(1, GET:sub(1, 20), "end more")
  c:send("CONTINUATION", "", 1, GET:sub(21, 30))
  c:send("CONTINUATION", "headers", 1, GET:sub(31))
end, "answer", "hello, world")
case("generic 4.1", "GET", ask, "answer", "hello, world")
case("generic 4.2", "HEAD", function(c) c:headers(1, h2.request("HEAD", "/"), "end") end, "answer", "")
case("generic 4.3", "POST", function(c)
  c:headers(1, post({ "content-length", "4" }))
  c:data(1, "test", "end")
end, "answer", "got test")
case("generic 4.4", "POST with trailers", function(c)
  c:headers(1, post({ "trailer", "x-test" }))
  c:data(1, "test")
  c:headers(1, block({ "x-test", "ok" }), "end")
end, "answer", "got test")

local NAME, VALUE, PACKED_NAME, PACKED_VALUE = "\3cat", "\4test", "\130\32\211", "\131\73\80\159"
for title, bytes in pairs {
  ["1: indexed"] = "\144", -- accept-encoding: gzip, deflate
  ["2: literal, indexed from now on, known name"] = "\122" .. VALUE,
  ["3: the same, packed"] = "\122" .. PACKED_VALUE,
  ["4: literal, indexed from now on, new name"] = "\64" .. NAME .. VALUE,
  ["5: the same, packed"] = "\64" .. PACKED_NAME .. PACKED_VALUE,
  ["6: literal, not indexed, known name"] = "\15\43" .. VALUE,
  ["7: the same, packed"] = "\15\43" .. PACKED_VALUE,
  ["8: literal, not indexed, new name"] = "\0" .. NAME .. VALUE,
  ["9: the same, packed"] = "\0" .. PACKED_NAME .. PACKED_VALUE,
  ["10: literal, never indexed, known name"] = "\31\43" .. VALUE,
  ["11: the same, packed"] = "\31\43" .. PACKED_VALUE,
  ["12: literal, never indexed, new name"] = "\16" .. NAME .. VALUE,
  ["13: the same, packed"] = "\16" .. PACKED_NAME .. PACKED_VALUE,
} do
  case("generic 5", title, function(c) c:headers(1, GET .. bytes, "end") end, "answer", "hello, world")
end
case("generic 5.14", "a size of the dynamic table", function(c)
  c:headers(1, "\63\225\31" .. GET, "end")
end, "answer")
case("generic 5.15", "two sizes of the dynamic table", function(c)
  c:headers(1, "\32\63\225\31" .. GET, "end")
end, "answer")

-- ---- RFC 9113 ----

case("4.1.1", "a frame of an unknown type", function(c) c:send(22, "", 0, "h2spec!!") end, "alive")
case("4.1.2", "a frame with a flag that is not defined", function(c)
  c:send("PING", "22", 0, "12345678")
  c:await(function() return c.pings == 1 end)
end, "alive")
case("4.1.3", "a frame with the reserved bit", function(c)
  c:send("PING", "", 2 ^ 31, "12345678")
  c:await(function() return c.pings == 1 end)
end, "alive")
case("4.2.1", "DATA of 2^14 bytes", function(c)
  c:headers(1, post())
  c:data(1, ("x"):rep(16384), "end")
end, "answer", "got " .. ("x"):rep(16384))
case("4.2.2", "DATA larger than SETTINGS_MAX_FRAME_SIZE", function(c)
  c:headers(1, post())
  c:data(1, ("x"):rep(16385), "end")
end, "stream", "FRAME_SIZE_ERROR")
case("4.2.3", "HEADERS larger than SETTINGS_MAX_FRAME_SIZE", function(c)
  local more = {}
  for i = 1, 5 do more[i] = { "x-dummy" .. i, ("x"):rep(4096) } end
  c:headers(1, h2.get("/", more), "end")
end, "connection", "FRAME_SIZE_ERROR")
case("4.3.1", "a field block that is none", function(c)
  c:headers(1, "\64\1", "end")
end, "connection", "COMPRESSION_ERROR")
case("4.3.2", "PRIORITY inside of a field block", function(c)
  c:headers(1, GET, "end more")
  c:send("PRIORITY", "", 1, number(0, 4) .. "\255")
end, "connection", "PROTOCOL_ERROR")
case("4.3.3", "HEADERS of another stream inside of a field block", function(c)
  c:headers(1, GET, "end more")
  c:headers(3, GET, "end")
end, "connection", "PROTOCOL_ERROR")

case("5.1.1", "idle: DATA", function(c) c:data(1, "test", "end") end, "connection", "PROTOCOL_ERROR STREAM_CLOSED")
case("5.1.2", "idle: RST_STREAM", function(c) c:send("RST_STREAM", "", 1, number(8, 4)) end, "connection",
  "PROTOCOL_ERROR")
case("5.1.3", "idle: WINDOW_UPDATE", function(c) c:send("WINDOW_UPDATE", "", 1, number(100, 4)) end, "connection",
  "PROTOCOL_ERROR")
case("5.1.4", "idle: CONTINUATION", function(c) c:send("CONTINUATION", "headers", 1, GET) end, "connection",
  "PROTOCOL_ERROR")
case("5.1.5", "half closed: DATA", function(c)
  ask(c)
  c:data(1, "test", "end")
end, "stream", "STREAM_CLOSED")
case("5.1.6", "half closed: HEADERS", function(c)
  ask(c)
  ask(c)
end, "stream", "STREAM_CLOSED")
case("5.1.7", "half closed: CONTINUATION", function(c)
  ask(c)
  c:send("CONTINUATION", "headers", 1, GET)
end, "connection", "STREAM_CLOSED PROTOCOL_ERROR")
local function was_reset(c)
  c:headers(1, post())
  c:send("RST_STREAM", "", 1, number(8, 4))
end
case("5.1.8", "closed by RST_STREAM: DATA", function(c)
  was_reset(c)
  c:data(1, "test", "end")
end, "stream", "STREAM_CLOSED")
case("5.1.9", "closed by RST_STREAM: HEADERS", function(c)
  was_reset(c)
  ask(c)
end, "stream", "STREAM_CLOSED")
case("5.1.10", "closed by RST_STREAM: CONTINUATION", function(c)
  was_reset(c)
  c:send("CONTINUATION", "headers", 1, GET)
end, "connection", "STREAM_CLOSED PROTOCOL_ERROR")
case("5.1.11", "closed: DATA", function(c)
  asked(c)
  c:data(1, "test", "end")
end, "stream", "STREAM_CLOSED")
case("5.1.12", "closed: HEADERS", function(c)
  asked(c)
  ask(c)
end, "connection", "STREAM_CLOSED")
case("5.1.13", "closed: CONTINUATION", function(c)
  asked(c)
  c:send("CONTINUATION", "headers", 1, GET)
end, "connection", "STREAM_CLOSED PROTOCOL_ERROR")
case("5.1.1.1", "an even stream", function(c) c:headers(2, GET, "end") end, "connection", "PROTOCOL_ERROR")
case("5.1.1.2", "a stream lower than one before", function(c)
  c:headers(5, GET, "end")
  c:headers(3, GET, "end")
end, "connection", "PROTOCOL_ERROR")
case("5.1.2", "more streams than are allowed", function(c)
  local last = 2 * c.settings[3] + 1
  for id = 1, last, 2 do c:headers(id, post()) end
  c:await(function() return c:stream(last).reset or c.goaway end)
end, function(c)
  local s = c:stream(2 * c.settings[3] + 1)
  assert.truthy(one_of(s.reset or c.goaway, "PROTOCOL_ERROR REFUSED_STREAM"))
end)
case("5.3.1.1", "HEADERS that depend on themselves", function(c)
  c:headers(1, number(1, 4) .. "\255" .. GET, "end priority")
end, "stream", "PROTOCOL_ERROR")
case("5.3.1.2", "PRIORITY that depends on itself", function(c)
  c:send("PRIORITY", "", 1, number(1, 4) .. "\255")
end, "stream", "PROTOCOL_ERROR")
case("5.4.1", "a connection that is wrong is told so, then closed", function(c)
  c:send("PING", "", 3, "12345678")
end, function(c) assert.equal("PROTOCOL_ERROR", c:fate()) end)
case("5.5.1", "a frame of an extension", function(c) c:send(255, "1 2 4 8", 0, ("x"):rep(100)) end, "alive")
case("5.5.2", "a frame of an extension inside of a field block", function(c)
  c:headers(1, GET, "end more")
  c:send(255, "", 1, "12345678")
end, "connection", "PROTOCOL_ERROR")

case("6.1.1", "DATA on stream 0", function(c)
  c:headers(1, post())
  c:data(0, "test", "end")
end, "connection", "PROTOCOL_ERROR")
case("6.1.2", "DATA on a stream that is not open", function(c)
  ask(c)
  c:data(1, "test")
end, "stream", "STREAM_CLOSED")
case("6.1.3", "DATA with more padding than there is", function(c)
  c:headers(1, post())
  c:data(1, "\6test", "padded")
end, "connection", "PROTOCOL_ERROR")
case("6.2.1", "PRIORITY after HEADERS without END_HEADERS", function(c)
  c:headers(1, GET, "more")
  c:send("PRIORITY", "", 1, number(0, 4) .. "\255")
end, "connection", "PROTOCOL_ERROR")
case("6.2.2", "HEADERS of another stream after HEADERS without END_HEADERS", function(c)
  c:headers(1, GET, "more")
  c:headers(3, GET)
end, "connection", "PROTOCOL_ERROR")
case("6.2.3", "HEADERS on stream 0", function(c) c:headers(0, GET, "end") end, "connection", "PROTOCOL_ERROR")
case("6.2.4", "HEADERS with more padding than there is", function(c)
  c:headers(1, "\255" .. GET, "end padded")
end, "connection", "PROTOCOL_ERROR")
case("6.3.1", "PRIORITY on stream 0", function(c) c:send("PRIORITY", "", 0, number(1, 4) .. "\255") end,
  "connection", "PROTOCOL_ERROR")
case("6.3.2", "PRIORITY of a length other than 5", function(c)
  c:headers(1, post())
  c:send("PRIORITY", "", 1, number(0, 4))
end, "stream", "FRAME_SIZE_ERROR")
case("6.4.1", "RST_STREAM on stream 0", function(c) c:send("RST_STREAM", "", 0, number(8, 4)) end, "connection",
  "PROTOCOL_ERROR")
case("6.4.2", "RST_STREAM on an idle stream", function(c) c:send("RST_STREAM", "", 7, number(8, 4)) end,
  "connection", "PROTOCOL_ERROR")
case("6.4.3", "RST_STREAM of a length other than 4", function(c)
  c:headers(1, post())
  c:send("RST_STREAM", "", 1, "\0\0\0")
end, "connection", "FRAME_SIZE_ERROR")
case("6.5.1", "SETTINGS with ACK and a payload", function(c) c:send("SETTINGS", "ack", 0, h2.settings(3, 1)) end,
  "connection", "FRAME_SIZE_ERROR")
case("6.5.2", "SETTINGS on a stream", function(c) c:send("SETTINGS", "", 1, h2.settings(3, 1)) end, "connection",
  "PROTOCOL_ERROR")
case("6.5.3", "SETTINGS of a length that is no multiple of 6", function(c) c:send("SETTINGS", "", 0, "\0\3\0") end,
  "connection", "FRAME_SIZE_ERROR")
for _, given in ipairs {
  { "ENABLE_PUSH 2", 2, 2, "PROTOCOL_ERROR" }, { "INITIAL_WINDOW_SIZE 2^31", 4, 2 ^ 31, "FLOW_CONTROL_ERROR" },
  { "MAX_FRAME_SIZE 16383", 5, 16383, "PROTOCOL_ERROR" }, { "MAX_FRAME_SIZE 2^24", 5, 2 ^ 24, "PROTOCOL_ERROR" },
} do
  case("6.5.2", given[1], function(c) c:send("SETTINGS", "", 0, h2.settings(given[2], given[3])) end, "connection",
    given[4])
end
case("6.5.2.5", "an unknown setting", function(c) c:send("SETTINGS", "", 0, h2.settings(255, 1)) end, "alive")
case("6.5.3.1", "two values of INITIAL_WINDOW_SIZE", function(c)
  c:send("SETTINGS", "", 0, h2.settings(4, 100, 4, 1))
  ask(c)
  c:await(function() return #c:stream(1).body > 0 end)
end, function(c)
  judges.alive(c)
  assert.equal("h", c:stream(1).body)
end)
case("6.5.3.2", "SETTINGS are acknowledged", function(c)
  c:send("SETTINGS", "", 0)
  c:await(function() return c.acks == 2 end)
end, "alive")
case("6.7.1", "PING is acknowledged", function() end, "alive")
case("6.7.2", "PING with ACK is not", function(c)
  c:send("PING", "ack", 0, "invalid!")
end, function(c)
  judges.alive(c)
  assert.equal(1, c.pings)
end)
case("6.7.3", "PING on a stream", function(c) c:send("PING", "", 1, "12345678") end, "connection", "PROTOCOL_ERROR")
case("6.7.4", "PING of a length other than 8", function(c) c:send("PING", "", 0, "123456") end, "connection",
  "FRAME_SIZE_ERROR")
case("6.8", "GOAWAY on a stream", function(c) c:send("GOAWAY", "", 1, number(0, 4) .. number(0, 4)) end,
  "connection", "PROTOCOL_ERROR")
case("6.9.1", "WINDOW_UPDATE by 0", function(c) c:send("WINDOW_UPDATE", "", 0, number(0, 4)) end, "connection",
  "PROTOCOL_ERROR")
case("6.9.2", "WINDOW_UPDATE by 0 on a stream", function(c)
  c:headers(1, post())
  c:send("WINDOW_UPDATE", "", 1, number(0, 4))
end, "stream", "PROTOCOL_ERROR")
case("6.9.3", "WINDOW_UPDATE of a length other than 4", function(c) c:send("WINDOW_UPDATE", "", 0, "\0\0\1") end,
  "connection", "FRAME_SIZE_ERROR")
case("6.9.1.1", "a window of 1", function(c)
  c:send("SETTINGS", "", 0, h2.settings(4, 1))
  ask(c)
  c:await(function() return #c:stream(1).body > 0 end)
end, function(c)
  judges.alive(c)
  assert.equal("h", c:stream(1).body)
end)
case("6.9.1.2", "a window of the connection above 2^31-1", function(c)
  c:send("WINDOW_UPDATE", "", 0, number(2 ^ 31 - 1, 4))
  c:send("WINDOW_UPDATE", "", 0, number(2 ^ 31 - 1, 4))
end, "connection", "FLOW_CONTROL_ERROR")
case("6.9.1.3", "a window of a stream above 2^31-1", function(c)
  c:headers(1, post())
  c:send("WINDOW_UPDATE", "", 1, number(2 ^ 31 - 1, 4))
  c:send("WINDOW_UPDATE", "", 1, number(2 ^ 31 - 1, 4))
end, "stream", "FLOW_CONTROL_ERROR")
case("6.9.2.1", "windows that open when SETTINGS change them", function(c)
  c:send("SETTINGS", "", 0, h2.settings(4, 0))
  ask(c)
  c:await(function() return c:stream(1).status end)
  judges.alive(c)
  assert.equal("", c:stream(1).body)
  c:send("SETTINGS", "", 0, h2.settings(4, 1))
  c:await(function() return #c:stream(1).body > 0 end)
end, function(c)
  judges.alive(c)
  assert.equal("h", c:stream(1).body)
end)
case("6.9.2.2", "a window that is negative", function(c)
  c:send("SETTINGS", "", 0, h2.settings(4, 3))
  ask(c)
  c:await(function() return #c:stream(1).body == 3 end)
  c:send("SETTINGS", "", 0, h2.settings(4, 2))
  c:send("WINDOW_UPDATE", "", 1, number(2, 4))
  c:await(function() return #c:stream(1).body > 3 end)
end, function(c)
  judges.alive(c)
  assert.equal("hell", c:stream(1).body)
end)
case("6.9.2.3", "INITIAL_WINDOW_SIZE above 2^31-1", function(c)
  c:send("SETTINGS", "", 0, h2.settings(4, 2 ^ 31))
end, "connection", "FLOW_CONTROL_ERROR")
case("6.10.1", "CONTINUATION after CONTINUATION", function(c)
  c:headers(1, GET, "end more")
  c:send("CONTINUATION", "", 1, block({ "x-a", "1" }))
  c:send("CONTINUATION", "headers", 1, block({ "x-b", "2" }))
end, "answer", "hello, world")
case("6.10.2", "DATA after CONTINUATION without END_HEADERS", function(c)
  c:headers(1, post(), "more")
  c:send("CONTINUATION", "", 1, block({ "x-a", "1" }))
  c:data(1, "test", "end")
end, "connection", "PROTOCOL_ERROR")
case("6.10.3", "CONTINUATION on stream 0", function(c)
  c:headers(1, GET, "end more")
  c:send("CONTINUATION", "headers", 0, block({ "x-a", "1" }))
end, "connection", "PROTOCOL_ERROR")
case("6.10.4", "CONTINUATION after HEADERS with END_HEADERS", function(c)
  c:headers(1, post())
  c:send("CONTINUATION", "headers", 1, block({ "x-a", "1" }))
end, "connection", "PROTOCOL_ERROR")
case("6.10.5", "CONTINUATION after CONTINUATION with END_HEADERS", function(c)
  c:headers(1, post(), "more")
  c:send("CONTINUATION", "headers", 1, block({ "x-a", "1" }))
  c:send("CONTINUATION", "headers", 1, block({ "x-b", "2" }))
end, "connection", "PROTOCOL_ERROR")
case("6.10.6", "CONTINUATION after DATA", function(c)
  c:headers(1, post())
  c:data(1, "test")
  c:send("CONTINUATION", "headers", 1, block({ "x-a", "1" }))
end, "connection", "PROTOCOL_ERROR")
case("7.1", "GOAWAY with an unknown code", function(c)
  c:send("GOAWAY", "", 0, number(0, 4) .. number(255, 4))
  c:send("PING", "", 0, "12345678")
  c:await(function() return c.pings > 0 end)
end, function(c) assert.truthy(c.closed or c.pings > 0) end)
case("7.2", "RST_STREAM with an unknown code", function(c)
  c:headers(1, post())
  c:send("RST_STREAM", "", 1, number(255, 4))
end, "alive")
case("8.1.1", "a second HEADERS without END_STREAM", function(c)
  c:headers(1, post())
  c:headers(1, block({ "x-test", "ok" }))
end, "stream", "PROTOCOL_ERROR")

-- Requests that are wrong by their fields.
for _, given in ipairs {
  { "8.1.2", "an upper-case name", get({ "X-TEST", "ok" }) },
  { "8.1.2.1", "an unknown pseudo-field", get({ ":test", "ok" }) },
  { "8.1.2.1", "a pseudo-field of answers", get({ ":status", "200" }) },
  { "8.1.2.1", "a pseudo-field after others", block({ "x-test", "ok" }, M, S, P, A) },
  { "8.1.2.1", "a pseudo-field after others, again", get({ "x-test", "ok" }, { ":path", "/" }) },
  { "8.1.2.2", "a field of the connection", get({ "connection", "keep-alive" }) },
  { "8.1.2.2", "TE other than trailers", get({ "te", "trailers, deflate" }) },
  { "8.1.2.3", "an empty :path", block(M, S, { ":path", "" }, A) },
  { "8.1.2.3", "no :method", block(S, P, A) },
  { "8.1.2.3", "no :scheme", block(M, P, A) },
  { "8.1.2.3", "no :path", block(M, S, A) },
  { "8.1.2.3", "two :method", block(M, M, S, P, A) },
  { "8.1.2.3", "two :scheme", block(M, S, S, P, A) },
  { "8.1.2.3", "two :path", block(M, S, P, P, A) },
} do
  case(given[1], given[2], function(c) c:headers(1, given[3], "end") end, "stream", "PROTOCOL_ERROR")
end
case("8.1.2.1", "a pseudo-field in trailers", function(c)
  c:headers(1, post())
  c:data(1, "test")
  c:headers(1, block(PM), "end")
end, "stream", "PROTOCOL_ERROR")
case("8.1.2.6.1", "a length that is not that of DATA", function(c)
  c:headers(1, post({ "content-length", "1" }))
  c:data(1, "test", "end")
end, "stream", "PROTOCOL_ERROR")
case("8.1.2.6.2", "a length that is not that of several DATA", function(c)
  c:headers(1, post({ "content-length", "1" }))
  c:data(1, "test")
  c:data(1, "test", "end")
end, "stream", "PROTOCOL_ERROR")
case("8.2", "PUSH_PROMISE", function(c)
  c:send("PUSH_PROMISE", "headers", 1, number(3, 4) .. GET)
end, "connection", "PROTOCOL_ERROR")

-- ---- RFC 7541 ----

for _, given in ipairs {
  { "hpack 2.3.3", "an index beyond the tables", "\255\0" },
  { "hpack 2.3.3", "a name with an index beyond the tables", "\127\100" .. VALUE },
  { "hpack 5.2", "padding of more than 7 bits", "\0" .. "\4test" .. "\132\73\80\159\255" },
  { "hpack 5.2", "padding of zeros", "\0" .. "\4test" .. "\131\73\80\144" },
  { "hpack 5.2", "the end of string as a symbol", "\0" .. "\4test" .. "\136\255\255\255\253\73\80\159\255" },
  { "hpack 6.1", "index 0", "\128" },
  { "hpack 4.2", "a size of the table at the end of a block", "\33" },
} do
  case(given[1], given[2], function(c) c:headers(1, GET .. given[3], "end") end, "connection", "COMPRESSION_ERROR")
end
case("hpack 6.3", "a size of the table above SETTINGS_HEADER_TABLE_SIZE", function(c)
  c:headers(1, "\63\226\31" .. GET, "end")
end, "connection", "COMPRESSION_ERROR")

describe("a server of HTTP/2, as h2spec wants it,", function()
  local g

  setup(function() g = gateway.start({ ["gateway.lua"] = SITE }, { args = { "--workers", "1" } }) end)
  teardown(gateway.stop_all)

  for _, t in ipairs(cases) do
    it(t.section .. ": " .. t.title, function()
      local c = h2.open(g:connect())
      t.act(c)
      local judge = judges[t.judge] or t.judge
      judge(c, unpack(t))
      c:close()
    end)
  end

  it("3.5: a preface that is none", function()
    local c = h2.new(g:connect())
    c:raw("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
    local line = c.socket:receive("*l")
    assert.truthy(line == nil or line:find("^HTTP/1.1 %d+") or line:byte(4) == 7)
    c:close()
  end)

  it("3.5: what follows the preface must be SETTINGS", function()
    local c = h2.new(g:connect())
    c:raw(h2.PREFACE)
    c:headers(1, GET, "end")
    judges.connection(c, "PROTOCOL_ERROR")
    c:close()
  end)

  it("is there for others after all that", function()
    local c = h2.open(g:connect())
    ask(c)
    judges.answer(c, "hello, world")
    c:close()
    assert.truthy(g:alive())
  end)
end)
