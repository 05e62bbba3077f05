--- A client of HTTP/2 that sends whatever a test wants, frame by frame.
--
--   local c = h2.open(g:connect())          -- preface, SETTINGS, and those of the gateway
--   c:headers(1, h2.get("/"), "end")        -- flags by name; END_HEADERS unless "more"
--   c:answer(1)                             -- { status, fields, body, ended, reset }
--
-- Field blocks of the gateway are decoded by nghttp2, which it has loaded itself anyway.
local bit = require "bit"
local ffi = require "ffi"

ffi.cdef [[
typedef struct nghttp2_hd_inflater nghttp2_hd_inflater;
typedef struct { uint8_t *name, *value; size_t namelen, valuelen; uint8_t flags; } ml_spec_nv;
int nghttp2_hd_inflate_new(nghttp2_hd_inflater **inflater);
void nghttp2_hd_inflate_del(nghttp2_hd_inflater *inflater);
ssize_t nghttp2_hd_inflate_hd2(nghttp2_hd_inflater *inflater, ml_spec_nv *nv, int *flags,
                               const uint8_t *in, size_t inlen, int final);
int nghttp2_hd_inflate_end_headers(nghttp2_hd_inflater *inflater);
]]
local nghttp2 = ffi.load("libnghttp2.so.14")
local EMIT, FINAL = 2, 1

local M = {}
local Client = {}
Client.__index = Client

M.PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
local types = { [0] = "DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY",
  "WINDOW_UPDATE", "CONTINUATION" }
local numbers = {}
for number, name in pairs(types) do numbers[name] = number end
local flag_bits = { ["end"] = 1, ack = 1, headers = 4, padded = 8, priority = 32 }
local errors = { [0] = "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT",
  "STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR",
  "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED" }

--- An integer of so many bytes.
function M.number(n, bytes)
  local out = {}
  for i = bytes, 1, -1 do
    out[i] = string.char(n % 256)
    n = math.floor(n / 256)
  end
  return table.concat(out)
end

local function read_number(text, from, bytes)
  local n = 0
  for i = from, from + bytes - 1 do n = n * 256 + text:byte(i) end
  return n
end

local function flags_of(names)
  local flags = 0
  for name in (names or ""):gmatch("%S+") do flags = bit.bor(flags, flag_bits[name] or tonumber(name)) end
  return flags
end

