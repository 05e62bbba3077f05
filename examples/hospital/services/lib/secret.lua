--- The secret that tokens are signed with: JWT_SECRET.
--
-- There is no default that somebody could know.  Without the variable each start makes a random one, and the
-- log says so once: a gateway that was not given the same secret refuses these tokens.
local gw = require "moonlatch"

local given = gw.env("JWT_SECRET", nil)
if given then return given end

local said = gw.shared("said")

gw.timer(0.01, function()
  if said:add("JWT_SECRET", true) then
    gw.log.warn("JWT_SECRET is not set: tokens are signed with a random secret, and no gateway takes them")
  end
end, { repeating = false, once_per_machine = true })

return gw.secret("jwt")
