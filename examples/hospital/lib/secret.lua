--- The secret that gateway and auth service sign and check tokens with: JWT_SECRET.
--
-- There is no default that somebody could know.  Without the variable each start makes a random one, which
-- all workers have and reloads keep, and the log says so once: tokens of an auth service that was not given
-- the same secret are refused then.
local gw = require "moonlatch"

local given = gw.env("JWT_SECRET", nil)
if given then return given end

local said = gw.shared("said")

gw.timer(0.01, function()
  if said:add("JWT_SECRET", true) then
    gw.log.warn("JWT_SECRET is not set: tokens are checked with a random secret until the next start")
  end
end, { repeating = false, once_per_machine = true })

return gw.secret("jwt")
