--- The example middleware by itself: `busted` runs this without a gateway.
local example = require "middleware.example"

describe("the example middleware", function()
  it("adds its field to what the route answers", function()
    local policy = example.new { header = "X-Served-By", value = "test" }
    local fields = {}
    local answer = { set_header = function(_, name, value) fields[name] = value end }
    assert.equal(answer, policy({}, function() return answer end))
    assert.same({ ["X-Served-By"] = "test" }, fields)
  end)
end)
