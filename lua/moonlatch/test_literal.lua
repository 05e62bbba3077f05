--- Lua values as Lua source: options of a policy on their way into a site.
local M = {}

local function key_of(key)
  if type(key) == "string" and key:find("^[%a_][%w_]*$") then return ("[%q]"):format(key) end
  return "[" .. M.of(key) .. "]"
end

--- The source of a value made of tables, strings, numbers and booleans.
function M.of(value)
  local kind = type(value)
  if kind == "string" then
    return (("%q"):format(value):gsub("\\\n", "\\n"):gsub("\r", "\\r"):gsub("%z", "\\0"))
  end
  if kind == "number" then return ("%.17g"):format(value) end
  if kind == "boolean" then return tostring(value) end
  if kind ~= "table" then
    error("a " .. kind .. " can not be given to the site: write the options as a text of Lua", 0)
  end
  local parts = {}
  for key, each in pairs(value) do parts[#parts + 1] = key_of(key) .. " = " .. M.of(each) end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

return M
