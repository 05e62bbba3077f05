--- Words the failures of a service as the hospital's clients know them:
--
--   {"error": "Service Unavailable", "message": "doctor service is unavailable"}
--
-- What the service itself answers passes as it is, whatever its status.
local M = { name = "service_errors" }

M.config = {
  service = { "string" },
}

local words = {
  [502] = { "Bad Gateway", "Invalid response from %s service" },
  [503] = { "Service Unavailable", "%s service is unavailable" },
  [504] = { "Gateway Timeout", "%s service did not respond in time" },
}

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req, next) -> res
function M.new(conf)
  return function(_, next)
    local res = next()
    local error_and_message = res.from == "gateway" and words[res.status]
    if error_and_message then
      local err, message = unpack(error_and_message)
      res:set_json { error = err, message = message:format(conf.service) }
    end
    return res
  end
end

return M
