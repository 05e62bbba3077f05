--- A WebSocket client that sends whatever a test wants, frame by frame.
local bit = require "bit"
local socket = require "socket"

local M = {}
local Client = {}
Client.__index = Client

M.KEY, M.ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
M.TEXT, M.BINARY, M.CLOSE, M.PING, M.PONG = 1, 2, 8, 9, 10

--- The bytes of a handshake; headers are lines that come on top.
function M.handshake(path, headers)
  return ("GET %s HTTP/1.1\r\nHost: test.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    .. "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n%s\r\n"):format(path, M.KEY, headers or "")
end

local function mask_bytes(text, mask)
  local out = {}
  for i = 1, #text do
    out[i] = string.char(bit.bxor(text:byte(i), mask:byte((i - 1) % 4 + 1)))
  end
  return table.concat(out)
end

local function number(n, bytes)
  local out = {}
  for i = bytes, 1, -1 do
    out[i] = string.char(n % 256)
    n = math.floor(n / 256)
  end
  return table.concat(out)
end

--- One frame. opts: fin = false, rsv = 4 | 2 | 1, mask = "abcd" or false, length = what the head says
function M.frame(opcode, payload, opts)
  opts = opts or {}
  local len, mask = opts.length or #payload, opts.mask
  if mask == nil then mask = "\1\2\3\4" end
  local first = (opts.fin == false and 0 or 128) + (opts.rsv or 0) * 16 + opcode
  local second, more = len, ""
  if len > 65535 then second, more = 127, number(len, 8)
  elseif len > 125 then second, more = 126, number(len, 2) end
  return string.char(first, second + (mask and 128 or 0)) .. more .. (mask or "")
    .. (mask and mask ~= "\0\0\0\0" and mask_bytes(payload, mask) or payload)
end

--- The payload of a Close frame.
function M.code(code, reason) return number(code, 2) .. (reason or "") end

--- Takes over a socket that is connected; sends the handshake and reads its answer.
function M.open(s, path, headers)
  local self = setmetatable({ socket = s, head = "" }, Client)
  s:settimeout(10)
  assert(s:send(M.handshake(path, headers)))
  repeat
    local line = assert(s:receive("*l"))
    self.head = self.head .. line .. "\n"
  until line == ""
  self.status = tonumber(self.head:match("^HTTP/1%.1 (%d+)"))
  return self
end

--- A value of the answer's head; the name in lower case.
function Client:header(name)
  for line in self.head:gmatch("[^\n]+") do
    local field, value = line:match("^([^:]+):%s*(.-)%s*$")
    if field and field:lower() == name then return value end
  end
end

function Client:raw(bytes) return self.socket:send(bytes) end
function Client:send(opcode, payload, opts) return self:raw(M.frame(opcode, payload, opts)) end

--- The next frame: { opcode, payload, fin, rsv }; nil and why there is none.
function Client:frame()
  local head, err = self.socket:receive(2)
  if not head then return nil, err end
  local a, b = head:byte(1, 2)
  assert(b < 128, "a server masked a frame")
  if b == 126 or b == 127 then
    local more = assert(self.socket:receive(b == 126 and 2 or 8))
    b = 0
    for i = 1, #more do b = b * 256 + more:byte(i) end
  end
  local payload = b > 0 and assert(self.socket:receive(b)) or ""
  return { opcode = a % 16, rsv = math.floor(a / 16) % 8, fin = a >= 128, payload = payload }
end

--- What the gateway says up to its end, as words: "1:text", "10:pong", "close 1000 reason", "end".
function Client:rest()
  local words = {}
  while true do
    local f, err = self:frame()
    if not f then
      words[#words + 1] = err == "closed" and "end" or err
      return words
    end
    if f.opcode == M.CLOSE then
      local hi, lo = f.payload:byte(1, 2)
      words[#words + 1] = hi and ("close %d %s"):format(hi * 256 + lo, f.payload:sub(3)) or "close"
    else
      words[#words + 1] = (f.fin and "" or "part ") .. f.opcode .. ":" .. f.payload
    end
  end
end

--- Closes in the ordinary way; the words up to the end.
function Client:bye(code)
  self:send(M.CLOSE, M.code(code or 1000))
  local words = self:rest()
  self.socket:close()
  return words
end

M.now = socket.gettime
return M
