-- The policy `forward_auth`, on the real binary; the service is a path of the same gateway.
local policy = require "spec.support.policy"

describe("forward_auth", function()
  local g
  teardown(policy.stop_all)

  local service = [[
    gw.route("* /verify", function(req)
      local what = req:bearer_token() or "none"
      if what == "slow" then gw.sleep(30) end
      if what == "good" then
        return gw.response(204, nil, { ["X-User"] = "alice", ["X-Roles"] = { "a", "b" }, ["X-Other"] = "1" })
      end
      if what == "echo" then
        return gw.response(403, table.concat({ req.method, req:header("x-forwarded-method"),
          req:header("x-forwarded-uri"), req:header("x-forwarded-host"), req:header("x-secret") or "-",
          req:header("cookie") or "-", req:header("content-length") or "-" }, " "))
      end
      local status = tonumber(what) or 401
      return gw.response(status, "who are you?", { ["WWW-Authenticate"] = "Bearer", Location = "/login",
        ["Set-Cookie"] = { "a=1", "b=2" }, ["X-User"] = "mallory" })
    end) ]]
  local up = [[ return gw.response(200, ("%s [%s] %s %s"):format(req:header("x-user") or "-",
    table.concat(req:header_values("x-roles"), "|"), req:header("x-other") or "-", req:text())) ]]

  local function start(options)
    return policy.start { top = service, up = up,
      use = [[ { "forward_auth", url = "http://127.0.0.1:PORT/verify", copy = { "X-User", "X-Roles" }, ]]
        .. (options or "") .. " }" }
  end

  setup(function() g = start "timeout = 0.3" end)

  local function ask(token, more, gateway)
    return (gateway or g):ask("POST /p/x?a=1", { body = "body",
      headers = (token and "Authorization: Bearer " .. token .. "\r\n" or "") .. (more or "") })
  end

  it("lets a request pass with what the service says of it, and nothing a client claims", function()
    local res = ask("good", "X-User: root\r\nX-Roles: admin\r\nx-user: root2\r\n")
    assert.equal(200, res.status)
    assert.equal("alice [a|b] - body", res.body)
  end)

  it("says what is asked, without the body and other headers", function()
    local res = ask("echo", "X-Secret: 1\r\nCookie: c=1\r\nX-Forwarded-Uri: /open\r\nX-Forwarded-Method: GET\r\n")
    assert.equal(403, res.status)
    assert.equal("GET POST /p/x?a=1 test.example - c=1 -", res.body)
  end)

  it("passes a refusal on, with what the client needs", function()
    for token, status in pairs { none = 401, ["403"] = 403 } do
      local res = ask(token)
      assert.equal(status, res.status)
      assert.equal("who are you?", res.body)
      assert.equal("Bearer", res.headers["www-authenticate"])
      assert.equal("a=1|b=2", res.headers["set-cookie"])
      assert.is_nil(res.headers["x-user"])
    end
  end)

  it("lets nobody pass without a decision", function()
    for _, token in ipairs { "500", "404", "302", "429", "slow" } do
      local res = ask(token)
      assert.equal(503, res.status, token)
      assert.truthy(res.body:find('"error":"auth_unavailable"', 1, true), res.body)
      assert.is_nil(res.body:find("who are you", 1, true))
    end
    assert.equal(503, ask(("x"):rep(17000)).status)
    local g2 = policy.start { use = [[ { "forward_auth", url = "http://127.0.0.1:PORT9/verify" } ]], up = up }
    assert.equal(503, ask("good", nil, g2).status)
    g2:wait_for_log("forward_auth: no decision")
  end)

  it("redirects to a log-in when that is allowed", function()
    local g2 = start "redirects = true"
    local res = ask("302", nil, g2)
    assert.equal(302, res.status)
    assert.equal("/login", res.headers.location)
    assert.equal(503, ask("301", nil, g2).status)
  end)

  it("refuses names and places that can not be", function()
    for options, why in pairs { ['url = "ftp://a/x"'] = "must be like", ['url = "a"'] = "must be like",
        ['url = "http://a", copy = { "Host" }'] = "can not be used",
        ['url = "http://a", copy = { "Content-Length" }'] = "can not be used",
        ['url = "http://a", send = { "a b" }'] = "can not be used" } do
      local text, code = policy.check { use = '{ "forward_auth", ' .. options .. " }" }
      assert.equal(1, code)
      assert.truthy(text:find(why, 1, true), text)
    end
  end)
end)
