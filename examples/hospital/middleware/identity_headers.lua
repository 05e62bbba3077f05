--- Takes identity headers away from what clients send: services believe them, so only the gateway
-- may set them.
local M = { name = "identity_headers" }

M.config = {
  names = { "list", of = "string", default = { "X-User-ID", "X-User-Role", "X-User-Email" } },
}

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req): no result, the request goes on
function M.new(conf)
  return function(req)
    for _, name in ipairs(conf.names) do req:remove_header(name) end
  end
end

return M
