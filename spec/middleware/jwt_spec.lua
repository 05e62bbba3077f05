-- The policy `jwt` and gw.jwt, on the real binary.  The site signs the tokens that it is shown:
-- what is a good signature is tested in core/test/test_jwt.c and test_jwk.c.
local gateway = require "spec.support.gateway"
local policy = require "spec.support.policy"
local upstream = require "spec.support.upstream"

local SECRET = "a secret of thirty-two bytes 1234"

local top = ([[
local secret = { secret = %q }
local function sign(req)
  local claims = assert(gw.json.decode(req:body { max = 65536 }))
  return gw.response(200, assert(gw.jwt.sign(claims, gw.jwt.keys(secret),
      { alg = req.args.alg or "HS256", kid = req.args.kid, expires_in = tonumber(req.args.ttl or "60") })))
end
gw.route("POST /token", { respond = sign })
]]):format(SECRET)

local echo = [[
  return gw.response(200, { id = req:header_values("x-user-id"), lookalike = req:header("x_user_id"),
                            name = req:header("x-name"), roles = req:header("x-roles"), n = req:header("x-n") })
]]

local function start(use, more)
  local t = { top = top, use = use, up = echo }
  for key, value in pairs(more or {}) do t[key] = value end
  return policy.start(t)
end

local function token(g, claims, query)
  local res = g:ask("POST /token" .. (query or ""), { body = claims })
  assert.equal(200, res.status, res.body)
  return res.body
end

local function ask(g, t, more)
  return g:ask("GET /p/x", { headers = (t and "Authorization: Bearer " .. t .. "\r\n" or "") .. (more or "") })
end

local function code(res) return res.body:match('"code":"([^"]*)"') end

local basic = ([[ { "jwt", secret = %q, algorithms = { "HS256" },
  headers = { ["X-User-Id"] = "sub", ["X-Name"] = "name", ["X-Roles"] = "realm.roles", ["X-N"] = "n" } } ]]):format(SECRET)

