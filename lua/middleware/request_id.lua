--- Gives each request an id that client, upstream and log share: X-Request-ID.
--
-- A new one is 32 hexadecimal digits (128 random bits), or a UUIDv7 (RFC 9562 section 5.7), whose order is
-- that of time. The id that a proxy of the networks in `accept_from` sends is used instead when it is well
-- formed: 1 to 128 characters of A-Z a-z 0-9 . _ : + / = - in one field. From anybody else it would let a
-- client write into the log, or take an id that is another's.
--
--   gw.use { { "request_id", format = "uuid7", accept_from = { "10.0.0.0/8" } } }
local gw = require "moonlatch"

local M = { name = "request_id" }

M.config = {
  header = { "string", default = "X-Request-ID", doc = "The header's name.", check = function(name)
    if not name:find("^[%w!#$%%&'*+.^_`|~-]+$") then return "is no name of a header" end
  end },
  format = { "string", default = "hex", one_of = { "hex", "uuid7" }, doc = "How new ids look." },
  accept_from = { "list", of = "string", default = {},
    doc = "Networks of the proxies whose ids are used." },
}

local function well_formed(id)
  return #id <= 128 and id:find("^[%w._:+/=-]+$") ~= nil
end

local variants = { "8", "9", "a", "b" }

-- 48 bits of milliseconds, version 7, 12 random bits, variant 10, 62 random bits.
local function uuid7()
  local r, ms = gw.random_hex(10), ("%012x"):format(math.floor(gw.now() * 1000))
  return ("%s-%s-7%s-%s%s-%s"):format(ms:sub(1, 8), ms:sub(9), r:sub(1, 3),
    variants[tonumber(r:sub(4, 4), 16) % 4 + 1], r:sub(5, 7), r:sub(8, 19))
end

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req, next) -> res
function M.new(conf)
  local header, trusted = conf.header, #conf.accept_from > 0 and gw.networks(conf.accept_from)
  local is_uuid = conf.format == "uuid7"

  -- The id that a proxy gave the request, or nil.
  local function accepted(req)
    local given = req:header(header)
    if given and well_formed(given) and trusted:has(req.peer_ip) and req:header_count(header) == 1 then
      return given
    end
  end

  return function(req, next)
    local given = trusted and accepted(req)
    if given then
      req.id = given
    elseif is_uuid then
      req.id = uuid7()
    end
    local id = req.id
    req:set_header(header, id)
    local res = next()
    res:set_header(header, id)
    return res
  end
end

return M
