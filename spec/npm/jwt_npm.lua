-- Tokens of jose and jsonwebtoken at our gateway, and tokens of ours at them.  Run by tools/npm.sh.
local cjson = require "cjson"
local gateway = require "spec.support.gateway"

local function node(command, dir, input)
  local p = io.popen(("node spec/npm/tokens.mjs %s %s %s"):format(command, dir, input and "< " .. input or ""))
  local text = p:read("*a")
  assert(p:close(), "node failed")
  return text
end

local site = [[
local gw = require "moonlatch"
gw.listen { host = "127.0.0.1", port = PORT }
local all = { "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384",
              "ES512", "EdDSA" }
local secret = gw.file "keys/secret.txt"
local function who(req) return gw.response(200, req.user.sub) end
gw.route("GET /pem", { { "jwt", algorithms = all, keys = {
  { secret = secret }, { pem = gw.file "keys/rsa.pub.pem" }, { pem = gw.file "keys/p256.pub.pem" },
  { pem = gw.file "keys/p384.pub.pem" }, { pem = gw.file "keys/p521.pub.pem" },
  { pem = gw.file "keys/ed.pub.pem" } } }, respond = who })
gw.route("GET /jwks", { { "jwt", algorithms = all, jwks = gw.file "keys/jwks.json", secret = secret },
                        respond = who })
local signers = gw.jwt.keys {
  { secret = secret }, { pem = gw.file "keys/rsa.pem" }, { pem = gw.file "keys/p256.pem" },
  { pem = gw.file "keys/p384.pem" }, { pem = gw.file "keys/p521.pem" }, { pem = gw.file "keys/ed.pem" } }
gw.route("GET /sign/:alg", { respond = function(req)
  return gw.response(200, assert(gw.jwt.sign({ sub = "alice" }, signers, { alg = req.params.alg, expires_in = 60 })))
end })
]]

local algs = { "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384",
               "ES512", "EdDSA" }

describe("tokens of and for npm's libraries", function()
  local g, dir
  setup(function()
    dir = gateway.folder()
    os.execute("mkdir -p " .. dir .. "/site/keys")
    node("keys", dir .. "/site/keys")
    g = gateway.start({ ["gateway.lua"] = site }, { dir = dir .. "/site", args = { "--workers", "1" } })
  end)
  teardown(gateway.stop_all)

  it("theirs are good or bad for us as they are meant", function()
    local count = 0
    for line in node("make", dir .. "/site/keys"):gmatch("[^\n]+") do
      local case = cjson.decode(line)
      for _, path in ipairs { "/pem", "/jwks" } do
        local res = g:ask("GET " .. path, { headers = "Authorization: Bearer " .. case.token .. "\r\n" })
        assert.equal(case.good and 200 or 401, res.status,
                     ("%s of %s at %s: %s"):format(case.name, case.by, path, res.body))
        if case.good then assert.equal("alice", res.body) end
      end
      count = count + 1
    end
    assert.is_true(count > 100, count)
  end)

  it("ours are good for them", function()
    local lines = {}
    for i, alg in ipairs(algs) do lines[i] = alg .. " " .. g:ask("GET /sign/" .. alg).body .. "\n" end
    gateway.write(dir .. "/tokens", table.concat(lines))
    local verdicts = node("verify", dir .. "/site/keys", dir .. "/tokens")
    for _, alg in ipairs(algs) do -- jsonwebtoken knows no EdDSA
      local expected = ("%s jose=true jsonwebtoken=%s\n"):format(alg, tostring(alg ~= "EdDSA"))
      assert.truthy(verdicts:find(expected, 1, true), verdicts)
    end
  end)
end)
