--- A site that loads slowly must not hold up the traffic of its workers.
local gateway = require "spec.support.gateway"

local function site(loop)
  return 'local gw = require "moonlatch"\ngw.listen { port = PORT, host = "127.0.0.1" }\n' .. loop
    .. '\ngw.route("GET /", { respond = gw.response(200, "fine") })\n'
end

describe("a site that loads slowly", function()
  after_each(gateway.stop_all)

  it("is reported from 200 ms on", function()
    local g = gateway.start { ["gateway.lua"] = site "local t = os.clock() repeat until os.clock() - t > 0.25" }
    local log = g:wait_for_log("loading the site takes")
    assert.truthy(log:find("ms of CPU time, in which a worker answers nobody", 1, true))
    assert.equal(200, (g:get("/")))
  end)

  it("is refused beyond a second, and the traffic sees nothing of it", function()
    local g = gateway.start { ["gateway.lua"] = site "" }
    g:save("gateway.lua", site "local t = os.clock() repeat until os.clock() - t > 4")
    local text, code = g:command("reload", "--wait")
    assert.equal(1, code)
    assert.truthy(text:find("gateway.lua:3: CPU budget of 1000 ms exceeded", 1, true), text)
    assert.equal(200, (g:get("/")))
    assert.falsy(g:output():find("worker stuck", 1, true))
  end)
end)
