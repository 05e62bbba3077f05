--- An upstream in the hand of a test: it accepts, shows the raw request, and answers raw bytes.
local socket = require "socket"

local M = {}
local Upstream = {}
Upstream.__index = Upstream

--- Listens on a free port of 127.0.0.1.
function M.listen()
  local listener = assert(socket.bind("127.0.0.1", 0))
  listener:settimeout(10)
  local _, port = listener:getsockname()
  return setmetatable({ listener = listener, port = tonumber(port) }, Upstream)
end

function Upstream:url()
  return "http://127.0.0.1:" .. self.port
end

--- The next connection, or nil when none comes within limit_s (10).
function Upstream:accept(limit_s)
  self.listener:settimeout(limit_s or 10)
  local s = self.listener:accept()
  if s then s:settimeout(10) end
  return s
end

--- The head of a request on a connection, without the empty line; nil when it ended.
function M.head(s)
  local lines = {}
  while true do
    local line, err = s:receive("*l")
    if not line then return nil, err end
    if line == "" then return table.concat(lines, "\n") end
    lines[#lines + 1] = line
  end
end

function Upstream:close()
  self.listener:close()
end

return M
