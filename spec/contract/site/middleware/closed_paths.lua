--- Closes parts of the site (403), however their path is written.
--
-- The gateway has normalised the path: dots are resolved, letters decoded, tricks with "%2f" or "%00"
-- refused.  What is left are readings in which upstreams differ and the gateway must not decide for
-- everybody: some ignore case, cut ";parameters" off, skip blanks, or take "%3f" for "?".  A closed part
-- is closed in all of them, so the most lenient one is judged; the upstream still gets the path as it is.
local gw = require "moonlatch"

local M = { name = "closed_paths" }

M.config = {
  prefixes = { "list", of = "string", min = 1 }, -- "/admin" closes itself and everything below it
  guarded = { "list", of = "string", default = {} }, -- open when written plainly: routes ask for a token there
}

local function byte_of(hex) return string.char(tonumber(hex, 16)) end

local function without_dots(path)
  local kept = {}
  for segment in path:gmatch("[^/\\]+") do
    if segment == ".." then
      kept[#kept] = nil
    elseif segment ~= "." then
      kept[#kept + 1] = segment
    end
  end
  return "/" .. table.concat(kept, "/")
end

local function most_lenient(path)
  if path:find("[%%;]") then
    path = path:gsub("%%(%x%x)", byte_of):match("^[^?#]*"):gsub(";[^/]*", ""):gsub("[%s%c]", "")
    path = without_dots(path)
  end
  return path:lower()
end

local function is_below(path, prefix)
  return path == prefix or path:sub(1, #prefix + 1) == prefix .. "/"
end

--- Makes the policy.
function M.new(conf)
  local function is_closed(written)
    local path = most_lenient(written)
    for _, prefix in ipairs(conf.prefixes) do
      if is_below(path, prefix) then return true end
    end
    for _, prefix in ipairs(conf.guarded) do
      if is_below(path, prefix) and not is_below(written, prefix) then return true end
    end
    return false
  end

  return function(req)
    if is_closed(req.path) then return gw.error(403, "forbidden", "This path is closed") end
  end
end

return M
