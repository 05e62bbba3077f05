--- What the log says of a script that failed: always a place in the script.
local gateway = require "spec.support.gateway"
local cjson = require "cjson"

local function error_of(g, path)
  for line in g:wait_for_log('"path":"' .. path .. '"'):gmatch("[^\n]+") do
    local ok, event = pcall(cjson.decode, line)
    if ok and event.path == path and event.message == "script failed" then return event.error end
  end
end

describe("the log of a failed script", function()
  after_each(gateway.stop_all)

  it("names the function that made a bad call its last act", function()
    local g = gateway.start {
      ["gateway.lua"] = 'local gw = require "moonlatch"\n'
        .. 'gw.listen { port = PORT, host = "127.0.0.1" }\n'
        .. 'gw.route("GET /tail", function() return gw.response("x") end)\n'
        .. 'gw.route("GET /line", function()\n  gw.response("x")\nend)\n'
        .. 'gw.route("GET /step", { "bad", respond = function() return gw.response(200) end })\n',
      ["middleware/bad.lua"] = 'local gw = require "moonlatch"\nlocal M = { name = "bad" }\n'
        .. 'function M.new()\n  return function() return gw.redirect("a b") end\nend\nreturn M\n',
    }
    for _, path in ipairs { "/tail", "/line", "/step" } do assert.equal(500, (g:get(path))) end
    local status = ": the status of a response is an integer from 200 to 599"
    assert.equal("gateway.lua:3" .. status, error_of(g, "/tail"))
    assert.equal("gateway.lua:5" .. status, error_of(g, "/line"))
    assert.equal("middleware/bad.lua:4: a redirect needs a URL without spaces and control characters",
                 error_of(g, "/step"))
  end)
end)
