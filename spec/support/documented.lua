--- Documents are right: the sites in them load.
--
--   documented.loads(it, "docs/logs.md")        -- inside of describe: a test for each block of Lua
local assert = require "luassert"
local gateway = require "spec.support.gateway"

local M = {}

--- Tests that `moonlatch check` accepts each example as gateway.lua, and that there are at least three.
-- @param it busted's, which only spec files have
-- @param file path
-- @param mark a first line that such blocks have, in a document that has others too
-- @return the text of the document
function M.loads(it, file, mark)
  local text, count = gateway.read(file), 0
  for block in text:gmatch("```lua\n(.-)```") do
    if not mark or block:sub(1, #mark + 1) == mark .. "\n" then
      count = count + 1
      it("has an example that loads: " .. count, function()
        local dir = gateway.folder()
        gateway.write(dir .. "/gateway.lua", block)
        local p = io.popen(gateway.binary .. " check " .. dir .. " 2>&1; echo exit=$?")
        local said = p:read("*a")
        p:close()
        assert.equal("0", said:match("exit=(%d+)%s*$"), said)
      end)
    end
  end
  it("has several", function() assert.truthy(count >= 3) end)
  return text
end

return M
