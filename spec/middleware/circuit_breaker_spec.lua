-- The policy `circuit_breaker`, on the real binary with two workers.
local policy = require "spec.support.policy"

describe("circuit_breaker", function()
  teardown(policy.stop_all)

  local function start(options)
    return policy.start {
      workers = 2,
      use = [[ { "circuit_breaker", min_requests = 4, window = 60, open_for = 0.4, ]] .. (options or "") .. " }",
      routes = [[ gw.route("GET /other", { to = "up" }) ]],
      up = [[ gw.shared("seen"):incr("n", 1)
              if req.args.hang then gw.sleep(30) end
              return gw.response(tonumber(req.args.status or 200), "up", { ["X-Seen"] = gw.shared("seen"):get("n") }) ]],
    }
  end

  local function status(g, path) return g:ask("GET " .. path).status end

  it("opens for all workers when too many fail, and asks nothing then", function()
    local g = start()
    for _ = 1, 4 do assert.equal(500, status(g, "/p/x?status=500")) end
    local seen = g:ask("GET /p/other").headers["x-seen"] -- another route has a state of its own
    for _ = 1, 10 do
      local res = g:ask("GET /p/x")
      assert.equal(503, res.status)
      assert.equal("1", res.headers["retry-after"])
      assert.truthy(res.body:find('"error":"circuit_open"', 1, true), res.body)
    end
    assert.equal(tostring(seen + 1), g:ask("GET /p/other").headers["x-seen"])
    g:wait_for_log("circuit breaker opened")
  end)

  it("stays closed while most work, or too few were asked", function()
    local g = start()
    for _ = 1, 3 do assert.equal(500, status(g, "/p/x?status=500")) end
    for _ = 1, 4 do assert.equal(200, status(g, "/p/x")) end
    for _ = 1, 10 do assert.equal(404, status(g, "/p/x?status=404")) end
    for _ = 1, 3 do assert.equal(500, status(g, "/p/x?status=500")) end
    assert.equal(200, status(g, "/p/x"))
  end)

  it("lets one probe through when the time is over, and closes when it works", function()
    local g = start()
    for _ = 1, 4 do status(g, "/p/x?status=502") end
    assert.equal(503, status(g, "/p/x"))
    local begin = policy.gettime()
    policy.eventually(function() return status(g, "/p/x") == 200 end, "closed again", 10)
    assert.truthy(policy.gettime() - begin >= 0.2)
    for _ = 1, 3 do assert.equal(500, status(g, "/p/x?status=500")) end -- the counts began anew
    assert.equal(200, status(g, "/p/x"))
    g:wait_for_log("circuit breaker closed")
  end)

  it("opens again when the probe fails", function()
    local g = start()
    for _ = 1, 4 do status(g, "/p/x?status=500") end
    policy.eventually(function() return status(g, "/p/x?status=500") == 500 end, "a probe", 10)
    assert.equal(503, status(g, "/p/x"))
    g:wait_for_log("the probe failed")
  end)

  it("lets another probe go when the client of the first one left", function()
    local g = start()
    for _ = 1, 4 do status(g, "/p/x?status=500") end
    local seen = tonumber(g:ask("GET /p/other").headers["x-seen"])
    local s
    policy.eventually(function() -- until a request got through, and hangs
      if s then s:close() end
      s = g:connect()
      s:send("GET /p/x?hang=1 HTTP/1.1\r\nHost: a\r\n\r\n")
      seen = seen + 1
      return tonumber(g:ask("GET /p/other").headers["x-seen"]) > seen
    end, "a probe that hangs", 10)
    assert.equal(503, status(g, "/p/x"))
    s:close()
    policy.eventually(function() return status(g, "/p/x") == 200 end, "closed", 10)
  end)

  it("counts a server that is gone", function()
    local g = start()
    for _ = 1, 4 do assert.truthy(g:ask("GET /p/dead").body:find("upstream_refused", 1, true)) end
    assert.truthy(g:ask("GET /p/dead").body:find("circuit_open", 1, true))
  end)

  it("shares a state by name, or by what a function says", function()
    local g = start 'key = "all"'
    for _ = 1, 4 do status(g, "/p/x?status=500") end
    assert.equal(503, status(g, "/p/other"))
    local g2 = start "key = function(req) return req.args.tenant end"
    for _ = 1, 4 do status(g2, "/p/x?status=500&tenant=a") end
    assert.equal(503, status(g2, "/p/x?tenant=a"))
    assert.equal(200, status(g2, "/p/x?tenant=b"))
    for _ = 1, 9 do assert.equal(500, status(g2, "/p/x?status=500")) end -- no key: no breaker
    for _, key in ipairs { "tenant=c&tenant=d", "tenant=" .. ("x"):rep(2000) } do -- no name: none either
      for _ = 1, 5 do assert.equal(500, status(g2, "/p/x?status=500&" .. key)) end
      assert.equal(200, status(g2, "/p/x?" .. key))
    end
  end)
end)
