--- Gives everything inside of it so many seconds until the head of an answer is there: else 504.
--
-- "Everything" is the policies after this one, their waits and retries, and the upstream. What is under way
-- then is cancelled. An answer whose head is there in time may take longer to come as a whole: that is what
-- the upstream's `read_timeout` and `total_timeout` are for.
--
--   gw.group("/api", { { "timeout", seconds = 10 }, { "retry", attempts = 3 } }, function()
--     gw.route("GET /orders", { to = "orders" })
--   end)
local gw = require "moonlatch"

local M = { name = "timeout" }

M.config = {
  seconds = { "seconds", min = 0.001, max = 86400, unit = "seconds",
    doc = "Until the answer's head is there." },
}

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req, next) -> res
function M.new(conf)
  local seconds = conf.seconds
  local function expire() gw.sleep(seconds) end

  return function(_, next)
    local res, first = gw.race { next, expire }
    if first == 1 then return res end
    return gw.error(504, "timeout", ("No answer within %g seconds"):format(seconds))
  end
end

return M
