--- What this site promises: `moonlatch test .` runs it, without a network and without waiting.
local t = require "moonlatch.test"

describe("the site", function()
  local app
  before_each(function() app = t.load "." end)

  it("greets", function()
    assert.response(app:get("/hello")).has.json { hello = "world" }
    assert.response(app:get("/hello/moon")).has.json { hello = "moon" }
  end)

  it("marks every answer", function()
    local res = app:get("/no-such-thing")
    assert.response(res).has.status(404)
    assert.response(res).has.header("X-Served-By", "moonlatch")
    assert.equal("core:not_found", res.decided_by)
  end)
end)

describe("the example middleware", function()
  it("adds its field to what the route answers", function()
    local policy = t.policy("example", { header = "X-By", value = "test" })
    local res = policy:call { next = function() return 201, "made" end }
    assert.response(res).has.status(201)
    assert.response(res).has.header("X-By", "test")
    assert.equal("upstream:next", res.decided_by)
  end)
end)
