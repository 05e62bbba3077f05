-- The policy `mirror`, on the real binary; the other server is a path of the same gateway that keeps what it saw.
local policy = require "spec.support.policy"

describe("mirror", function()
  teardown(policy.stop_all)

  local function start(options)
    return policy.start {
      use = [[ { "mirror", to = "http://127.0.0.1:PORT/other/", ]] .. options .. " }",
      routes = 'gw.route("GET /count", function() return gw.response(200, tostring(gw.shared("seen"):get("n"))) end)',
      up = "return gw.response(200, 'up ' .. req:text { max = 1000000 })",
      top = [[
        gw.route("* /other/*rest", function(req)
          if req.args.hang then gw.sleep(30) end
          local seen = gw.shared("seen")
          seen:set("last", ("%s %s?%s %s [%s] %s %s %s"):format(req.method, req.path, req.query, req:text(),
            table.concat(req:header_values("x-a"), "|"), req:header("authorization") or "-", req:header("cookie") or "-",
            req:header("x-mirror")))
          seen:incr("n", 1)
          return gw.response(500, "nobody sees this")
        end)
        gw.route("GET /last", function() return gw.response(200, gw.shared("seen"):get("last") or "none") end)
        gw.route("GET /n", function() return gw.response(200, tostring(gw.shared("seen"):get("n") or 0)) end) ]],
    }
  end

  local function copy_of(g)
    local text
    policy.eventually(function()
      text = g:ask("GET /last").body
      return text ~= "none"
    end, "a copy", 10)
    return text
  end

  it("sends a copy without credentials, and gives the client the upstream's answer", function()
    local g = start 'methods = { "POST" }'
    local res = g:ask("POST /p/x?a=1", { body = "hello",
      headers = "X-A: 1\r\nX-A: 2\r\nAuthorization: Bearer t\r\nCookie: c=1\r\nConnection: x-hop\r\nX-Hop: 1\r\n" })
    assert.equal(200, res.status)
    assert.equal("up hello", res.body)
    assert.equal("POST /other/p/x?a=1 hello [1|2] - - 1", copy_of(g))
  end)

  it("copies an encoded body as it came", function()
    local g = start 'methods = { "POST" }'
    local packed = "\031\139\008\000\000\000\000\000\002\003\203\072\205\201\201\007\000\134\166\016\054\005\000\000\000"
    assert.equal("up hello", g:ask("POST /p/x?a=1", { body = packed, headers = "Content-Encoding: gzip\r\n" }).body)
    assert.equal("POST /other/p/x?a=1 hello [] - - 1", copy_of(g))
  end)

  it("copies credentials when told to, and methods as told", function()
    local g = start "credentials = true"
    assert.equal("up x", g:ask("POST /p/x", { body = "x" }).body)
    assert.equal("up ", g:ask("GET /p/x", { headers = "Authorization: Bearer t\r\nCookie: c=1\r\n" }).body)
    assert.equal("GET /other/p/x?  [] Bearer t c=1 1", copy_of(g))
    assert.equal("1", g:ask("GET /n").body)
  end)

  it("leaves a body that is too large alone", function()
    local g = start 'methods = { "POST" }, max_body = 10'
    assert.equal("up " .. ("x"):rep(11), g:ask("POST /p/x", { body = ("x"):rep(11) }).body)
    assert.equal("up y", g:ask("POST /p/y", { body = "y" }).body)
    assert.equal("POST /other/p/y? y [] - - 1", copy_of(g))
    assert.equal("1", g:ask("GET /n").body)
  end)

  it("does not wait for a server that hangs, and has no more copies than allowed under way", function()
    local g = start "max_concurrent = 2, timeout = 30"
    for _ = 1, 5 do assert.equal("up ", g:ask("GET /p/x?hang=1").body) end
    for _ = 1, 5 do assert.equal("up ", g:ask("GET /p/x").body) end -- both places are taken
    assert.equal("0", g:ask("GET /n").body)
  end)

  it("frees the place of a copy that failed", function()
    local g = start "max_concurrent = 1, timeout = 0.05"
    g:ask("GET /p/x?hang=1")
    policy.eventually(function()
      g:ask("GET /p/x")
      return g:ask("GET /n").body ~= "0"
    end, "another copy", 10)
  end)

  it("copies nothing with a share of 0, and refuses what is no origin", function()
    local g = start "share = 0"
    for _ = 1, 5 do g:ask("GET /p/x") end
    assert.equal("0", g:ask("GET /n").body)
    for _, url in ipairs { "127.0.0.1:80", "ftp://a", "http://", "http://a?b", "http://a/#x" } do
      local text, code = policy.check { use = ('{ "mirror", to = "%s" }'):format(url) }
      assert.equal(1, code, url)
      assert.truthy(text:find("must be like", 1, true), text)
    end
  end)
end)
