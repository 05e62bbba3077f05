-- The policy `timeout`, on the real binary.
local policy = require "spec.support.policy"

describe("timeout", function()
  local g
  teardown(policy.stop_all)

  setup(function()
    g = policy.start {
      use = [[ { "timeout", seconds = 0.3 } ]],
      routes = [[
        gw.route("GET /slow", { function() gw.sleep(30) end, to = "up" })
        gw.route("GET /twice", function() gw.sleep(0.2) gw.sleep(0.2) return gw.response(200) end)]],
      up = [[ if req.path == "/up/p/hang" then gw.sleep(30) end
              return gw.response(200, "got " .. req:text()) ]],
    }
  end)

  it("lets an answer in time pass, with its body", function()
    assert.equal("got hello", g:ask("POST /p/x", { body = "hello" }).body)
    assert.equal(404, g:ask("GET /nowhere").status)
  end)

  it("answers 504 when the upstream, a policy, or all together are late", function()
    for _, path in ipairs { "/p/hang", "/p/slow", "/p/twice" } do
      local begin = policy.gettime()
      local res = g:ask("GET " .. path)
      assert.equal(504, res.status, path)
      assert.truthy(res.body:find('"error":"timeout"', 1, true), res.body)
      local took = policy.gettime() - begin
      assert.truthy(took >= 0.299 and took < 5, took)
    end
  end)

  it("leaves a script that fails what it is", function()
    assert.equal(500, g:ask("GET /p/boom").status)
  end)

  it("goes on serving after many that were late", function()
    for _ = 1, 5 do assert.equal(504, g:ask("GET /p/hang").status) end
    assert.equal("got x", g:ask("POST /p/x", { body = "x" }).body)
  end)
end)
