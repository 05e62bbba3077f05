--- A client of a WebSocket of the site: app:ws(path, opts).
--
--   local ws = app:ws("/chat", { protocols = { "chat.v1" } })
--   ws:send("hello")
--   assert.equal("hello yourself", (ws:receive()))
--   ws:close()
--
-- Time moves while it waits, as for requests.  Pings are answered, and so is a Close frame.
local bit = require "bit"
local message = require "moonlatch.test_message"

local Socket = {}
Socket.__index = Socket

local WAIT_MAX_S = 3600
local TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
local KINDS = { [TEXT] = "text", [BINARY] = "binary" }
local KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
local MASK = { 0x6d, 0x6f, 0x6f, 0x6e }

-- ---- frames ----

local function number(n, count)
  local bytes = {}
  for i = count, 1, -1 do
    bytes[i] = string.char(n % 256)
    n = math.floor(n / 256)
  end
  return table.concat(bytes)
end

local function masked(payload)
  local bytes = {}
  for i = 1, #payload do bytes[i] = string.char(bit.bxor(payload:byte(i), MASK[(i - 1) % 4 + 1])) end
  return table.concat(bytes)
end

local function frame(opcode, payload)
  local len, more = #payload, ""
  local second = len
  if len > 65535 then second, more = 127, number(len, 8)
  elseif len > 125 then second, more = 126, number(len, 2) end
  return string.char(128 + opcode, 128 + second) .. more .. string.char(unpack(MASK)) .. masked(payload)
end

-- The first frame of text: opcode, payload, fin, bytes used; nil when it is not all there.
local function first_frame(text)
  if #text < 2 then return nil end
  local a, b = text:byte(1, 2)
  local at, len = 3, b % 128
  if b >= 128 then error("the gateway masked a frame", 0) end
  if len > 125 then
    local count = len == 126 and 2 or 8
    if #text < 2 + count then return nil end
    len = 0
    for i = 3, 2 + count do len = len * 256 + text:byte(i) end
    at = 3 + count
  end
  if #text < at - 1 + len then return nil end
  return a % 16, text:sub(at, at - 1 + len), a >= 128, at - 1 + len
end

-- ---- what came ----

local function ended(self, code, reason)
  self.code, self.reason = code, reason
  self.connection:close()
end

local function take_close(self, payload)
  local hi, lo = payload:byte(1, 2)
  if not self.closing then self.connection:send(frame(CLOSE, payload:sub(1, 2))) end
  ended(self, hi and hi * 256 + lo or 1005, payload:sub(3))
end

local function take_frame(self, opcode, payload, fin)
  if opcode == PING then
    self.connection:send(frame(PONG, payload))
  elseif opcode == PONG then
    self.pongs = self.pongs + 1
  elseif opcode == CLOSE then
    take_close(self, payload)
  else
    self.kind = self.kind or KINDS[opcode] or error("the gateway sent a frame with the opcode " .. opcode, 0)
    self.part = self.part .. payload
    if not fin then return end
    self.inbox[#self.inbox + 1] = { self.part, self.kind }
    self.part, self.kind = "", nil
  end
end

local function take(self)
  if self.code then return end
  self.bytes = self.bytes .. self.connection:take()
  local opcode, payload, fin, used = first_frame(self.bytes)
  while opcode and not self.code do
    self.bytes = self.bytes:sub(used + 1)
    take_frame(self, opcode, payload, fin)
    opcode, payload, fin, used = first_frame(self.bytes)
  end
  if not self.code and self.connection:ended() then ended(self, 1006, "") end
end

-- Lets the site work, and time pass for at most limit seconds, until test() is true; is it?
local function await(self, limit, test)
  local app, due = self.app, self.app:elapsed() + limit
  while true do
    self.turn(app)
    if test() then return true end
    if not self.step(app, due - app:elapsed()) then return test() end
  end
end

-- ---- the test's side ----

--- Sends a text; ws:send_binary(bytes) the same as a binary message.
function Socket:send(text)
  take(self)
  if self.code then return nil, "closed" end
  self.connection:send(frame(TEXT, text))
  self.turn(self.app)
  return true
end

function Socket:send_binary(bytes)
  take(self)
  if self.code then return nil, "closed" end
  self.connection:send(frame(BINARY, bytes))
  self.turn(self.app)
  return true
end

--- Sends a ping; true once the pong is there.
function Socket:ping(payload)
  local before = self.pongs
  self.connection:send(frame(PING, payload or ""))
  return await(self, WAIT_MAX_S, function()
    take(self)
    return self.pongs > before or self.code ~= nil
  end) and self.pongs > before
end

--- The next message and its kind; waits for it.
-- @param seconds how long at most; an hour
-- @return message, "text" | "binary"; nil, code, reason when the socket is closed (1006: without a Close
--   frame); nil, "timeout"
function Socket:receive(seconds)
  await(self, seconds or WAIT_MAX_S, function()
    take(self)
    return #self.inbox > 0 or self.code ~= nil
  end)
  local first = table.remove(self.inbox, 1)
  if first then return first[1], first[2] end
  if self.code then return nil, self.code, self.reason end
  if seconds then return nil, "timeout" end
  error("no message: the site waits for nothing that will happen within an hour", 2)
end

--- Closes in the ordinary way, and waits for the answer: its code.
function Socket:close(code, reason)
  take(self)
  if not self.code and not self.closing then
    self.closing = true
    self.connection:send(frame(CLOSE, number(code or 1000, 2) .. (reason or "")))
  end
  await(self, WAIT_MAX_S, function()
    take(self)
    return self.code ~= nil
  end)
  return self.code
end

--- The client goes away without a word.
function Socket:drop()
  if self.code then return end
  ended(self, 1006, "")
  self.turn(self.app)
end

local M = {}

local function handshake(path, opts)
  local headers = { Connection = "Upgrade", Upgrade = "websocket", ["Sec-WebSocket-Version"] = "13",
                    ["Sec-WebSocket-Key"] = KEY, Origin = opts.origin,
                    ["Sec-WebSocket-Protocol"] = opts.protocols and table.concat(opts.protocols, ", ") }
  for name, value in pairs(opts.headers or {}) do headers[name] = value end
  return message.request { path = path, host = opts.host, headers = headers }
end

local known = { protocols = true, origin = true, headers = true, host = true, ip = true, port = true }

--- Opens a WebSocket.
-- @param opts { protocols, origin, headers, host, ip, port }
-- @param turn, step of the app: lets it work; moves its time
-- @return socket; or nil, res when the answer is no 101
function M.open(app, path, opts, turn, step)
  opts = opts or {}
  for key in pairs(opts) do
    if not known[key] then error(("unknown option %s of a WebSocket"):format(tostring(key)), 3) end
  end
  local connection = app.sim:client(opts.ip or "127.0.0.1", opts.port or 0)
  local self = setmetatable({ app = app, connection = connection, turn = turn, step = step, bytes = "",
                              inbox = {}, part = "", pongs = 0 }, Socket)
  local raw, why
  connection:send(handshake(path, opts))
  await(self, WAIT_MAX_S, function()
    raw, why = connection:response("GET")
    return raw ~= nil or why ~= "again"
  end)
  if not raw then
    connection:close()
    return nil, why
  end
  local res = message.answer(raw, connection:record())
  self.response, self.protocol = res, res.headers["sec-websocket-protocol"]
  if res.status ~= 101 then
    connection:close()
    return nil, res
  end
  if res.headers["sec-websocket-accept"] ~= ACCEPT then error("the 101 does not fit the handshake", 3) end
  return self
end

return M
