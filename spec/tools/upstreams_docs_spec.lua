--- The sites of docs/upstreams.md load, and it says something of each option.
local gateway = require "spec.support.gateway"
local fake = require "spec.support.core"

local text = gateway.read "docs/upstreams.md"

describe("docs/upstreams.md", function()
  teardown(gateway.stop_all)

  local count = 0
  for block in text:gmatch("```lua\n(%-%- gateway%.lua\n.-)```") do
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

  it("has several", function() assert.truthy(count >= 3) end)

  it("names each option of servers and checks", function()
    fake.new({})
    local upstream = require "moonlatch.upstream"
    for _, schema in ipairs { upstream.server, upstream.health } do
      for option in pairs(schema) do
        assert.truthy(text:find("`" .. option .. "`", 1, true), option)
      end
    end
  end)
end)