describe("jwt", function()
  local g
  setup(function() g = start(basic) end)
  teardown(policy.stop_all)

  it("passes a good token and says who it is", function()
    for _ = 1, 3 do -- the second time it comes out of the cache
      local res = ask(g, token(g, '{"sub":"7","name":"a","n":12.5,"realm":{"roles":["x","y"]}}'))
      assert.equal(200, res.status)
      assert.truthy(res.body:find('"id":["7"]', 1, true), res.body)
      assert.truthy(res.body:find('"roles":"x,y"', 1, true), res.body)
      assert.truthy(res.body:find('"n":"12.5"', 1, true), res.body)
    end
    local t = token(g, '{"sub":"7"}')
    for _ = 1, 3 do assert.equal(200, ask(g, t).status) end
  end)

  it("asks for a token without calling it an error", function()
    local res = ask(g)
    assert.equal(401, res.status)
    assert.equal("token_missing", code(res))
    assert.equal('Bearer realm="api"', res.headers["www-authenticate"])
    for _, name in ipairs { "error", "message", "code", "requestId" } do
      assert.truthy(res.body:find('"' .. name .. '":"', 1, true), res.body)
    end
    assert.equal("token_missing", code(ask(g, nil, "Authorization: Basic YTpi\r\n")))
  end)

  it("says what is wrong with a token", function()
    local res = ask(g, token(g, '{"sub":"7","exp":1}', "?ttl=1"):sub(1, -2))
    assert.equal(401, res.status)
    assert.truthy(res.headers["www-authenticate"]:find('error="invalid_token", error_description="', 1, true))
    assert.equal("token_malformed", code(ask(g, "x.y")))
    assert.equal("token_malformed", code(ask(g, "a b")))
    assert.equal("alg_not_allowed", code(ask(g, token(g, '{"sub":"7"}', "?alg=HS512"))))
    assert.equal("token_not_yet_valid", code(ask(g, token(g, '{"sub":"7","nbf":32503680000}'))))
    assert.equal("claim_invalid", code(ask(g, token(g, '{"sub":7}'))))
    assert.equal("token_type_not_allowed", code(ask(g, token(g, '{"sub":"7","typ":"refresh"}'))))
  end)

  it("takes two Authorization fields for none", function()
    local t = token(g, '{"sub":"7"}')
    assert.equal("token_malformed", code(ask(g, t, "Authorization: Bearer x\r\n")))
    assert.equal("token_malformed", code(ask(g, t, "Authorization: Basic YTpi\r\n")))
  end)

  it("tells a scheme without a token from another scheme", function()
    for line, expected in pairs { ["Bearer"] = "token_malformed", ["bearer  "] = "token_malformed",
                                  ["Bearer,x"] = "token_malformed", ["Bearers x"] = "token_missing",
                                  ["Basic YTpi"] = "token_missing", [""] = "token_missing",
                                  ["Bearer a b"] = "token_malformed", ["Bearer \"a\""] = "token_malformed" } do
      assert.equal(expected, code(ask(g, nil, "Authorization: " .. line .. "\r\n")), line)
    end
  end)

  it("removes what a client sends under the headers that it sets", function()
    local t = token(g, '{"name":"a"}')
    for _, name in ipairs { "X-User-Id", "x-USER-id", "X_User_Id", "X-User_Id" } do
      local res = ask(g, t, name .. ": root\r\n")
      assert.equal(200, res.status)
      assert.is_nil(res.body:find("root", 1, true), name .. " " .. res.body)
    end
    local res = ask(g, token(g, '{"sub":"7"}'), "X-User-Id: root\r\nX-User-Id: root\r\n")
    assert.truthy(res.body:find('"id":["7"]', 1, true), res.body)
  end)

  it("takes the first claim of a list that the token has", function()
    local g2 = start(([[ { "jwt", secret = %q, algorithms = { "HS256" }, required = {},
      headers = { ["X-User-Id"] = { "sub", "userId", "id" } } } ]]):format(SECRET))
    for claims, expected in pairs { ['{"id":"3","userId":"2","sub":"1"}'] = "1", ['{"userId":"2","id":"3"}'] = "2",
                                    ['{"id":"3"}'] = "3" } do
      local res = ask(g2, token(g2, claims), "X-User-Id: root\r\n")
      assert.truthy(res.body:find('"id":["' .. expected .. '"]', 1, true), res.body)
    end
    assert.is_nil(ask(g2, token(g2, '{"x":"1"}'), "X-User-Id: root\r\n").body:find("root", 1, true))
  end)

  it("writes numbers so that no two are the same", function()
    for text, expected in pairs { ["1234567890123456"] = "1234567890123456", ["0.1"] = "0.1", ["-5"] = "-5" } do
      assert.truthy(ask(g, token(g, '{"n":' .. text .. "}")).body:find('"n":"' .. expected .. '"', 1, true))
    end
    assert.equal("claim_invalid", code(ask(g, token(g, '{"n":12345678901234567}'))))
  end)

  it("never forwards a claim that no header can carry", function()
    for _, claim in ipairs { [["a\r\nX-Evil: 1"]], [["a\tb"]], [["\u0080"]], [["\u0100"]], [["日本"]],
                             [[" a"]], [["a "]], [[{"a":1}]], [=[["a,b"]]=], [["\u007f"]] } do
      local res = ask(g, token(g, '{"sub":"7","name":' .. claim .. "}"))
      assert.equal(401, res.status, claim)
      assert.equal("claim_invalid", code(res))
    end
    local res = ask(g, token(g, [[{"sub":"7","name":"Ren\u00e9 é ÿ"}]]))
    assert.equal(200, res.status)
  end)
end)