--- One frame. kind: a name or a number; flags: names ("end headers padded priority ack") or numbers
function M.frame(kind, flags, id, payload, length)
  payload = payload or ""
  return M.number(length or #payload, 3) .. string.char(numbers[kind] or kind, flags_of(flags)) .. M.number(id, 4)
    .. payload
end

--- An integer of HPACK (RFC 7541 section 5.1) whose first byte has `bits` of it under `first`.
local function integer(first, bits, n)
  local max = 2 ^ bits - 1
  if n < max then return string.char(first + n) end
  local out = string.char(first + max)
  n = n - max
  while n >= 128 do
    out = out .. string.char(n % 128 + 128)
    n = math.floor(n / 128)
  end
  return out .. string.char(n)
end

--- A literal field, neither indexed nor packed.
function M.literal(name, value) return "\0" .. integer(0, 7, #name) .. name .. integer(0, 7, #value) .. value end

--- { { name, value }, ... } as a field block
function M.block(fields)
  local out = {}
  for i, field in ipairs(fields) do out[i] = M.literal(field[1], field[2]) end
  return table.concat(out)
end

--- Fields of a request; more come behind them.
function M.request(method, path, more)
  local fields = { { ":method", method }, { ":scheme", "http" }, { ":path", path }, { ":authority", "test.example" } }
  for _, field in ipairs(more or {}) do fields[#fields + 1] = field end
  return M.block(fields)
end
function M.get(path, more) return M.request("GET", path, more) end
function M.post(path, more) return M.request("POST", path, more) end

--- "INITIAL_WINDOW_SIZE", 4 -> a setting's bytes; pairs of numbers
function M.settings(...)
  local out, list = {}, { ... }
  for i = 1, #list, 2 do out[#out + 1] = M.number(list[i], 2) .. M.number(list[i + 1], 4) end
  return table.concat(out)
end

--- On a connected socket, without a byte.
function M.new(s)
  local inflater = ffi.new("nghttp2_hd_inflater *[1]")
  assert(nghttp2.nghttp2_hd_inflate_new(inflater) == 0)
  s:settimeout(10)
  return setmetatable({ socket = s, settings = {}, streams = {}, window = {}, pings = 0, acks = 0,
    inflater = ffi.gc(inflater[0], nghttp2.nghttp2_hd_inflate_del) }, Client)
end

--- With the preface and settings of its own, after those of the gateway have come.
function M.open(s, settings)
  local self = M.new(s)
  self:raw(M.PREFACE .. M.frame("SETTINGS", "", 0, settings or ""))
  self:await(function() return self.settled and self.acks > 0 end, "settings")
  self:send("SETTINGS", "ack", 0)
  return self
end

--- A gateway that has closed the connection already is no mistake of the test.
function Client:raw(bytes) return self.socket:send(bytes) end
function Client:send(...) return self:raw(M.frame(...)) end

--- A field block; flags: "end" of the stream, "more": CONTINUATION follows
function Client:headers(id, block, flags)
  local more
  flags = (flags or ""):gsub("more", function() more = true return "" end)
  return self:send("HEADERS", more and flags or flags .. " headers", id, block)
end
function Client:data(id, bytes, flags) return self:send("DATA", flags or "", id, bytes) end

local function inflate(self, block)
  local fields, nv, flags = {}, ffi.new("ml_spec_nv[1]"), ffi.new("int[1]")
  local at, input = 0, ffi.cast("const uint8_t *", block)
  repeat
    local n = nghttp2.nghttp2_hd_inflate_hd2(self.inflater, nv, flags, input + at, #block - at, 1)
    assert(n >= 0, "the gateway's field block is wrong")
    at = at + tonumber(n)
    if bit.band(flags[0], EMIT) ~= 0 then
      fields[#fields + 1] = { ffi.string(nv[0].name, nv[0].namelen), ffi.string(nv[0].value, nv[0].valuelen) }
    end
  until bit.band(flags[0], FINAL) ~= 0
  nghttp2.nghttp2_hd_inflate_end_headers(self.inflater)
  return fields
end

function Client:stream(id)
  local s = self.streams[id] or { fields = {}, body = "", blocks = 0, id = id }
  self.streams[id] = s
  return s
end

local on = {}
function on.DATA(self, f)
  local s = self:stream(f.id)
  s.body = s.body .. f.payload
end
function on.HEADERS(self, f)
  local s = self:stream(f.id)
  s.blocks = s.blocks + 1
  for _, field in ipairs(inflate(self, f.payload)) do
    if field[1] == ":status" then s.status, s.fields = tonumber(field[2]), {}
    else s.fields[field[1]] = field[2] end
  end
end
function on.RST_STREAM(self, f)
  local code = read_number(f.payload, 1, 4)
  self:stream(f.id).reset = errors[code] or code
end
function on.SETTINGS(self, f)
  if bit.band(f.flags, 1) ~= 0 then
    self.acks = self.acks + 1
    return
  end
  self.settled = true
  for i = 1, #f.payload, 6 do self.settings[read_number(f.payload, i, 2)] = read_number(f.payload, i + 2, 4) end
end
function on.PING(self, f)
  if bit.band(f.flags, 1) ~= 0 then self.pong, self.pings = f.payload, self.pings + 1 end
end
function on.GOAWAY(self, f)
  local code = read_number(f.payload, 5, 4)
  self.goaway, self.last_stream = errors[code] or code, read_number(f.payload, 1, 4)
end
function on.WINDOW_UPDATE(self, f)
  self.window[f.id] = (self.window[f.id] or 0) + read_number(f.payload, 1, 4)
end

--- The next frame, noted; nil and why there is none ("closed", "timeout").
function Client:read()
  local head, err = self.socket:receive(9)
  if not head then
    if err ~= "timeout" then self.closed = true end
    return nil, err
  end
  local f = { type = types[head:byte(4)] or head:byte(4), flags = head:byte(5), id = read_number(head, 6, 4) % 2 ^ 31 }
  local len = read_number(head, 1, 3)
  f.payload = len > 0 and assert(self.socket:receive(len)) or ""
  if on[f.type] then on[f.type](self, f) end
  if (f.type == "DATA" or f.type == "HEADERS") and bit.band(f.flags, 1) ~= 0 then self:stream(f.id).ended = true end
  return f
end

--- Reads until test() is true, or the connection has ended: then what that gives.
function Client:await(test, what)
  while not test() and not self.closed do
    local f, err = self:read()
    if not f and err == "timeout" then error("nothing came: " .. (what or "condition"), 2) end
  end
  return test()
end

--- Reads until the stream has ended, by an answer or a reset, or the connection has.
function Client:answer(id)
  local s = self:stream(id)
  self:await(function() return s.ended or s.reset end, "an answer")
  return s
end

--- Reads to the end of the connection; the word of the last GOAWAY, or "closed" without one.
function Client:fate()
  self:await(function() return self.closed end, "the end of the connection")
  self.socket:close()
  return self.goaway or "closed"
end

function Client:close() self.socket:close() end

return M
