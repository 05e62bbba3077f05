--- Takes identity headers away from what clients send: services believe them, so only the gateway
-- may set them.  Many programs make no difference between - and _ in a name, so all spellings go.
local gw = require "moonlatch"

local M = { name = "identity_headers" }

M.config = {
  names = { "list", of = "string", default = { "X-User-ID", "X-User-Role", "X-User-Email" } },
}

-- "X-User-ID" -> "X-User-ID", "X_User-ID", "X-User_ID", "X_User_ID"
local function spellings(name)
  local all = { "" }
  for char in name:gmatch(".") do
    local longer = {}
    for _, begin in ipairs(all) do
      longer[#longer + 1] = begin .. char
      if char == "-" then longer[#longer + 1] = begin .. "_" end
    end
    all = longer
  end
  return all
end

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req): no result, the request goes on
function M.new(conf)
  local list = {}
  for _, name in ipairs(conf.names) do
    for _, spelling in ipairs(spellings(name)) do list[#list + 1] = { spelling, false } end
  end
  local fields = gw.fields(list)
  return function(req) fields:apply(req) end
end

return M