describe("jwt's options", function()
  teardown(policy.stop_all)

  it("let requests without a token pass, without identity", function()
    local g = start((basic:gsub("}%s*$", ", optional = true }")))
    local res = ask(g, nil, "X-User-Id: root\r\n")
    assert.equal(200, res.status)
    assert.is_nil(res.body:find("root", 1, true))
    assert.equal(401, ask(g, "x.y.z").status)
  end)

  it("find the token in cookie and query only when told to", function()
    local g = start(([[ { "jwt", secret = %q, algorithms = { "HS256" },
      sources = { "bearer", "cookie:session", "query:access_token" } } ]]):format(SECRET))
    local t = token(g, '{"sub":"7"}')
    assert.equal(200, ask(g, t).status)
    assert.equal(200, ask(g, nil, "Cookie: session=" .. t .. "\r\n").status)
    assert.equal(200, g:ask("GET /p/x?access_token=" .. t).status)
    assert.equal("token_malformed", code(g:ask(("GET /p/x?access_token=%s&access_token=%s"):format(t, t))))
    assert.equal("token_missing", code(ask(g)))
  end)

  it("ask for scopes and roles", function()
    local g = start(([[ { "jwt", secret = %q, algorithms = { "HS256" }, scopes = { "a", "b" },
      roles = { "doctor", "nurse" }, roles_claim = "realm.roles" } ]]):format(SECRET))
    assert.equal(200, ask(g, token(g, '{"scope":"b c a","realm":{"roles":["nurse"]}}')).status)
    local res = ask(g, token(g, '{"scope":"a","realm":{"roles":["nurse"]}}'))
    assert.equal(403, res.status)
    assert.equal("insufficient_scope", code(res))
    assert.truthy(res.headers["www-authenticate"]:find('error="insufficient_scope"', 1, true))
    assert.truthy(res.headers["www-authenticate"]:find('scope="a b"', 1, true))
    assert.equal(403, ask(g, token(g, '{"scope":"a b","realm":{"roles":["clerk"]}}')).status)
    assert.equal(403, ask(g, token(g, '{"scope":"a b"}')).status)
  end)

  it("bind issuer and audience, and may answer in another way", function()
    local g = start(([[ { "jwt", secret = %q, algorithms = { "HS256" }, issuer = "auth", audience = { "x", "api" },
      required = { "exp", "role" },
      deny = function(req, status, why) return gw.response(status, { success = false, why = why }) end } ]])
      :format(SECRET))
    assert.equal(200, ask(g, token(g, '{"iss":"auth","aud":"api","role":"a"}')).status)
    local res = ask(g, token(g, '{"iss":"auth2","aud":"api","role":"a"}'))
    assert.equal('{"success":false,"why":"issuer_invalid"}', (res.body:gsub('{"why":"(.-)","success":false}',
                 '{"success":false,"why":"%1"}')))
    assert.truthy(res.headers["www-authenticate"])
    assert.truthy(ask(g, token(g, '{"iss":"auth","aud":["y"],"role":"a"}')).body:find("audience_invalid", 1, true))
    assert.truthy(ask(g, token(g, '{"iss":"auth","aud":"api"}')).body:find("claim_missing", 1, true))
  end)

  it("that are wrong stop the load, with a reason", function()
    for use, message in pairs {
      ['{ "jwt", secret = "x" }'] = 'option "algorithms" is missing',
      ['{ "jwt", secret = "x", algorithms = {} }'] = "must be at least 1",
      ['{ "jwt", secret = "x", algorithms = { "none" } }'] = 'unknown algorithm "none"',
      ['{ "jwt", algorithms = { "HS256" } }'] = "is needed",
      ['{ "jwt", algorithms = { "HS256" }, secret = "" }'] = "the secret is empty",
      ['{ "jwt", algorithms = { "RS256" }, public_key = "x" }'] = "no PEM",
      ['{ "jwt", algorithms = { "HS256" }, secret = "-----BEGIN PUBLIC KEY-----" }'] = "give that as a key",
      ['{ "jwt", algorithms = { "RS256" }, jwks = "{}" }'] = "no JSON object with a list of keys",
      ['{ "jwt", algorithms = { "RS256" }, jwks_url = "ftp://a/" }'] = "must begin with https://",
      ['{ "jwt", algorithms = { "RS256" }, jwks_url = "https://a/", jwks_tls = { ca = "x" } }'] = "cannot read the file x",
      ['{ "jwt", algorithms = { "HS256" }, secret = "x", sources = { "body" } }'] = "unknown source",
      ['{ "jwt", algorithms = { "HS256" }, secret = "x", headers = { Host = "sub" } }'] = "can not set Host",
      ['{ "jwt", algorithms = { "HS256" }, secret = "x", headers = { ["a b"] = "sub" } }'] = "no name of a header",
    } do
      local text, exit = policy.check { use = use }
      assert.equal(1, exit, use .. text)
      assert.truthy(text:find(message, 1, true), text)
      assert.truthy(text:find("gateway.lua:", 1, true), text)
    end
  end)

  it("with a short secret are warned about", function()
    local text, exit = policy.check { use = '{ "jwt", algorithms = { "HS256" }, secret = "short" }' }
    assert.equal(0, exit)
    assert.truthy(text:find("has only 5 bytes", 1, true), text)
  end)
end)

