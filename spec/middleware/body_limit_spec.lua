-- The policy `body_limit`, on the real binary.
local gateway = require "spec.support.gateway"
local policy = require "spec.support.policy"

describe("body_limit", function()
  local g
  teardown(policy.stop_all)

  setup(function()
    g = policy.start {
      use = [[ { "body_limit", max = 100 } ]],
      routes = [[
        gw.group("/less", { { "body_limit", max = 10 } }, function() gw.route("* /x", { to = "up" }) end)
        gw.group("/more", { { "body_limit", max = 1000 } }, function() gw.route("* /x", { to = "up" }) end)
        gw.route("POST /script", function(req)
          local text, code = req:text()
          return gw.response(text and 200 or 400, text or code)
        end)]],
      up = [[ return gw.response(200, "got " .. #req:text { max = 100000 }) ]],
    }
  end)

  local function chunked(path, ...)
    local parts = {}
    for _, size in ipairs { ... } do parts[#parts + 1] = ("%x\r\n%s\r\n"):format(size, ("x"):rep(size)) end
    return gateway.parse((g:raw("POST " .. path .. " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
      .. "Transfer-Encoding: chunked\r\n\r\n" .. table.concat(parts) .. "0\r\n\r\n")))
  end

  it("lets a body of the largest size pass, and none beyond", function()
    assert.equal("got 100", g:ask("POST /p/x", { body = ("x"):rep(100) }).body)
    local res = g:ask("POST /p/x", { body = ("x"):rep(101) })
    assert.equal(413, res.status)
    assert.truthy(res.body:find('"error":"body_too_large"', 1, true), res.body)
    assert.equal("got 0", g:ask("GET /p/x").body)
  end)

  it("counts a body in chunks", function()
    assert.equal("got 100", chunked("/p/x", 50, 49, 1).body)
    for _, sizes in ipairs { { 101 }, { 50, 50, 1 }, { 100, 1 }, { 1, 100 } } do
      local res = chunked("/p/x", unpack(sizes))
      assert.equal(413, res.status)
      assert.truthy(res.body:find('"error":"body_too_large"', 1, true), res.body)
    end
  end)

  it("counts what comes late, byte by byte", function()
    local s = g:connect()
    s:send("POST /p/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ = 1, 101 do s:send("1\r\nx\r\n") end
    local all, _, part = s:receive("*a")
    s:close()
    assert.equal(413, gateway.parse(all or part).status)
  end)

  it("tells a script that reads the body", function()
    assert.equal("hello", g:ask("POST /p/script", { body = "hello" }).body)
    local res = chunked("/p/script", 60, 60)
    assert.truthy(res.status == 413 or res.body == "body_too_large", res.body)
  end)

  it("lets the smaller of two limits count", function()
    assert.equal(413, g:ask("POST /p/less/x", { body = ("x"):rep(11) }).status)
    assert.equal(413, chunked("/p/less/x", 11).status)
    assert.equal(413, g:ask("POST /p/more/x", { body = ("x"):rep(101) }).status)
    assert.equal(413, chunked("/p/more/x", 101).status)
    assert.equal("got 100", chunked("/p/more/x", 100).body)
  end)

  it("allows no body at all with 0", function()
    local g2 = policy.start { use = [[ { "body_limit", max = "0" } ]] }
    assert.equal(413, g2:ask("POST /p/x", { body = "x" }).status)
    assert.equal(200, g2:ask("POST /p/x", { body = "" }).status)
    local text, code = policy.check { use = '{ "body_limit" }' }
    assert.equal(1, code)
    assert.truthy(text:find('option "max" is missing', 1, true), text)
  end)
end)
