--- Which line of the site is to blame: errors of the library name the file and line of the caller.
local M = {}

local function of_site(source)
  return source:sub(1, 1) == "@" and source:sub(1, 5) ~= "@lua/"
end

--- "routes/api.lua:12", the innermost line of the site that is being run, or nil.
function M.line()
  for level = 2, 200 do
    local info = debug.getinfo(level, "Sl")
    if not info then return nil end
    if of_site(info.source) then return info.source:sub(2) .. ":" .. info.currentline end
  end
end

--- "routes/api.lua:12", where a function was written.
function M.of_function(fn)
  local info = debug.getinfo(fn, "S")
  return info.source:sub(2) .. ":" .. info.linedefined
end

--- Raises message behind a line of the site: the given one, or the one that is being run.
function M.fail(message, line)
  line = line or M.line()
  error(line and line .. ": " .. message or message, 0)
end

return M
