--- The sites of docs/upstreams.md load, and it says something of each option.
local documented = require "spec.support.documented"
local fake = require "spec.support.core"
local gateway = require "spec.support.gateway"

describe("docs/upstreams.md", function()
  teardown(gateway.stop_all)

  local text = documented.loads(it, "docs/upstreams.md", "-- gateway.lua")

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
