--- The sites of docs/logs.md load, and it says something of each option.
local documented = require "spec.support.documented"
local fake = require "spec.support.core"
local gateway = require "spec.support.gateway"

describe("docs/logs.md", function()
  teardown(gateway.stop_all)

  local text = documented.loads(it, "docs/logs.md")

  it("names each option", function()
    fake.new({})
    local settings = require "moonlatch.log_settings"
    for _, name in ipairs { "access_log", "error_log", "redact", "ship", "tracing", "elasticsearch", "otlp" } do
      for option in pairs(settings[name]) do assert.truthy(text:find(option, 1, true), name .. "." .. option) end
    end
  end)
end)
