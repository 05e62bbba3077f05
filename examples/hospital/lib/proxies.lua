--- Which proxies in front of the gateway are believed: TRUSTED_PROXIES, or TRUST_PROXY as Express has it.
--
--   TRUSTED_PROXIES=10.0.0.0/8,2001:db8::/32
--   TRUST_PROXY=1                    proxies of the machine itself and of private networks
--   TRUST_PROXY=loopback,10.1.0.0/16
--
-- A number of proxies says nothing about who they are: whoever reaches the gateway past them could claim
-- any address.  So a number means the networks from which no stranger comes; of how many there are it takes
-- no notice, as the walk through X-Forwarded-For ends at the first address outside of these networks.
local gw = require "moonlatch"

local M = {}

local loopback = { "127.0.0.0/8", "::1" }
local uniquelocal = { "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7" }
local linklocal = { "169.254.0.0/16", "fe80::/10" }
local names = { loopback = loopback, uniquelocal = uniquelocal, linklocal = linklocal }

local function append(list, more)
  for _, network in ipairs(more) do list[#list + 1] = network end
end

--- The networks that a list of TRUST_PROXY's entries stands for.
function M.networks(entries)
  local list = {}
  for _, entry in ipairs(entries) do
    local count = tonumber(entry)
    if entry == "true" or count and count > 0 then
      append(list, loopback)
      append(list, uniquelocal)
    elseif entry ~= "false" and count ~= 0 then
      append(list, names[entry] or { entry })
    end
  end
  return list
end

--- All networks that the environment names.
function M.env()
  local list = M.networks(gw.env.list("TRUST_PROXY", {}))
  append(list, gw.env.list("TRUSTED_PROXIES", {}))
  return list
end

return M
