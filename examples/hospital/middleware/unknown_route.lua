--- Words the answers to unknown paths and methods as the hospital's clients know them:
--
--   {"error": "Not Found", "message": "Route GET /nowhere not found"}
local M = { name = "unknown_route" }

local words = {
  [404] = { "Not Found", "Route %s %s not found" },
  [405] = { "Method Not Allowed", "Route %s %s not allowed" },
}

--- Makes the policy, which is for gw.use: a route's own 404 passes as it is.
-- @return function(req, next) -> res
function M.new()
  return function(req, next)
    local res = next()
    local error_and_message = req.route == "" and words[res.status]
    if error_and_message then
      local err, message = unpack(error_and_message)
      res:set_json { error = err, message = message:format(req.method, req.path) }
    end
    return res
  end
end

return M
