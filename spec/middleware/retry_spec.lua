-- The policy `retry`, on the real binary: one worker, whose upstream counts the attempts.
local policy = require "spec.support.policy"

-- The upstream fails the first `fail` attempts of a key with `status`.
local up = [[
  local dict = gw.shared("attempts")
  local n = dict:incr(req.args.key or "k", 1)
  if n <= tonumber(req.args.fail or 0) then
    return gw.response(tonumber(req.args.status or 503), "failed", { ["Retry-After"] = req.args.after })
  end
  return gw.response(200, ("%d %s %s"):format(n, req.method, req:text())) ]]

describe("retry", function()
  local g
  teardown(policy.stop_all)

  setup(function()
    g = policy.start { use = [[ { "retry", attempts = 3, statuses = { 503 }, backoff = 0.001, reserve = 1000,
      max_body = 100 } ]], up = up,
      routes = [[
        gw.route("GET /count", function(req) return gw.response(200, tostring(gw.shared("attempts"):get(req.args.key))) end)
        gw.route("GET /dead", { function(req) gw.shared("attempts"):incr("dead", 1) end, to = "dead" })]] }
  end)

  local key = 0
  -- status, body and number of attempts
  local function try(method, query, opts)
    key = key + 1
    local res = g:ask(("%s /p/x?key=%d&%s"):format(method, key, query), opts)
    return res.status, res.body, tonumber(g:ask("GET /p/count?key=" .. key).body)
  end

  it("tries again until it works, at most so often", function()
    assert.same({ 200, "1 GET ", 1 }, { try("GET", "fail=0") })
    assert.same({ 200, "2 GET ", 2 }, { try("GET", "fail=1") })
    assert.same({ 200, "3 GET ", 3 }, { try("GET", "fail=2") })
    assert.same({ 503, "failed", 3 }, { try("GET", "fail=3") })
  end)

  it("sends the body again", function()
    assert.same({ 200, "3 PUT hello", 3 }, { try("PUT", "fail=2", { body = "hello" }) })
    assert.same({ 200, "2 DELETE ", 2 }, { try("DELETE", "fail=1") })
    local chunks = "Transfer-Encoding: chunked\r\n"
    local res = g:raw("PUT /p/x?key=chunks&fail=2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" .. chunks
      .. "\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert.truthy(res:find("3 PUT abcde", 1, true), res)
  end)

  it("never repeats what may not be repeated, nor what is too large to keep", function()
    assert.same({ 503, "failed", 1 }, { try("POST", "fail=1", { body = "x" }) })
    assert.same({ 503, "failed", 1 }, { try("PATCH", "fail=1", { body = "x" }) })
    assert.same({ 503, "failed", 1 }, { try("PUT", "fail=1", { body = ("x"):rep(101) }) })
    assert.same({ 200, "1 PUT " .. ("x"):rep(101), 1 }, { try("PUT", "fail=0", { body = ("x"):rep(101) }) })
  end)

  it("takes other statuses and Retry-After for an answer", function()
    assert.same({ 500, "failed", 1 }, { try("GET", "fail=1&status=500") })
    assert.same({ 503, "failed", 1 }, { try("GET", "fail=1&after=5") })
  end)

  it("tries again when there was no answer at all", function()
    assert.equal(503, g:ask("GET /p/dead").status)
    assert.equal("3", g:ask("GET /p/count?key=dead").body)
  end)

  it("ends with the time that a policy around it allows", function()
    local g2 = policy.start { up = up, use = [[ { "timeout", seconds = 0.5 }, "security_headers",
      { "retry", attempts = 10, statuses = { 503 }, backoff = 0.2, max_backoff = 60, reserve = 1000 } ]] }
    assert.equal("2 PUT body", g2:ask("PUT /p/x?fail=1", { body = "body" }).body)
    local res = g2:ask("PUT /p/x?fail=1000", { body = "body" })
    assert.equal(504, res.status)
    assert.truthy(res.body:find('"error":"timeout"', 1, true), res.body)
  end)

  it("has a budget, which requests fill again", function()
    local g2 = policy.start { use = [[ { "retry", attempts = 5, statuses = { 503 }, backoff = 0, reserve = 2,
      budget = 0.5 } ]], up = up,
      routes = [[ gw.route("POST /count", function() return gw.response(200, tostring(gw.shared("attempts"):get("k"))) end) ]] }
    for _ = 1, 10 do assert.equal(503, g2:ask("GET /p/x?fail=1000").status) end
    -- 10 requests, 2 retries in reserve, and one for each two requests, the first of which found it full
    local attempts = tonumber(g2:ask("POST /p/count").body)
    assert.truthy(attempts >= 14 and attempts <= 17, attempts)
  end)
end)
