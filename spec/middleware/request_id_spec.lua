-- The policy `request_id`, on the real binary.
local policy = require "spec.support.policy"

local up = [[ return gw.response(200, table.concat(req:header_values("x-request-id"), "|")) ]]

describe("request_id", function()
  teardown(policy.stop_all)

  it("gives the same new id to upstream and client, and takes none of a client", function()
    local g = policy.start { use = [["request_id"]], up = up }
    local seen = {}
    for _ = 1, 20 do
      local res = g:ask("GET /p/x", { headers = "X-Request-ID: mine\r\n" })
      local id = res.headers["x-request-id"]
      assert.truthy(id:find("^%x+$") and #id == 32, id)
      assert.equal(id, res.body)
      assert.is_nil(seen[id])
      seen[id] = true
    end
  end)

  it("makes UUIDs of version 7 in the order of time", function()
    local g = policy.start { use = [[ { "request_id", format = "uuid7" } ]], up = up }
    local last = ""
    for _ = 1, 20 do
      local res = g:ask("GET /p/x")
      local id = res.body
      assert.truthy(id:find("^%x%x%x%x%x%x%x%x%-%x%x%x%x%-7%x%x%x%-[89ab]%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$"), id)
      assert.equal(id, res.headers["x-request-id"])
      assert.truthy(id:sub(1, 13) >= last:sub(1, 13))
      last = id
      policy.pause(0.001)
    end
    local ms = tonumber((last:sub(1, 8) .. last:sub(10, 13)), 16)
    assert.truthy(math.abs(ms / 1000 - policy.gettime()) < 60)
  end)

  it("takes a well-formed id of a trusted proxy, and logs it", function()
    local g = policy.start { use = [[ { "request_id", accept_from = { "127.0.0.0/8" } } ]], up = up }
    local function id_for(headers) return g:ask("GET /p/x", { headers = headers }).body end
    for _, id in ipairs { "a", "0af7651916cd43dd-8448.eb_2:11/c8+0=", ("x"):rep(128) } do
      assert.equal(id, id_for("X-Request-ID: " .. id .. "\r\n"))
    end
    for _, id in ipairs { "", "a b", "a\"b", "a,b", ("x"):rep(129), "\195\169", "a;b", "<a>" } do
      assert.truthy(id_for("X-Request-ID: " .. id .. "\r\n"):find("^%x+$"), id)
    end
    assert.truthy(#id_for("X-Request-ID: a\r\nX-Request-ID: b\r\n") == 32)
    id_for("X-Request-ID: seen-in-the-log\r\n")
    g:wait_for_log('"requestId":"seen-in-the-log"')
  end)

  it("takes none of an untrusted proxy, and has another name when told to", function()
    local g = policy.start { use = [[ { "request_id", header = "X-Trace", accept_from = { "10.0.0.0/8" } } ]],
      up = [[ return gw.response(200, req:header("x-trace")) ]] }
    local res = g:ask("GET /p/x", { headers = "X-Trace: mine\r\nX-Forwarded-For: 10.0.0.1\r\n" })
    assert.equal(res.headers["x-trace"], res.body)
    assert.not_equal("mine", res.body)
  end)
end)
