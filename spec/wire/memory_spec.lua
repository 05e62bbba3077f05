--- A site that keeps what it should forget: its memory ends, and its worker does not.
local gateway = require "spec.support.gateway"
local cjson = require "cjson"

describe("a script that leaks", function()
  after_each(gateway.stop_all)

  it("meets the end of its memory as an error, also in compiled code", function()
    local g = gateway.start({ ["gateway.lua"] = [[
      local gw = require "moonlatch"
      gw.settings { script_memory = 32 * 1024 * 1024 }
      gw.listen { port = PORT, host = "127.0.0.1" }
      local kept = {}
      gw.route("GET /leak", function()
        for _ = 1, 100 do kept[#kept + 1] = ("x"):rep(10000) .. #kept end
        return gw.response(200, "kept")
      end)
      gw.route("GET /forget", function() kept = {} return gw.response(204) end)
    ]] }, { args = { "--workers", "1" } })
    local failed = 0
    for _ = 1, 100 do
      local status = g:get("/leak")
      assert.truthy(status == 200 or status == 500, status)
      if status == 500 then
        failed = failed + 1
        g:get("/forget")
      end
    end
    assert.truthy(failed > 0)
    local worker = cjson.decode((g:command("status", "--json"))).workers[1]
    assert.equal(0, worker.restarts)
    assert.truthy(g:output():find("gateway.lua:%d+: not enough memory"))
  end)
end)
