--- Refuses request bodies that are larger than a route needs: 413.
--
-- A body whose length is announced is refused before it is read; one that comes in chunks is counted, and
-- broken off at the first byte too many: the upstream never gets a complete request then, and the client gets
-- 413. The listener's `limits.body` counts as ever, so a limit above it has no effect.
--
--   gw.route("POST /api/login", { { "body_limit", max = 4096 }, to = "auth" })
local gw = require "moonlatch"

local M = { name = "body_limit" }

M.config = {
  max = { "size", unit = "bytes", doc = "The largest body that may come; 0 for none." },
}

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req) -> res or nothing
function M.new(conf)
  local max = conf.max
  return function(req)
    if not req:limit_body(max) then
      return gw.error(413, "body_too_large", ("The request body may have %d bytes"):format(max))
    end
  end
end

return M
