-- The policy `api_key`, on the real binary.
local policy = require "spec.support.policy"

local function sha256(text)
  local p = io.popen(("printf %%s '%s' | sha256sum"):format(text))
  local hash = p:read("*a"):match("^%x+")
  p:close()
  return hash
end

local ALPHA = sha256 "alpha-key"

describe("api_key", function()
  local echo = [[ return gw.response(200, { key = req:header("x-api-key"), user = req:header("x-consumer") }) ]]
  teardown(policy.stop_all)

  local function start(options)
    return policy.start { up = echo, use = ('{ "api_key", user_header = "X-Consumer", %s }'):format(options) }
  end

  local function ask(g, key, more)
    return g:ask("GET /p/x", { headers = (key and "X-API-Key: " .. key .. "\r\n" or "") .. (more or "") })
  end

  it("passes known keys under their names, and hides the key", function()
    local g = start(('keys = { alpha = "%s", beta = "%s" }'):format(sha256 "alpha-key", sha256("beta-key"):upper()))
    assert.equal('{"user":"alpha"}', ask(g, "alpha-key").body)
    assert.equal('{"user":"beta"}', ask(g, "beta-key", "X-Consumer: root\r\n").body)
  end)

  it("refuses everything else", function()
    local g = start(('keys = { alpha = "%s" }'):format(sha256 "alpha-key"))
    for _, key in ipairs { "", "alpha-ke", "alpha-keyy", "ALPHA-KEY", sha256 "alpha-key", "alpha" } do
      local res = ask(g, key)
      assert.equal(401, res.status, key)
      assert.truthy(res.headers["www-authenticate"])
      assert.truthy(res.body:find(key == "" and '"code":"key_missing"' or '"code":"key_invalid"', 1, true))
    end
    assert.equal(401, ask(g).status)
    assert.equal(401, ask(g, "alpha-key", "X-API-Key: alpha-key\r\n").status)
    assert.equal(401, g:ask("GET /p/x?key=alpha-key").status)
  end)

  it("reads a file and, when told to, the query", function()
    local g = start(('query = "key", hide = false, file = "# keys\\n\\nalpha:%s # one\\r\\nbeta:%s"')
                    :format(sha256 "alpha-key", sha256 "beta-key"))
    assert.equal('{"user":"beta"}', g:ask("GET /p/x?key=beta-key").body)
    assert.truthy(ask(g, "alpha-key").body:find('"key":"alpha-key"', 1, true))
    assert.equal(401, g:ask("GET /p/x?key=beta-key&key=beta-key").status)
  end)

  it("refuses to load what can not work", function()
    for use, message in pairs {
      ['{ "api_key" }'] = "there is no key",
      ['{ "api_key", keys = { a = "secret" } }'] = "64 hexadecimal digits",
      [('{ "api_key", keys = { a = "%s", b = "%s" } }'):format(ALPHA, ALPHA)] = "are the same",
      ['{ "api_key", file = "a:b" }'] = "line 1 is not name:hash",
    } do
      local text, exit = policy.check { use = use }
      assert.equal(1, exit)
      assert.truthy(text:find(message, 1, true), text)
    end
  end)
end)

describe("api_key with Redis", function()
  local redis = require "spec.support.redis"
  teardown(function()
    policy.stop_all()
    redis.stop_all()
  end)

  it("finds keys there, and is closed while it is down", function()
    policy.real_only "redis-server"
    local r = redis.start()
    r:call("SET", "k:" .. sha256 "alpha-key", "alpha")
    local g = policy.start {
      top = ('local r = gw.redis("redis://127.0.0.1:%d")'):format(r.port),
      up = [[ return gw.response(200, req:header("x-consumer")) ]],
      use = [[ { "api_key", redis = r, prefix = "k:", user_header = "X-Consumer", cache = 60 } ]],
    }
    local function ask(key) return g:ask("GET /p/x", { headers = "X-API-Key: " .. key .. "\r\n" }) end

    assert.equal("alpha", ask("alpha-key").body)
    assert.equal(401, ask("beta-key").status)
    r:call("SET", "k:" .. sha256 "beta-key", "beta") -- that it was unknown is not remembered
    assert.equal("beta", ask("beta-key").body)
    r:kill()
    assert.equal("alpha", ask("alpha-key").body) -- that it was known is
    local res = ask("gamma-key")
    assert.equal(503, res.status)
    assert.truthy(res.body:find("keys_unavailable", 1, true))
  end)
end)
