--- Whom the pages for operators are shown to: addresses of a list, unless a proxy that nobody trusts stands
-- between.  Everybody who comes through such a one has its address, so a proxy on this machine would open
-- the page to all of them.
local gw = require "moonlatch"

local M = {}

-- What proxies add: the standards' fields, and what is in most of their examples.
local traces = { "x-forwarded-for", "forwarded", "via", "x-real-ip" }

local function through_stranger(req)
  if req.ip ~= req.peer_ip then return false end
  for _, name in ipairs(traces) do
    if req:header(name) ~= nil then return true end
  end
  return false
end

--- What everybody else gets: the path gives nothing away.
function M.not_found(req)
  return gw.error(404, "not_found", "No route for " .. req.method .. " " .. req.path)
end

--- @param allow list of addresses and networks; a malformed one is an error
-- @return function(req) -> may it see the page?
function M.new(allow)
  local allowed = gw.networks(allow)
  return function(req) return allowed:has(req.ip) and not through_stranger(req) end
end

return M
