-- The policy `security_headers` in front of an upstream, on the real binary.
local gateway = require "spec.support.gateway"
local policy = require "spec.support.policy"

-- What helmet 8.3.0 sends.
local helmet = {
  ["content-security-policy"] = "default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';"
    .. "frame-ancestors 'self';img-src 'self' data:;object-src 'none';script-src 'self';script-src-attr 'none';"
    .. "style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests",
  ["cross-origin-opener-policy"] = "same-origin",
  ["cross-origin-resource-policy"] = "same-origin",
  ["origin-agent-cluster"] = "?1",
  ["referrer-policy"] = "no-referrer",
  ["strict-transport-security"] = "max-age=31536000; includeSubDomains",
  ["x-content-type-options"] = "nosniff",
  ["x-dns-prefetch-control"] = "off",
  ["x-download-options"] = "noopen",
  ["x-frame-options"] = "SAMEORIGIN",
  ["x-permitted-cross-domain-policies"] = "none",
  ["x-xss-protection"] = "0",
}

local function check_all(res)
  for name, value in pairs(helmet) do assert.equal(value, res.headers[name], name) end
  for _, name in ipairs { "server", "x-powered-by", "cross-origin-embedder-policy", "permissions-policy" } do
    assert.is_nil(res.headers[name], name)
  end
end

