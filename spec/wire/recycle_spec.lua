--- A VM that is full or old makes room for a fresh one, without a reload.
local gateway = require "spec.support.gateway"
local websocket = require "spec.support.websocket"

local SITE = [[
local gw = require "moonlatch"
local born, kept = tostring({}), {}
gw.settings { script_memory = 16 * 1024 * 1024, %s }
gw.listen { host = "127.0.0.1", port = PORT }
gw.route("GET /leak", { respond = function()
  kept[#kept + 1] = ("x"):rep(512 * 1024) .. #kept -- and never lets go
  return gw.response(200, "ok")
end })
gw.route("GET /", { respond = function() return gw.response(200, tostring(born)) end })
gw.route("GET /slow", { respond = function()
  local mine = tostring(born)
  gw.log.info("slow begins")
  gw.shared("state"):set("slow", true)
  while not gw.shared("state"):get("go") do gw.sleep(0.01) end
  return gw.response(200, mine == tostring(born) and "the same" or "another")
end })
gw.route("GET /go", { respond = function() gw.shared("state"):set("go", true) return gw.response(200, "ok") end })
gw.route("GET /ws", { respond = gw.websocket({}, function(ws)
  for message in ws:messages() do ws:send(message) end
end) })
gw.mount("metrics")
]]

describe("a VM", function()
  after_each(gateway.stop_all)

  local function start(settings)
    return gateway.start({ ["gateway.lua"] = SITE:format(settings) }, { args = { "--workers", "1" } })
  end

  it("whose script keeps all it sees recovers; exchanges and WebSockets of the old one go on", function()
    local g = start("script_recycle = 0.7")
    local slow, ws = g:connect(), websocket.open(g:connect(), "/ws")
    slow:send("GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    g:wait_for_log("slow begins")
    local failed = 0
    gateway.eventually(function()
      if g:get("/leak") == 500 then failed = failed + 1 end
      return g:output():find('"script VM replaced"', 1, true)
    end, "a fresh VM")
    gateway.eventually(function() return g:get("/leak") == 200 and g:get("/") == 200 end, "an answer")
    local line = g:output():match('[^\n]*"script VM replaced"[^\n]*')
    assert.truthy(line:find('"reason":"heap"', 1, true))
    assert.truthy(line:find('"generation":1,', 1, true))
    assert.truthy(g:command("status", "--json"):find('"reloads":%s*0'))
    local _, page = g:get("/metrics")
    assert.truthy(tonumber(page:match('moonlatch_script_vms_replaced_total{reason="heap"} (%d+)')) >= 1)
    g:get("/go")
    assert.truthy(slow:receive("*a"):find("the same", 1, true))
    ws:send(1, "still here")
    assert.equal("still here", ws:frame().payload)
  end)

  it("that leaks again is replaced again, more and more slowly", function()
    local g = start("script_recycle = 0.5")
    gateway.eventually(function()
      g:get("/leak")
      return select(2, g:output():gsub('"script VM replaced"', "")) >= 2
    end, "two fresh VMs")
    local times = {}
    for at in g:output():gmatch('T%d+:%d+:([%d.]+)Z[^\n]*"script VM replaced"') do times[#times + 1] = tonumber(at) end
    assert.is_true((times[2] - times[1]) % 60 >= 0.9)
  end)

  it("stays when it is told to", function()
    local g = start("script_recycle = 0")
    gateway.eventually(function() return g:get("/leak") == 500 end, "the end of its memory")
    for _ = 1, 50 do g:get("/leak") end
    local _, first = g:get("/")
    assert.is_nil(g:output():find('"script VM replaced"', 1, true))
    assert.truthy(first)
  end)

  it("of an age is replaced, in use or not", function()
    local g = start("script_max_age = 0.5")
    local _, born = g:get("/")
    gateway.eventually(function() return select(2, g:get("/")) ~= born end, "a younger VM")
    assert.truthy(g:wait_for_log('"script VM replaced"'):find('"reason":"age"', 1, true))
  end)
end)
