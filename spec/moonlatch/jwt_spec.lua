-- Where keys come from, on a small core: time, network and shared memory are the test's.
local fake = require "spec.support.core"

describe("gw.jwt.keys", function()
  local core, jwt, clock, answers, asked, shared, timers, warnings, loaded

  -- A set of keys is a list of the texts that it was made of; a token is good when it is one of them.
  local function install()
    function core.jwt_keys(sources)
      local keys = newproxy(true)
      local texts = {}
      for i, source in ipairs(sources) do
        texts[i] = source.secret or source.pem or source.jwk or source.jwks
        if texts[i]:find("bad") then error("key " .. i .. ": bad", 0) end
      end
      getmetatable(keys).__index = { texts = texts }
      return keys
    end
    function core.jwt_keys_replace(keys, other) getmetatable(keys).__index = { texts = other.texts } end
    function core.jwt_keys_info(keys) return #keys.texts, keys.texts[1] and #keys.texts[1] end
    function core.jwt_verifier(keys, rules, no_cache)
      return function(token)
        if #keys.texts == 0 then return nil, "keys_unavailable", "" end
        for _, text in ipairs(keys.texts) do
          if text == token then return { token = token, rules = rules, no_cache = no_cache } end
        end
        return nil, "key_unknown", ""
      end
    end
    function core.mono() return clock end
    function core.sleep(s) clock = clock + s end
    function core.timer(s, fn, opts) timers[#timers + 1] = { every = s, fn = fn, opts = opts } end
    function core.shared()
      return { get = function(_, k) return shared[k] end, set = function(_, k, v) shared[k] = v return true end }
    end
    function core.http_request(opts)
      asked[#asked + 1] = opts
      local answer = table.remove(answers, 1)
      if type(answer) == "function" then answer = answer() end
      if not answer then return nil, "refused" end
      return type(answer) == "table" and answer or { status = 200, body = answer }
    end
    function core.jwt_sign(claims, _, alg, kid) return { claims = claims, alg = alg, kid = kid } end
  end

  before_each(function()
    core = fake.new()
    clock, answers, asked, shared, timers, warnings = 1000, {}, {}, {}, {}, {}
    install()
    loaded = false
    jwt = require("moonlatch.jwt").new(function(text) warnings[#warnings + 1] = text end,
                                       function() return loaded end)
  end)

  local function fails(message, spec)
    local ok, wrong = pcall(jwt.keys, spec)
    assert.is_false(ok)
    assert.truthy(wrong:find(message, 1, true), wrong)
  end

  it("are one source or a list of them", function()
    assert.same({ ("s"):rep(32) }, jwt.keys({ secret = ("s"):rep(32) }).texts)
    assert.same({ "p", "j" }, jwt.keys({ { pem = "p", kid = "1" }, { jwk = "j" } }).texts)
    assert.equal(1, #warnings) -- "p" is short
  end)

  it("refuse what they can not understand", function()
    fails("a table is expected", "secret")
    fails("needs one of secret", {})
    fails("needs one of secret", { { secret = "x" }, {} })
    fails("both secret and pem", { secret = "x", pem = "y" })
    fails('the field "id", which is of no use here', { secret = "x", id = 1 })
    fails('the field "refresh"', { secret = "x", refresh = 60 })
    fails('the field "kid"', { url = "http://a/", kid = "1" })
    fails('the field "kid"', { jwks = "{}", kid = "1" })
    fails("secret must be a string", { secret = 5 })
    fails("must begin with https://", { url = "file:///etc/passwd" })
    fails("another url already", { { url = "http://a/" }, { url = "http://b/" } })
    fails("refresh must be from 10", { url = "http://a/", refresh = 1 })
    fails("timeout must be from 1", { url = "http://a/", timeout = 0 })
  end)

  it("of a URL are for the time of the load", function()
    loaded = true
    fails("are made while the site is loaded", { url = "http://a/" })
    assert.same({ "p" }, jwt.keys({ pem = "p" }).texts)
    assert.equal(0, #timers)
  end)

  it("of a URL are asked for by a timer, and make no request at load", function()
    local keys = jwt.keys { url = "http://a/", refresh = 60 }
    assert.equal(0, #asked)
    assert.is_true(timers[1].opts.immediately)
    answers = { "k1", "k2" }
    timers[1].fn()
    assert.same({ "k1" }, keys.texts)
    assert.equal("k1", shared["http://a/"])
    clock = clock + 59
    timers[1].fn()
    assert.equal(1, #asked)
    clock = clock + 1
    timers[1].fn()
    assert.same({ "k2" }, keys.texts)
  end)

  it("of a URL stay the last good ones, and are asked for again soon", function()
    local keys = jwt.keys { { url = "http://a/", refresh = 60 }, { secret = "mine" } }
    assert.same({ "mine" }, keys.texts)
    answers = { "k1", false, { status = 500, body = "bad" }, "bad", "k1", "k2" }
    timers[1].fn()
    assert.same({ "k1", "mine" }, keys.texts)
    clock = clock + 60
    for _ = 1, 3 do
      timers[1].fn()
      assert.same({ "k1", "mine" }, keys.texts)
      assert.equal("k1", shared["http://a/"])
      clock = clock + 10
    end
    assert.equal(3, #core.logged)
    timers[1].fn() -- the same text again
    clock = clock + 60
    timers[1].fn()
    assert.same({ "k2", "mine" }, keys.texts)
  end)

  it("are asked for when a token names an unknown one, at most every 10 seconds", function()
    local keys = jwt.keys { url = "http://a/" }
    local verify = jwt.verifier(keys, { algs = "HS256" })
    answers = { "k1" }
    assert.equal("k1", verify("k1").token) -- the first request may come before the timer
    for _ = 1, 5 do assert.equal("key_unknown", (select(2, verify("k2")))) end
    assert.equal(1, #asked)
    clock = clock + 10
    answers = { "k2", "k3" }
    assert.equal("k2", verify("k2").token)
    assert.equal("key_unknown", (select(2, verify("k3"))))
    assert.equal(2, #asked)
    clock = clock + 10
    assert.equal("k3", jwt.verify("k3", keys, { algs = "HS256" }).token)
    assert.is_true(jwt.verify("k3", keys, {}).no_cache)
  end)

  it("come from what another generation fetched while the issuer is down", function()
    shared["http://a/"] = "k1"
    local keys = jwt.keys { url = "http://a/" }
    local verify = jwt.verifier(keys, { algs = "HS256" })
    assert.equal("k1", verify("k1").token)
    assert.equal(0, #asked)
    shared["http://a/"] = "bad"
    local others = jwt.keys { url = "http://a/" }
    assert.equal("keys_unavailable", (select(2, jwt.verifier(others, {})("k1"))))
  end)

  it("are fetched once for all that wait for them", function()
    local keys = jwt.keys { url = "http://a/" }
    local verify = jwt.verifier(keys, { algs = "HS256" })
    local inner
    answers = { function() -- another request comes while this one is under way, and waits until it gives up
      inner = { verify("k1") }
      return "k1"
    end }
    assert.equal("k1", verify("k1").token)
    assert.equal(1, #asked)
    assert.equal("keys_unavailable", inner[2])
    assert.is_true(clock > 1005 and clock < 1007)
  end)

  it("sign with times of their own", function()
    function core.now() return 1700000000.7 end
    local claims = { sub = "7" }
    assert.same({ claims = { sub = "7", iat = 1700000000 }, alg = "HS256" },
                jwt.sign(claims, "keys", { alg = "HS256" }))
    assert.same({ claims = { sub = "7", iat = 1700000000, exp = 1700000060 }, alg = "HS256", kid = "1" },
                jwt.sign(claims, "keys", { alg = "HS256", kid = "1", expires_in = 60 }))
    assert.same({ sub = "7" }, claims)
    assert.equal(5, jwt.sign({ iat = 5 }, "keys", { alg = "HS256" }).claims.iat)
    for _, bad in ipairs { {}, { alg = "HS256", expires_in = 0 }, { alg = "HS256", expires_in = "60" } } do
      assert.is_false(pcall(jwt.sign, claims, "keys", bad))
    end
  end)
end)
