-- The policy `redirect`, on the real binary.
local policy = require "spec.support.policy"

local https = "X-Forwarded-Proto: https\r\n"

describe("redirect", function()
  teardown(policy.stop_all)

  it("sends everything to https on the canonical host, by one redirect", function()
    local g = policy.start { use = [[ { "redirect", https = true, host = "www.example.com",
      except = { "/p/health" } } ]] }
    local function location(what, opts)
      local res = g:ask(what, opts)
      return res.status == 308 and res.headers.location or res.status
    end
    assert.equal("https://www.example.com/p/x?a=1&b=%20", location("GET /p/x?a=1&b=%20"))
    assert.equal("https://www.example.com/p/x", location("POST /p/x", { host = "www.example.com", body = "b" }))
    assert.equal("https://www.example.com/p/x", location("GET /p/x", { host = "example.com", headers = https }))
    assert.equal(200, location("GET /p/x", { host = "www.example.com", headers = https }))
    assert.equal(200, location("GET /p/x", { host = "WWW.Example.com:8443", headers = https }))
    assert.equal(200, location("GET /p/health"))
    assert.equal("https://www.example.com/p/health/x", location("GET /p/health/x"))
    assert.equal("https://www.example.com/p/x",
      location("GET /p/x", { host = "www.example.com", headers = "X-Forwarded-Proto: https, http\r\n" }))
  end)

  it("believes a proxy's X-Forwarded-Proto only when the proxy is trusted", function()
    local g = policy.start { use = [[ { "redirect", https = true, https_port = 8443 } ]],
      top = 'gw.listen { host = "127.0.0.1", port = PORT2 }' }
    assert.equal(200, g:ask("GET /p/x", { headers = https }).status)
    local res = g:ask("GET /p/x", { headers = https, port = g:port_of("PORT2") })
    assert.equal(308, res.status)
    assert.equal("https://test.example:8443/p/x", res.headers.location)
  end)

  it("changes the host alone, and keeps the scheme", function()
    local g = policy.start { use = [[ { "redirect", host = "a.example", status = 301 } ]] }
    local res = g:ask("GET /p/x")
    assert.equal(301, res.status)
    assert.equal("http://a.example/p/x", res.headers.location)
    assert.equal("https://a.example/p/x", g:ask("GET /p/x", { headers = https }).headers.location)
    assert.equal(200, g:ask("GET /p/x", { host = "a.example" }).status)
  end)

  it("adds or removes the last slash", function()
    local add = policy.start { use = [[ { "redirect", trailing_slash = "add" } ]] }
    assert.equal("/p/x/?q=1", add:ask("GET /p/x?q=1").headers.location)
    assert.equal(200, add:ask("GET /p/x/").status)
    assert.equal(200, add:ask("GET /p/x.css").status)
    assert.equal("/p/v1.0/x/", add:ask("GET /p/v1.0/x").headers.location)
    local remove = policy.start { use = [[ { "redirect", trailing_slash = "remove" } ]] }
    assert.equal("/p/x", remove:ask("GET /p/x/").headers.location)
    assert.equal(200, remove:ask("GET /p/x").status)
  end)

  it("never leads to another host by a path that looks like one", function()
    local g = policy.start { all = [[ { "redirect", trailing_slash = "add", host = "a.example" } ]],
      top = 'gw.listen { host = "127.0.0.1", port = PORT2, keep_slashes = true }' }
    local function location(path)
      return g:ask("GET " .. path, { host = "a.example", port = g:port_of("PORT2") }).headers.location
    end
    assert.equal("/evil.example/x/", location("//evil.example/x"))
    assert.equal("/evil/", location("///evil"))
  end)

  it("answers a client without a Host", function()
    local g = policy.start { use = [[ { "redirect", https = true } ]] }
    assert.truthy(g:raw("GET /p/x HTTP/1.0\r\n\r\n"):find("^HTTP/1.1 400 "))
  end)

  it("refuses to do nothing, and hosts that are none", function()
    for options, why in pairs { [""] = "is needed", ['host = "A.example"'] = "lower case",
        ['host = "a.example:80"'] = "without a port", ['https = true, status = 303'] = "must be one of" } do
      local text, code = policy.check { use = '{ "redirect", ' .. options .. " }" }
      assert.equal(1, code)
      assert.truthy(text:find(why, 1, true), text)
    end
  end)
end)
