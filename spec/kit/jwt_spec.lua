--- app:jwt and app:key_pair: tokens that the product accepts, and those that it must not.
package.path = "./lua/?.lua;" .. package.path
local t = require "moonlatch.test"

local SECRET = "a secret of thirty-two bytes 1234"

local function site(key)
  return { ["gateway.lua"] = ([[
local gw = require "moonlatch"
gw.listen { port = 8080 }
gw.route("GET /me", { { "jwt", %s }, respond = function(req) return gw.response(200, req.user) end })
]]):format(key) }
end

local by_secret = site 'secret = gw.env "JWT_SECRET", algorithms = { "HS256" }'

local function bearer(token) return { headers = { Authorization = "Bearer " .. token } } end

describe("app:jwt", function()
  it("signs with the site's JWT_SECRET, for an hour from the app's now", function()
    local app = t.load(by_secret, { env = { JWT_SECRET = SECRET } })
    local res = app:get("/me", bearer(app:jwt { sub = "7", roles = { "doctor" } }))
    assert.response(res).has.status(200)
    assert.equal("7", res.json.sub)
    assert.same({ "doctor" }, res.json.roles)
    assert.equal(3600, res.json.exp - res.json.iat)
    assert.near(app:now(), res.json.iat, 2)
    local function status(given) return app:get("/me", bearer(app:jwt(given))).status end
    assert.equal(401, status { exp = math.floor(app:now()) - 1000 })
    assert.equal(401, status { nbf = math.floor(app:now()) + 1000 })
    assert.equal(401, status { key = "another secret of thirty-two bytes" })
    assert.equal(401, status { alg = "HS512" })
    assert.equal(401, status { alg = "none" })
    assert.is_nil(app:get("/me", bearer(app:jwt { exp = false })).json.exp)
  end)

  it("says that there is no key", function()
    local app = t.load { ["gateway.lua"] = "" }
    assert.error_matches(function() app:jwt {} end, "no JWT_SECRET")
    assert.error_matches(function() app:jwt { key = 5 } end, "key is what app:key_pair gave")
  end)

  it("ends by the app's clock", function()
    local app = t.load(by_secret, { env = { JWT_SECRET = SECRET } })
    local opts = bearer(app:jwt { sub = "7", exp = math.floor(app:now()) + 20 })
    assert.equal(200, app:get("/me", opts).status)
    app:advance(200)
    assert.equal(401, app:get("/me", opts).status)
  end)
end)

describe("app:key_pair", function()
  for _, alg in ipairs { "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
                         "ES384", "ES512", "EdDSA" } do
    it("makes keys for " .. alg, function()
      local maker = t.load { ["gateway.lua"] = "" }
      local key, other = maker:key_pair(alg), maker:key_pair(alg)
      assert.not_equal(key.kid, other.kid)
      local files = site('jwks = gw.file "keys.json", algorithms = { "' .. alg .. '" }')
      files["keys.json"] = key.jwks
      local app = t.load(files)
      local function status(given) return app:get("/me", bearer(app:jwt(given))).status end
      assert.equal(200, status { sub = "7", key = key })
      assert.equal(200, status { key = key.private_jwk, alg = alg, kid = key.kid })
      assert.equal(401, status { key = other, kid = key.kid })
      assert.equal(401, status { key = other })
      if key.public_pem then -- the public key taken for a secret
        assert.equal(401, status { key = key.public_pem, alg = "HS256", kid = key.kid })
        assert.matches("BEGIN PUBLIC KEY", key.public_pem)
        assert.is_nil(key.public_jwk.d)
      end
    end)
  end
end)
