--- The two middlewares that word errors, by themselves: `busted` in examples/hospital runs this
-- without a gateway.
local service_errors = require "middleware.service_errors"
local unknown_route = require "middleware.unknown_route"

-- What the rest of the chain gives to a policy, and what the policy makes of it.
local function answer(policy, res, route)
  local req = { method = "GET", path = "/a", route = route }
  res.set_json = function(self, value) self.json = value end
  assert.equal(res, policy(req, function() return res end))
  return res.json
end

describe("service_errors", function()
  local policy = service_errors.new { service = "doctor" }

  it("says what happened to the service", function()
    assert.same({ error = "Bad Gateway", message = "Invalid response from doctor service" },
                answer(policy, { status = 502, from = "gateway" }))
    assert.equal("doctor service is unavailable", answer(policy, { status = 503, from = "gateway" }).message)
    assert.equal("doctor service did not respond in time",
                 answer(policy, { status = 504, from = "gateway" }).message)
  end)

  it("leaves alone what the service answers, and what is no failure", function()
    assert.is_nil(answer(policy, { status = 503, from = "upstream" }))
    assert.is_nil(answer(policy, { status = 200, from = "gateway" }))
  end)
end)

describe("unknown_route", function()
  local policy = unknown_route.new {}

  it("names the method and the path", function()
    assert.same({ error = "Not Found", message = "Route GET /a not found" },
                (answer(policy, { status = 404 }, "")))
    assert.equal("Route GET /a not allowed", answer(policy, { status = 405 }, "").message)
  end)

  it("leaves a route's own 404 alone", function()
    assert.is_nil(answer(policy, { status = 404 }, "/a"))
  end)
end)
