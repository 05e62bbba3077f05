--- An upstream that writes down every byte and believes none: for tests of what reaches an upstream.
--
--   local rec = recorder.listen()
--   local got = rec:serve(client, { answer = function(request, conn) return "HTTP/1.1 200 ..." end })
--
-- serve() plays both ends at once: it collects what the client gets until that connection ends, and
-- meanwhile parses what comes from the gateway with a parser that accepts one form only.  Anything else is
-- kept as `bad` of its connection, for the test to complain about.
local socket = require "socket"

local M = {}
local Recorder = {}
Recorder.__index = Recorder

local TOKEN = "^[%w!#$%%&'*+.^_`|~-]+$"

--- @param opts { trailers = true: those of a request are read, else they are a complaint }
function M.listen(opts)
  local listener = assert(socket.bind("127.0.0.1", 0, 1024))
  listener:settimeout(0)
  local _, port = listener:getsockname()
  return setmetatable({ listener = listener, port = tonumber(port), conns = {},
                       trailers = opts and opts.trailers }, Recorder)
end

function Recorder:url()
  return "http://127.0.0.1:" .. self.port
end

-- ---- one form of a request ----

local function take_fields(lines)
  local fields, list = {}, {}
  for line in lines:gmatch("(.-)\r\n") do
    local name, value = line:match("^([^:]*): ([^%c]*)$")
    if not name or not name:find(TOKEN) then return nil, "field line: " .. line end
    name = name:lower()
    if name == "host" or name == "content-length" or name == "transfer-encoding" then
      if fields[name] then return nil, "twice: " .. name end
    end
    fields[name] = fields[name] and fields[name] .. ", " .. value or value
    list[#list + 1] = line
  end
  return fields, list
end

-- body and the position behind it; nothing when more bytes are needed; false and why
local function take_chunks(bytes, at, trailers)
  local parts = {}
  while true do
    local eol = bytes:find("\n", at, true)
    if not eol then return end
    local size = bytes:sub(at, eol):match("^(%x+)\r\n$")
    if not size then return false, "chunk line: " .. bytes:sub(at, eol) end
    local n = tonumber(size, 16)
    if n == 0 and trailers then
      local stop = select(2, bytes:find("\r\n\r\n", eol - 1, true))
      return stop and table.concat(parts), stop and stop + 1
    end
    if #bytes < eol + n + 2 then return end
    if bytes:sub(eol + n + 1, eol + n + 2) ~= "\r\n" then return false, "chunk end" end
    parts[#parts + 1] = bytes:sub(eol + 1, eol + n)
    at = eol + n + 3
    if n == 0 then return table.concat(parts), at end
  end
end

local function take_body(fields, bytes, at, trailers)
  local length, coding = fields["content-length"], fields["transfer-encoding"]
  if length and coding then return false, "length and coding" end
  if coding then
    if coding ~= "chunked" then return false, "coding: " .. coding end
    return take_chunks(bytes, at, trailers)
  end
  if length and not length:find("^%d+$") then return false, "length: " .. length end
  local n = tonumber(length or 0)
  if #bytes < at + n - 1 then return end
  return bytes:sub(at, at + n - 1), at + n
end

--- Takes one request off the front of bytes.
-- @return request { line, method, target, fields, list, head, body }, rest; or nil when it is not
--   complete; or false and what is wrong
function M.take(bytes, trailers)
  local stop = select(2, bytes:find("\r\n\r\n", 1, true))
  if not stop then
    return bytes:find("\n", 1, true) and bytes:find("[^\r]\n") and false or nil, "bare LF"
  end
  local line, lines = bytes:sub(1, stop - 2):match("^(.-)\r\n(.*)$")
  local method, target = line:match("^(%S+) ([!-~]+) HTTP/1%.1$")
  if not method or not method:find(TOKEN) then return false, "request line: " .. line end
  local fields, list = take_fields(lines)
  if not fields then return false, list end
  if not fields.host then return false, "no Host" end
  local body, after = take_body(fields, bytes, stop + 1, trailers)
  if not body then return body, after end
  return { line = line, method = method, target = target, fields = fields, list = list,
           head = bytes:sub(1, stop), body = body }, bytes:sub(after)
end

-- ---- both ends at once ----

local function default_answer(request)
  return ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Target: %s\r\n\r\n%s"):format(#request.target,
      request.target, request.method == "HEAD" and "" or request.target)
end

local function drop(conn)
  conn.socket:close()
  conn.closed = true
end

function Recorder:accept_all()
  while true do
    local s = self.listener:accept()
    if not s then return end
    s:settimeout(0)
    self.conns[#self.conns + 1] = { socket = s, raw = "", rest = "", requests = {}, id = #self.conns + 1 }
  end
end

function Recorder:hear(conn, run)
  local bytes, err, part = conn.socket:receive(65536)
  bytes = bytes or part
  conn.raw, conn.rest = conn.raw .. bytes, conn.rest .. bytes
  while not conn.bad and not conn.tunnel do
    local request, rest = M.take(conn.rest, self.trailers)
    if request == false then
      conn.bad = true
      self.wrong = ("%s in %q"):format(rest, conn.raw)
    end
    if not request then break end
    request.conn, conn.rest = conn, rest
    conn.requests[#conn.requests + 1] = request
    run.requests[#run.requests + 1] = request
    local answer, after = (run.answer or default_answer)(request, conn)
    conn.socket:settimeout(5)
    if answer then conn.socket:send(answer) end
    conn.socket:settimeout(0)
    if after == "close" then return drop(conn) end
    if after == "tunnel" then conn.tunnel = true end
  end
  if err == "closed" then drop(conn) end
end

function Recorder:open()
  local list = {}
  for _, conn in ipairs(self.conns) do
    if not conn.closed then list[#list + 1] = conn end
  end
  return list
end

--- One turn for everybody who has something to read.  True when the client did.
function Recorder:turn(client, run, wait_s)
  local sockets, conns = { self.listener, client }, {}
  for _, conn in ipairs(self:open()) do
    sockets[#sockets + 1] = conn.socket
    conns[conn.socket] = conn
  end
  local readable = socket.select(sockets, nil, wait_s)
  self:accept_all()
  for _, s in ipairs(readable) do
    if conns[s] then self:hear(conns[s], run) end
  end
  return client and readable[client]
end

--- Serves until the client's connection ends, opts.enough(run) is true, or opts.limit_s (10) is over.
-- @return run { requests = {...}, bytes = what the client got, ended = "closed" | other | nil }
function Recorder:serve(client, opts)
  opts = opts or {}
  local run = { requests = {}, bytes = "", answer = opts.answer }
  local deadline = socket.gettime() + (opts.limit_s or 10)
  client:settimeout(0)
  while socket.gettime() < deadline do
    if self:turn(client, run, 0.2) then
      local bytes, err, part = client:receive(65536)
      run.bytes = run.bytes .. (bytes or part)
      if not bytes and err ~= "timeout" then
        run.ended = err
        break
      end
    end
    if opts.enough and opts.enough(run) then break end
  end
  return run
end

--- What was wrong with the bytes that came since the last call; nil when nothing was.
function Recorder:complaint()
  local wrong = self.wrong
  self.wrong = nil
  return wrong
end

function Recorder:close()
  for _, conn in ipairs(self:open()) do drop(conn) end
  self.listener:close()
end

return M
