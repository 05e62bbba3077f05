-- The policy `ip_restrict`, on the real binary; the test is a trusted proxy, so it can be anybody.
local policy = require "spec.support.policy"

describe("ip_restrict", function()
  teardown(policy.stop_all)

  local function status(g, ip)
    return g:ask("GET /p/x", { headers = ip and "X-Forwarded-For: " .. ip .. "\r\n" or "" }).status
  end

  it("lets only the allowed networks in, denied ones aside", function()
    local g = policy.start { use = [[ { "ip_restrict", allow = { "10.0.0.0/8", "2001:db8::/32", "192.0.2.7" },
      deny = { "10.9.0.0/16", "2001:db8:bad::/48" } } ]] }
    for ip, expected in pairs {
      ["10.0.0.1"] = 200, ["10.9.0.1"] = 403, ["10.10.0.1"] = 200, ["11.0.0.1"] = 403, ["192.0.2.7"] = 200,
      ["192.0.2.8"] = 403, ["2001:db8::1"] = 200, ["2001:db8:bad::1"] = 403, ["2001:db9::1"] = 403,
      ["::ffff:10.0.0.1"] = 200, ["::ffff:10.9.0.1"] = 403,
    } do
      assert.equal(expected, status(g, ip), ip)
    end
    assert.equal(403, status(g), "the test itself")
    local res = g:ask("GET /p/x")
    assert.truthy(res.body:find('"error":"address_not_allowed"', 1, true), res.body)
    assert.is_nil(res.body:find("127.0.0.1", 1, true))
  end)

  it("keeps only the denied ones out without allow", function()
    local g = policy.start { use = [[ { "ip_restrict", deny = { "10.0.0.0/8" } } ]] }
    assert.equal(403, status(g, "10.1.1.1"))
    assert.equal(200, status(g, "11.1.1.1"))
    assert.equal(200, status(g))
  end)

  it("judges the connection when told to", function()
    local g = policy.start { use = [[ { "ip_restrict", allow = { "127.0.0.1" }, of = "peer" } ]] }
    assert.equal(200, status(g, "10.1.1.1"))
  end)

  it("knows ten thousand networks", function()
    local g = policy.start {
      top = [[ local many = {}
        for i = 0, 9999 do many[i + 1] = ("%d.%d.%d.0/25"):format(20 + i % 100, math.floor(i / 100), i % 251) end ]],
      use = [[ { "ip_restrict", allow = many } ]] }
    assert.equal(200, status(g, "20.0.0.127"))
    assert.equal(403, status(g, "20.0.0.128"))
    assert.equal(200, status(g, ("%d.%d.%d.1"):format(20 + 9999 % 100, 99, 9999 % 251)))
    assert.equal(403, status(g, "19.0.0.1"))
  end)

  it("refuses lists that say nothing or nonsense", function()
    for options, why in pairs { [""] = "is needed", ['allow = { "10.0.0.0/33" }'] = 'option "allow": entry 1 is no',
        ['deny = { "10.0.0.1", "host.example" }'] = 'option "deny": entry 2 is no' } do
      local text, code = policy.check { use = '{ "ip_restrict", ' .. options .. " }" }
      assert.equal(1, code)
      assert.truthy(text:find(why, 1, true), text)
    end
  end)
end)
