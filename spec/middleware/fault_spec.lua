-- The policy `fault`, on the real binary.
local policy = require "spec.support.policy"

describe("fault", function()
  teardown(policy.stop_all)

  it("refuses a share of the requests", function()
    local g = policy.start { use = [[ { "fault", enabled = true, status = 503, abort_share = 0.5 } ]] }
    local seen = { [200] = 0, [503] = 0 }
    for _ = 1, 60 do
      local res = g:ask("GET /p/x")
      seen[res.status] = seen[res.status] + 1
      if res.status == 503 then assert.truthy(res.body:find('"error":"fault"', 1, true)) end
    end
    assert.truthy(seen[200] >= 10 and seen[503] >= 10, seen[200] .. " passed") -- 1 in 20 million tries fails
  end)

  it("delays, and then still asks the upstream", function()
    local g = policy.start { use = [[ { "fault", enabled = true, delay = 0.2 } ]] }
    local begin = policy.gettime()
    assert.equal("ok", g:ask("GET /p/x").body)
    assert.truthy(policy.gettime() - begin >= 0.2)
  end)

  it("hurts nobody with a share of 0, and only those with the header", function()
    local g = policy.start { use = [[ { "fault", enabled = true, status = 500, abort_share = 0 } ]] }
    for _ = 1, 20 do assert.equal(200, g:ask("GET /p/x").status) end
    local g2 = policy.start { use = [[ { "fault", enabled = true, status = 418, header = "X-Fault" } ]] }
    assert.equal(200, g2:ask("GET /p/x").status)
    assert.equal(418, g2:ask("GET /p/x", { headers = "X-Fault: 1\r\n" }).status)
  end)

  it("is not loaded unless it is enabled", function()
    for options, why in pairs { ["status = 500"] = "is missing", ["enabled = false, status = 500"] = "does harm",
        ["enabled = true"] = "is needed" } do
      local text, code = policy.check { use = '{ "fault", ' .. options .. " }" }
      assert.equal(1, code)
      assert.truthy(text:find(why, 1, true), text)
    end
  end)
end)
