-- The policy `basic_auth` and gw.crypto, on the real binary.
local policy = require "spec.support.policy"

-- Of "U*U", a test vector of crypt_blowfish, and of "secret".
local BCRYPT = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
local SHA = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="

local function base64(text)
  local p = io.popen(("printf %%s '%s' | base64 -w0"):format(text))
  local out = p:read("*a")
  p:close()
  return out
end

local function made(kind)
  local p = io.popen(("openssl passwd %s -salt abcdefgh secret"):format(kind))
  local hash = p:read("*l")
  p:close()
  return hash
end

local function ask(g, who, more)
  return g:ask("GET /p/x", { headers = (who and "Authorization: Basic " .. base64(who) .. "\r\n" or "")
                                       .. (more or "") })
end

describe("basic_auth", function()
  local g
  setup(function()
    g = policy.start {
      top = [[ gw.route("GET /hash", { respond = function(req)
          local hash, code = gw.crypto.password_hash(req.args.p, { method = req.args.method, cost = tonumber(req.args.cost) })
          return gw.response(200, hash or code) end })
        gw.route("GET /verify", { respond = function(req)
          return gw.response(200, tostring((gw.crypto.password_verify(req.args.p, req.args.h)))) end }) ]],
      up = [[ return gw.response(200, { user = req:header("x-user"), auth = req:header("authorization") }) ]],
      use = ([[ { "basic_auth", realm = "Ops", user_header = "X-User",
        users = "# people\nsha:%s\nsha5:%s\nsha6:%s\n\njohn:%s" } ]]):format(SHA, made "-5", made "-6", BCRYPT),
    }
  end)
  teardown(policy.stop_all)

  it("passes whoever knows the password, whatever the hash", function()
    for _, user in ipairs { "sha", "sha5", "sha6", "sha5", "sha" } do
      assert.equal(('{"user":"%s"}'):format(user), ask(g, user .. ":secret", "X-User: root\r\n").body)
    end
    assert.equal('{"user":"john"}', ask(g, "john:U*U").body)
  end)

  it("refuses everybody else in the same words", function()
    for _, who in ipairs { "sha:Secret", "sha5:secret2", "nobody:secret", "sha:", ":secret", "sha6:secre" } do
      local res = ask(g, who)
      assert.equal(401, res.status, who)
      assert.equal('Basic realm="Ops", charset="UTF-8"', res.headers["www-authenticate"])
      assert.truthy(res.body:find('"message":"User or password is wrong"', 1, true))
    end
    assert.truthy(ask(g).body:find('"code":"credentials_missing"', 1, true))
    assert.truthy(ask(g, nil, "Authorization: Bearer x\r\n").body:find("credentials_missing", 1, true))
    assert.truthy(ask(g, nil, "Authorization: Basic ???\r\n").body:find("credentials_missing", 1, true))
  end)

  it("hashes passwords beside the loop", function()
    for method, begin in pairs { yescrypt = "$y$", bcrypt = "$2b$", sha512 = "$6$", scrypt = "$7$" } do
      local cost = ({ yescrypt = 3, bcrypt = 8, sha512 = 5000, scrypt = 6 })[method]
      local hash = g:ask(("GET /hash?p=secret&method=%s&cost=%d"):format(method, cost)).body
      assert.equal(begin, hash:sub(1, #begin))
      local quoted = hash:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end)
      assert.equal("true", g:ask("GET /verify?p=secret&h=" .. quoted).body, method)
      assert.equal("false", g:ask("GET /verify?p=secret2&h=" .. quoted).body)
      assert.equal("false", g:ask("GET /verify?p=&h=" .. quoted).body)
    end
    assert.not_equal(g:ask("GET /hash?p=secret&cost=3").body, g:ask("GET /hash?p=secret&cost=3").body)
    for _, query in ipairs { "p=a%00b&cost=3", "cost=3&p=" .. ("a"):rep(513), "method=bcrypt&p=" .. ("a"):rep(73) } do
      assert.equal("password_unusable", g:ask("GET /hash?" .. query).body)
    end
    assert.equal(500, g:ask("GET /verify?p=secret&h=%24apr1%24abcdefgh%24AAAAAAAAAAAAAAAAAAAAAA").status)
    assert.equal(500, g:ask("GET /verify?p=secret&h=%242b%2431%24" .. ("a"):rep(53)).status)
  end)

  it("answers others while a hash is computed, and refuses what is too much", function()
    policy.real_only "a hash that takes time"
    local slow = {}
    for i = 1, 80 do
      slow[i] = g:connect()
      slow[i]:send("GET /hash?p=secret&method=bcrypt&cost=8 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    end
    assert.equal(401, ask(g).status)
    local hashes, refused = 0, 0
    for i = 1, 80 do
      local text = slow[i]:receive("*a")
      slow[i]:close()
      if text:find("$2b$08$", 1, true) then hashes = hashes + 1 elseif text:find("overload", 1, true) then refused = refused + 1 end
    end
    assert.equal(80, hashes + refused)
    assert.is_true(hashes >= 64, hashes)
    assert.is_true(refused > 0)
  end)

  it("forgets the hash of a client that went away", function()
    for _ = 1, 5 do
      local s = g:connect()
      s:send("GET /hash?p=secret&method=bcrypt&cost=10 HTTP/1.1\r\nHost: a\r\n\r\n")
      s:close()
    end
    assert.equal("$y$", g:ask("GET /hash?p=secret&cost=3").body:sub(1, 3))
    assert.is_true(g:alive())
  end)

  it("refuses to load what can not work", function()
    for use, message in pairs {
      ['{ "basic_auth" }'] = 'option "users" is missing',
      ['{ "basic_auth", users = "" }'] = "there is no user",
      ['{ "basic_auth", users = "a" }'] = "line 1 is not name:hash",
      ['{ "basic_auth", users = "a:secret" }'] = "is of no kind that is accepted",
      ['{ "basic_auth", users = "a:$apr1$abcdefgh$AAAAAAAAAAAAAAAAAAAAAA" }'] = "is of no kind that is accepted",
      ['{ "basic_auth", users = "a:{SHA}AAAA" }'] = "is of no kind that is accepted",
      ['{ "basic_auth", users = { a = 5 } }'] = "must be a string",
    } do
      local text, exit = policy.check { use = use }
      assert.equal(1, exit)
      assert.truthy(text:find(message, 1, true), text)
    end
    local _, exit = policy.check { use = ('{ "basic_auth", users = { a = "%s" } }'):format(BCRYPT) }
    assert.equal(0, exit)
  end)
end)

describe("gw.crypto", function()
  teardown(policy.stop_all)

  it("knows the vectors of FIPS 180 and RFC 4231", function()
    local g = policy.start { routes = [[ gw.route("GET /vectors", { respond = function()
      local c = gw.crypto
      assert(c.sha1("abc") == "a9993e364706816aba3e25717850c26c9cd0d89d")
      assert(c.sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
      assert(#c.sha384("", "raw") == 48 and #c.sha512("") == 128)
      assert(c.hmac("sha256", "Jefe", "what do ya want for nothing?")
             == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
      assert(#c.hmac("sha512", "", "", "raw") == 64)
      assert(c.equals("a", "a") and not c.equals("a", "b") and not c.equals("a", "aa") and c.equals("", ""))
      assert(#c.random(7) == 7 and c.random(16) ~= c.random(16))
      for _, bad in ipairs { function() c.random(0) end, function() c.hmac("md5", "", "") end,
                             function() c.sha256("a", "base64") end, function() c.sha256() end } do
        assert(not pcall(bad))
      end
      return gw.response(200, "good")
    end }) ]] }
    assert.equal("good", g:ask("GET /p/vectors").body)
  end)

  it("hashes no password while the site is loaded", function()
    local text, exit = policy.check { top = 'gw.crypto.password_hash("secret")' }
    assert.equal(1, exit)
    assert.truthy(text:find("can not be called while the site is loaded", 1, true), text)
  end)
end)
