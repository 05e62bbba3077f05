-- The policy `maintenance`, on the real binary.
local policy = require "spec.support.policy"

describe("maintenance", function()
  teardown(policy.stop_all)

  it("closes everything with 503, Retry-After and JSON", function()
    local g = policy.start { all = [[ { "maintenance", retry_after = 600, message = "Back at six" } ]] }
    for _, what in ipairs { "GET /p/x", "POST /p/x", "GET /nowhere", "OPTIONS /p/x" } do
      local res = g:ask(what, { headers = "Accept: text/html\r\n" })
      assert.equal(503, res.status)
      assert.equal("600", res.headers["retry-after"])
      assert.equal("no-store", res.headers["cache-control"])
      assert.equal("application/json", res.headers["content-type"])
      assert.truthy(res.body:find('"error":"maintenance","message":"Back at six"', 1, true), res.body)
    end
  end)

  it("lets those who work on it in, and what is excepted", function()
    local g = policy.start { use = [[ { "maintenance", allow = { "10.0.0.0/8" }, except = { "/p/health" } } ]] }
    assert.equal(200, g:ask("GET /p/x", { headers = "X-Forwarded-For: 10.1.1.1\r\n" }).status)
    assert.equal(503, g:ask("GET /p/x", { headers = "X-Forwarded-For: 11.1.1.1\r\n" }).status)
    assert.equal(200, g:ask("GET /p/health").status)
    assert.equal(503, g:ask("GET /p/health/x").status)
    assert.equal(503, g:ask("GET /p/healthy").status)
  end)

  it("has a page for browsers", function()
    local g = policy.start { use = [[ { "maintenance", html = "<h1>soon</h1>" } ]] }
    local res = g:ask("GET /p/x", { headers = "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n" })
    assert.equal(503, res.status)
    assert.equal("<h1>soon</h1>", res.body)
    assert.equal("text/html; charset=utf-8", res.headers["content-type"])
    assert.equal("Accept", res.headers.vary)
    for _, accept in ipairs { "application/json", "*/*", "application/json, text/html" } do
      res = g:ask("GET /p/x", { headers = "Accept: " .. accept .. "\r\n" })
      assert.equal("application/json", res.headers["content-type"], accept)
    end
  end)

  it("does nothing when it is not enabled", function()
    local g = policy.start { use = [[ { "maintenance", enabled = false } ]] }
    assert.equal(200, g:ask("GET /p/x").status)
  end)

  it("refuses networks that are none", function()
    local text, code = policy.check { use = [[ { "maintenance", allow = { "ten" } } ]] }
    assert.equal(1, code)
    assert.truthy(text:find("no address or network", 1, true), text)
  end)
end)
