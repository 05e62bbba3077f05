--- Times as the hospital writes them in its environment: "15m", "24h", "7d", "900s", "500ms"; a number
-- alone is seconds.
local gw = require "moonlatch"

local M = {}

local seconds_of = { ms = 0.001, s = 1, m = 60, h = 3600, d = 86400, w = 604800 }

--- @return seconds, or nil when text is no such time
function M.parse(text)
  local number, unit = text:match("^%s*(%d+%.?%d*)%s*(%a*)%s*$")
  local factor = number and seconds_of[unit == "" and "s" or unit:lower()]
  local seconds = factor and tonumber(number) * factor
  return seconds and seconds > 0 and seconds or nil
end

--- The time in a variable, in seconds.
-- @param default text, such as "15m"
function M.env(name, default)
  local text = gw.env(name, default)
  return M.parse(text) or error(("the environment variable %s must be a time such as 15m or 7d, not %q")
                                :format(name, text), 2)
end

return M
