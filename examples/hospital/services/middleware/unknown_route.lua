--- Words the answers to unknown paths and methods as the services word all their errors.
local reply = require "lib.reply"

local M = { name = "unknown_route" }

local codes = { [404] = "NOT_FOUND", [405] = "METHOD" }

--- Makes the policy, which is for gw.use.
-- @return function(req, next) -> res
function M.new()
  return function(req, next)
    local res = next()
    local code = req.route == "" and codes[res.status]
    if code then
      res:set_json(reply.failure(code, ("No %s %s here"):format(req.method, req.path)))
    end
    return res
  end
end

return M
