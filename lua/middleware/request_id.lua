--- Gives each request an id that client, upstream and log share: X-Request-ID.
--
-- The core has made a random one (32 hexadecimal digits) already; with `accept_from`, the id that a
-- proxy of these networks sends is used instead, when it is well formed (1 to 128 characters of
-- A-Z a-z 0-9 . _ : + / = - ).  From anybody else it would let a client write into the log.
--
--   gw.use { { "request_id", accept_from = { "10.0.0.0/8" } } }
local gw = require "moonlatch"

local M = { name = "request_id" }

M.config = {
  header = { "string", default = "X-Request-ID", check = function(name)
    if not name:find("^[%w!#$%%&'*+.^_`|~-]+$") then return "is no name of a header" end
  end },
  accept_from = { "list", of = "string", default = {} },
}

local function well_formed(id)
  return #id <= 128 and id:find("^[%w._:+/=-]+$") ~= nil
end

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req, next) -> res
function M.new(conf)
  local header, accept_from = conf.header, conf.accept_from
  local accepts = #accept_from > 0
  if accepts then gw.ip_match("127.0.0.1", accept_from) end -- a malformed network fails the load
  return function(req, next)
    if accepts then
      local given = req:header(header)
      if given and well_formed(given) and gw.ip_match(req.peer_ip, accept_from) then req.id = given end
    end
    local id = req.id
    req:set_header(header, id)
    local res = next()
    res:set_header(header, id)
    return res
  end
end

return M
