--- A small DNS server in a process of its own: A and SRV records from a file that a test changes.
--
--   local d = dns.start()
--   d:zone { ["app.test"] = { "127.0.0.2", "127.0.0.3" },
--            ["_http._tcp.app.test"] = { { host = "one.test", port = 80, priority = 1, weight = 2 } } }
--   gateway.start(files, { env = { MOONLATCH_DNS = d.address } })
local gateway = require "spec.support.gateway"
local posix = { signal = require "posix.signal", wait = require "posix.sys.wait" }
local socket = require "socket"

local M = {}
local Dns = {}
Dns.__index = Dns
local running = {}

local program = [[
local socket = require "socket"
local s = socket.udp()
assert(s:setsockname("127.0.0.1", tonumber(arg[1])))
local function u16(n) return string.char(math.floor(n / 256) % 256, n % 256) end
local function labels(name)
  local out = {}
  for label in name:gmatch("[^.]+") do out[#out + 1] = string.char(#label) .. label end
  return table.concat(out) .. "\0"
end
local function question(m)
  local name, at = {}, 13
  while m:byte(at) ~= 0 do
    name[#name + 1] = m:sub(at + 1, at + m:byte(at))
    at = at + m:byte(at) + 1
  end
  return table.concat(name, "."):lower(), m:byte(at + 1) * 256 + m:byte(at + 2), at + 4
end
print("started")
io.stdout:flush()
while true do
  local m, ip, port = s:receivefrom()
  if m and #m > 16 then
    local name, kind, last = question(m)
    local zone = dofile(arg[2])
    local known, answers = zone[name], {}
    for _, r in ipairs(known or {}) do
      local data
      if kind == 1 and type(r) == "string" then
        data = r:gsub("(%d+)%.?", function(n) return string.char(n) end)
      elseif kind == 33 and type(r) == "table" then
        data = u16(r.priority or 0) .. u16(r.weight or 1) .. u16(r.port) .. labels(r.host)
      end
      if data then
        answers[#answers + 1] = "\192\12" .. u16(kind) .. u16(1) .. u16(0) .. u16(1) .. u16(#data) .. data
      end
    end
    s:sendto(m:sub(1, 2) .. "\129" .. string.char(known and 128 or 131) .. u16(1) .. u16(#answers) .. u16(0)
             .. u16(0) .. m:sub(13, last) .. table.concat(answers), ip, port)
  end
end
]]

local function literal(value)
  if type(value) ~= "table" then return type(value) == "string" and ("%q"):format(value) or tostring(value) end
  local parts = {}
  for k, v in pairs(value) do parts[#parts + 1] = ("[%s] = %s"):format(literal(k), literal(v)) end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

--- Starts a server that knows nothing yet; its records live for one second.
function M.start()
  local dir, probe = gateway.folder(), socket.udp()
  assert(probe:setsockname("127.0.0.1", 0))
  local _, port = probe:getsockname()
  probe:close()
  local self = setmetatable({ dir = dir, address = "127.0.0.1:" .. port }, Dns)
  gateway.write(dir .. "/program.lua", program)
  self:zone {}
  self.pid = gateway.spawn({ "luajit", dir .. "/program.lua", tostring(port), dir .. "/zone" }, nil, dir .. "/output")
  running[self] = true
  gateway.eventually(function() return gateway.read(dir .. "/output"):find("started", 1, true) end, "the DNS server")
  return self
end

--- Replaces all records.
function Dns:zone(records)
  gateway.write(self.dir .. "/zone.new", "return " .. literal(records))
  assert(os.rename(self.dir .. "/zone.new", self.dir .. "/zone"))
end

function M.stop_all()
  for dns in pairs(running) do
    posix.signal.kill(dns.pid, posix.signal.SIGKILL)
    posix.wait.wait(dns.pid)
    running[dns] = nil
  end
end

return M
