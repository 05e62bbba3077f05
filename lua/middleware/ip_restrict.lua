--- Lets only some addresses in, or keeps some out: 403 for the others.
--
-- Entries are networks or addresses, IPv4 or IPv6 (an IPv4 address that comes as `::ffff:10.0.0.1` is in
-- `10.0.0.0/8`). `deny` wins over `allow`; without `allow` everybody else may in. Thousands of entries cost
-- no more than a few. The address is the client's as `trusted_proxies` of the listener make it known; with
-- `of = "peer"` it is that of the connection.
--
--   gw.group("/admin", {
--     { "ip_restrict", allow = { "10.0.0.0/8", "2001:db8::/32" }, deny = { "10.9.0.0/16" } },
--   }, function() gw.route("GET /users", { to = "users" }) end)
local gw = require "moonlatch"

local M = { name = "ip_restrict" }

M.config = {
  allow = { "list", of = "string", default = {}, doc = "Networks that may in; everybody when it is empty." },
  deny = { "list", of = "string", default = {}, doc = "Networks that may not." },
  of = { "string", default = "client", one_of = { "client", "peer" }, doc = "Whose address is judged." },
}

local function set_of(name, list)
  local ok, set = pcall(gw.networks, list)
  if not ok then error(('option "%s": %s'):format(name, set:match("entry %d.*$") or set), 0) end
  return #list > 0 and set or nil
end

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req) -> res or nothing
function M.new(conf)
  local allow, deny = set_of("allow", conf.allow), set_of("deny", conf.deny)
  local of_peer = conf.of == "peer"
  if not allow and not deny then error('one of the options "allow" and "deny" is needed', 0) end

  return function(req)
    local ip = of_peer and req.peer_ip or req.ip
    if deny and deny:has(ip) or allow and not allow:has(ip) then
      return gw.error(403, "address_not_allowed", "Requests from this address are not allowed")
    end
  end
end

return M
