--- Which line of the site is to blame: errors of the library name the file and line of the caller.
local core = require "moonlatch.core"

local M = {}

-- Files of the program are named "@lua/..."; a site may have a folder lua/ too.
local function of_site(source)
  if source:sub(1, 1) ~= "@" then return false end
  return source:sub(2, 5) ~= "lua/" or not core.embedded(source:sub(6))
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

--- Without the position in front of it when that is one of the program's own files, which is of no
-- use to whoever writes a site.
function M.without_ours(message)
  if type(message) ~= "string" then return ("(an error value of type %s)"):format(type(message)) end
  local file, rest = message:match("^lua/([^:]+):%d+: (.*)$")
  return file and core.embedded(file) and rest or message
end

--- Raises message behind a line of the site: the given one, or the one that is being run.
function M.fail(message, line)
  line = line or M.line()
  error(line and line .. ": " .. message or message, 0)
end

return M
