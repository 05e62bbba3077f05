local fake = require "spec.support.core"

describe("a handler", function()
  local core, handler
  before_each(function()
    core = fake.new()
    handler = require "moonlatch.handler"
  end)

  local request = { ip = "10.0.0.1", path = "/a", method = "GET", cookies = { sid = "c" },
                    params = { id = "7" }, args = { q = { "x", "y" } },
                    header = function(_, name) return name == "X-Key" and "h" or nil end }

  it("forwards to the upstream, without options when there are none", function()
    local res = handler.forward({ index = 3 }, {})(request)
    assert.equal(200, res.status)
    assert.equal(3, core.forwarded.index)
    assert.equal(request, core.forwarded.req)
    assert.is_nil(core.forwarded.opts)
  end)

  it("forwards with the route's timeout", function()
    handler.forward({ index = 0 }, { timeout = 2 })(request)
    assert.same({ timeout = 2 }, core.forwarded.opts)
  end)

  for hash, key in pairs { ip = "10.0.0.1", path = "/a", ["header:X-Key"] = "h", ["cookie:sid"] = "c",
                           ["param:id"] = "7", ["query:q"] = "x" } do
    it("hashes by " .. hash, function()
      assert.is_nil(handler.hash_complaint(hash))
      handler.forward({ index = 0, hash = hash }, {})(request)
      assert.equal(key, core.forwarded.opts.hash_key)
    end)
  end

  it("hashes by a function, whose number counts as text and whose nil as none", function()
    handler.forward({ index = 0, hash = function() return 12 end }, {})(request)
    assert.equal("12", core.forwarded.opts.hash_key)
    handler.forward({ index = 0, hash = function() end }, {})(request)
    assert.is_nil(core.forwarded.opts.hash_key)
  end)

  it("refuses other hashes", function()
    for _, bad in ipairs { "", "IP", "header:", "body:x", "header" } do
      assert.truthy(handler.hash_complaint(bad), bad)
    end
  end)

  it("answers by a function", function()
    local res = { status = 204 }
    assert.equal(res, handler.respond(function(r) assert.equal(request, r) return res end)(request))
    assert.equal(res, core.res)
  end)

  it("says which function returned no response", function()
    local fn = assert(loadstring("\nreturn function() end", "@routes/x.lua"))()
    local ok, wrong = pcall(handler.respond(fn), request)
    assert.is_false(ok)
    assert.equal("the handler at routes/x.lua:2 returned no response", wrong)
  end)

  it("answers with a response that was made once", function()
    local fixed = newproxy()
    assert.equal(fixed, handler.respond(fixed)(request))
    assert.equal(fixed, core.res)
  end)

  it("refuses anything else at load time", function()
    local ok, wrong = pcall(handler.respond, "text", "gateway.lua:3")
    assert.is_false(ok)
    assert.equal("gateway.lua:3: respond must be a function or a response, not a string", wrong)
  end)

  it("answers 404 when no route matches", function()
    local res = handler.unmatched(request)
    assert.equal(404, res.status)
    assert.equal("not_found", res.body.error)
    assert.is_nil(res.headers.allow)
  end)

  it("answers 405 with Allow when only the method is wrong", function()
    core.outcome = { "method", "GET, HEAD, OPTIONS" }
    local res = handler.unmatched(request)
    assert.equal(405, res.status)
    assert.equal("GET, HEAD, OPTIONS", res.headers.allow)
  end)

  it("answers OPTIONS with 204 and Allow", function()
    core.outcome = { "options", "GET, OPTIONS" }
    local res = handler.unmatched(request)
    assert.equal(204, res.status)
    assert.equal("GET, OPTIONS", res.headers.allow)
  end)
end)
