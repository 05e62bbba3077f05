--- A name server for the real program under test: every name has an address of its own, of the range that
-- RFC 2544 keeps for tests; nothing listens there.
local Names = {}
Names.__index = Names

local FIRST, A, TTL_S = 0xc6120000, 1, 60

local function dotted(n)
  return ("%d.%d.%d.%d"):format(math.floor(n / 2^24) % 256, math.floor(n / 2^16) % 256,
                                math.floor(n / 2^8) % 256, n % 256)
end

--- The IPv4 address of a name or a literal; nil for what has none.
function Names:address(name)
  if name:find("^%d+%.%d+%.%d+%.%d+$") then return name end
  if name:find(":", 1, true) then return nil end
  name = name:lower()
  if name == "localhost" then return "127.0.0.1" end
  if not self.known[name] then
    self.known[name] = dotted(FIRST + self.count)
    self.count = self.count + 1
  end
  return self.known[name]
end

-- The name that is asked for, its type, and where the question ends.
local function question(packet)
  local labels, at = {}, 13
  while true do
    local len = packet:byte(at)
    if not len or len > 63 then return nil end
    at = at + 1
    if len == 0 then break end
    labels[#labels + 1] = packet:sub(at, at + len - 1)
    at = at + len
  end
  local high, low = packet:byte(at, at + 1)
  if not low then return nil end
  return table.concat(labels, "."), high * 256 + low, at + 3
end

local function answer(self, packet)
  local name, kind, last = question(packet)
  if not name then return nil end
  local head = packet:sub(1, 2) .. "\129\128\0\1\0" .. (kind == A and "\1" or "\0") .. "\0\0\0\0"
  if kind ~= A then return head .. packet:sub(13, last) end
  local bytes = self:address(name):gsub("(%d+)%.?", function(part) return string.char(tonumber(part)) end)
  return head .. packet:sub(13, last) .. "\192\12\0\1\0\1\0\0\0" .. string.char(TTL_S) .. "\0\4" .. bytes
end

--- Answers one packet, if there is one.
function Names:serve()
  local packet, ip, port = self.socket:receivefrom()
  if not packet then return false end
  local reply = #packet > 12 and answer(self, packet)
  if reply then self.socket:sendto(reply, ip, port) end
  return true
end

--- @param socket of UDP
function Names.new(socket)
  assert(socket:setsockname("127.0.0.1", 0))
  local _, port = socket:getsockname()
  return setmetatable({ socket = socket, port = tonumber(port), known = {}, count = 0 }, Names)
end

return Names