describe("keys of a URL", function()
  teardown(policy.stop_all)

  local function b64(text) -- base64url
    local p = io.popen(("printf %%s '%s' | base64 -w0 | tr '+/' '-_' | tr -d '='"):format(text))
    local out = p:read("*a")
    p:close()
    return out
  end

  local function set_of(kid, secret)
    return ('{"keys":[{"kty":"oct","kid":"%s","k":"%s"}]}'):format(kid, b64(secret))
  end

  local function serve(issuer, body, status)
    local s = assert(issuer:accept(20), "the key set is fetched")
    assert.truthy(upstream.head(s):find("^GET /keys "))
    s:send(("HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"):format(status or "200 OK", #body, body))
    s:close()
  end

  local function use(issuer)
    return ([[ { "jwt", algorithms = { "HS256" }, jwks_url = "%s/keys" } ]]):format(issuer:url())
  end

  it("are fetched in the background, and outlive reloads and the issuer", function()
    policy.real_only "an issuer at a port"
    local issuer = upstream.listen()
    local g = start(use(issuer))
    serve(issuer, set_of("k1", SECRET))
    local t = token(g, '{"sub":"7"}', "?kid=k1")
    gateway.eventually(function() return ask(g, t).status == 200 end, "the key is known")
    assert.equal(401, ask(g, "eyJhbGciOiJIUzI1NiIsImtpZCI6Im5vIn0.e30.AAAA").status) -- kid "no"
    issuer:close()
    local _, exit = g:command("reload", "--wait")
    assert.equal(0, exit)
    assert.equal(200, ask(g, t).status)
  end)

  it("that can not be had are the gateway's fault, not the token's", function()
    policy.real_only "an issuer at a port"
    local issuer = upstream.listen()
    local g = start(use(issuer))
    serve(issuer, "oops", "500 Oops")
    local res = ask(g, token(g, '{"sub":"7"}', "?kid=k1"))
    assert.equal(503, res.status)
    assert.equal("keys_unavailable", code(res))
    assert.equal("10", res.headers["retry-after"])
    g:wait_for_log("key set can not be fetched")
    issuer:close()
  end)
end)

describe("gw.jwt", function()
  teardown(policy.stop_all)

  it("verifies, and gives each caller claims of its own", function()
    local g = start("", { top = top .. [[
local keys = gw.jwt.keys(secret)
local verify = gw.jwt.verifier(keys, { algs = { "HS256" } })
local token
gw.route("GET /mine", { respond = function()
  token = token or gw.jwt.sign({ sub = "7", list = { "a" } }, keys, { alg = "HS256", expires_in = 60 })
  local claims = assert(verify(token))
  assert(claims.sub == "7" and claims.list[1] == "a" and #claims.list == 1 and claims.evil == nil)
  claims.sub, claims.evil, claims.list[1], claims.list[2] = "root", true, "b", "c"
  local again = gw.jwt.verify(token, keys, { algs = "HS256" })
  local nothing, code, message = gw.jwt.verify("x", keys, { algs = "HS256" })
  return gw.response(200, again.sub .. " " .. tostring(nothing) .. " " .. code .. " " .. message)
end })
]] })
    for _ = 1, 3 do
      local res = g:ask("GET /mine")
      assert.equal("7 nil token_malformed The token is malformed", res.body)
    end
  end)

  it("makes key sets of tables, and files", function()
    local files = policy.files { use = ([[ { "jwt", algorithms = { "HS256" }, jwks = gw.file "keys/set.jwks" } ]]),
                                 top = top, up = echo }
    files["keys/set.jwks"] = '{"keys":[{"kty":"oct","k":"YSBzZWNyZXQgb2YgdGhpcnR5LXR3byBieXRlcyAxMjM0"}]}'
    policy.real_only "files of the site"
    local g = gateway.start(files, { args = { "--workers", "1" } })
    assert.equal(200, ask(g, token(g, '{"sub":"7"}')).status)
    files["keys/set.jwks"] = nil
    local text, exit = policy.check { use = '{ "jwt", algorithms = { "HS256" }, jwks = gw.file "keys/set.jwks" }' }
    assert.equal(1, exit)
    assert.truthy(text:find("there is no file keys/set.jwks in the site", 1, true), text)
  end)
end)