describe("security_headers", function()
  local g
  teardown(policy.stop_all)

  setup(function()
    g = policy.start {
      use = '"security_headers"',
      routes = [[
        gw.group("/inner", { { "security_headers", frame_options = "DENY", csp = false, hsts = false } }, function()
          gw.route("GET /x", { to = "up" })
          gw.route("GET /boom", function() error("boom") end)
        end)]],
      up = [[ return gw.response(200, "up", { ["X-Frame-Options"] = { "ALLOWALL", "DENY" }, Server = "nginx/1",
                ["X-Powered-By"] = "Express", ["Content-Security-Policy"] = "default-src *",
                ["Strict-Transport-Security"] = "max-age=0", ["X-XSS-Protection"] = "1; mode=block" }) ]],
    }
  end)

  it("sends helmet's defaults once, whatever the upstream says", function()
    check_all(g:ask("GET /p/x"))
  end)

  it("does so, too, where it is the only one of the site", function()
    local alone = policy.start { use = '"security_headers"',
      up = [[ return gw.response(200, "up", { ["X-Frame-Options"] = "ALLOWALL", Server = "nginx/1" }) ]] }
    check_all(alone:ask("GET /p/x"))
    check_all(alone:ask("GET /p/boom"))
  end)

  it("sends them on errors of the gateway and of scripts", function()
    for path, status in pairs { ["/p/dead"] = 503, ["/p/boom"] = 500 } do
      local res = g:ask("GET " .. path)
      assert.equal(status, res.status)
      check_all(res)
    end
    local g2 = policy.start { all = '"security_headers"' }
    for what, status in pairs { ["GET /nowhere"] = 404, ["OPTIONS /p/x"] = 200, ["OPTIONS /nowhere"] = 404 } do
      local res = g2:ask(what)
      assert.equal(status, res.status)
      check_all(res)
    end
  end)

  it("sends them on refusals of what never gets to a chain, when they are for all of the site", function()
    local g2 = policy.start { all = '"security_headers"' }
    local bad = { ["GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n"] = 400, ["nonsense\r\n\r\n"] = 400,
                  ["GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"] = 400, ["TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"] = 405,
                  ["GET /" .. ("x"):rep(20000) .. " HTTP/1.1\r\nHost: a\r\n\r\n"] = 414 }
    for bytes, status in pairs(bad) do
      local res = gateway.parse(g2:raw(bytes))
      assert.equal(status, res.status, bytes:sub(1, 40))
      check_all(res)
    end
    for bytes in pairs(bad) do -- for some routes only: they say nothing of what is no request for these
      assert.is_nil(gateway.parse(g:raw(bytes)).headers["x-frame-options"])
    end
  end)

  it("lets the inner one of two decide, and what is off pass", function()
    local h = g:ask("GET /p/inner/x").headers
    assert.equal("DENY", h["x-frame-options"])
    assert.equal("default-src *", h["content-security-policy"])
    assert.equal("max-age=0", h["strict-transport-security"])
    assert.equal("0", h["x-xss-protection"])
    assert.equal("DENY", g:ask("GET /p/inner/boom").headers["x-frame-options"])
  end)

  it("takes directives, drops some, and keeps their order", function()
    local g2 = policy.start { use = [[ { "security_headers", hsts_preload = true,
      cross_origin_embedder_policy = "require-corp", permissions_policy = "camera=()", remove = {},
      csp = { ["frame-src"] = "'none'", ["connect-src"] = { "'self'", "wss:" }, ["base-uri"] = false,
              ["upgrade-insecure-requests"] = false, ["sandbox"] = true } } ]],
      up = [[ return gw.response(200, "up", { Server = "s" }) ]] }
    local h = g2:ask("GET /p/x").headers
    assert.equal("default-src 'self';font-src 'self' https: data:;form-action 'self';frame-ancestors 'self';"
      .. "img-src 'self' data:;object-src 'none';script-src 'self';script-src-attr 'none';"
      .. "style-src 'self' https: 'unsafe-inline';connect-src 'self' wss:;frame-src 'none';sandbox",
      h["content-security-policy"])
    assert.equal("max-age=31536000; includeSubDomains; preload", h["strict-transport-security"])
    assert.equal("require-corp", h["cross-origin-embedder-policy"])
    assert.equal("camera=()", h["permissions-policy"])
    assert.equal("s", h.server)
  end)

  it("switches each header off, HSTS also for plain HTTP alone", function()
    local g2 = policy.start { use = [[ { "security_headers", csp = { ["default-src"] = "'none'" },
      csp_defaults = false, csp_report_only = true, hsts = "tls", frame_options = false, referrer_policy = false,
      cross_origin_opener_policy = false, cross_origin_resource_policy = false, content_type_options = false,
      origin_agent_cluster = false, dns_prefetch_control = false, download_options = false,
      permitted_cross_domain_policies = false, xss_protection = false } ]] }
    local h = g2:ask("GET /p/x").headers
    for name in pairs(helmet) do assert.is_nil(h[name], name) end
    assert.equal("default-src 'none'", h["content-security-policy-report-only"])
  end)

  it("refuses what browsers would misread", function()
    for options, why in pairs {
      ['csp = { ["defualt-src"] = "x" }'] = "unknown directive",
      ['csp = { ["default-src"] = { "self" } }'] = "needs quotes",
      ['csp = { ["script-src"] = "nonce-abc" }'] = "needs quotes",
      ['csp = { ["default-src"] = { "a; script-src *" } }'] = "can not have the source",
      ['csp = { ["default-src"] = { "a,b" } }'] = "can not have the source",
      ['csp = { ["default-src"] = 1 }'] = "list of sources",
      ['frame_options = "ALLOWALL"'] = "must be one of", ['frame_options = true'] = "must be one of",
      ['referrer_policy = "none"'] = "unknown policy", ['referrer_policy = true'] = "or false",
      ['hsts_preload = true, hsts_max_age = 60'] = "hsts_preload needs",
      ['hsts_preload = true, hsts_subdomains = false'] = "hsts_preload needs",
      ['hsts = "sometimes"'] = "must be one of", ['remove = { "a b" }'] = "no name of a header",
      ['permissions_policy = "a\\r\\nb"'] = "control character",
    } do
      local text, code = policy.check { use = '{ "security_headers", ' .. options .. " }" }
      assert.equal(1, code, options)
      assert.truthy(text:find(why, 1, true), text)
    end
  end)
end)
