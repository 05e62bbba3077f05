--- No page of another origin may call the API, whatever a service says in Access-Control-*.
local gw = require "moonlatch"

local M = { name = "closed_to_pages" }

--- Makes the policy.
-- @return function(req, next) -> res
function M.new()
  local fields = gw.fields { { "Access-Control-*", false } }
  return function(_, next)
    local res = next()
    fields:apply(res)
    return res
  end
end

return M
