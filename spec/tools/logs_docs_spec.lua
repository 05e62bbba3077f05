--- The sites of docs/logs.md load, and it says something of each option.
local fake = require "spec.support.core"
local gateway = require "spec.support.gateway"

local text = gateway.read "docs/logs.md"

describe("docs/logs.md", function()
  teardown(gateway.stop_all)

  local count = 0
  for block in text:gmatch("```lua\n(.-)```") do
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

  it("names each option", function()
    fake.new({})
    local settings = require "moonlatch.log_settings"
    for _, name in ipairs { "access_log", "error_log", "redact", "ship", "tracing", "elasticsearch", "otlp" } do
      for option in pairs(settings[name]) do assert.truthy(text:find(option, 1, true), name .. "." .. option) end
    end
  end)
end)
