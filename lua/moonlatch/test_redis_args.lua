--- Arguments of commands of a simulated Redis: texts that are numbers, and what is said when they are none.
local Data = require "moonlatch.test_redis_data"

local fail = Data.fail
local M = {}

function M.integer(text)
  local n = text:find("^[+-]?%d+$") and tonumber(text)
  if not n or math.abs(n) > 2^63 then fail "ERR value is not an integer or out of range" end
  return n
end

function M.float(text)
  local n = tonumber(text)
  if text:lower():find("^[+-]?inf$") then n = text:sub(1, 1) == "-" and -math.huge or math.huge end
  if not n or n ~= n then fail "ERR value is not a valid float" end
  return n
end

--- A number as Redis writes it.
function M.text(n)
  if n == math.huge then return "inf" elseif n == -math.huge then return "-inf" end
  if n == math.floor(n) and math.abs(n) < 2^53 then return ("%.0f"):format(n) end
  return ("%.17g"):format(n)
end

function M.syntax() fail "ERR syntax error" end

--- First and last, from 1, of count things; from 0 and with negative numbers in commands.
function M.range(first, last, count)
  first, last = M.integer(first), M.integer(last)
  if first < 0 then first = math.max(0, count + first) end
  if last < 0 then last = count + last end
  return first + 1, math.min(last, count - 1) + 1
end

return M
