local fake = require "spec.support.core"

describe("a middleware in a list", function()
  local middleware, loader

  local function site(files)
    local _
    _, loader = fake.site(files)
    middleware = require "moonlatch.middleware"
  end
  local function fails(message, entry)
    local ok, wrong = pcall(middleware.resolve, entry, loader, "gateway.lua:7")
    assert.is_false(ok)
    assert.equal(message, wrong)
  end

  local good = [[
    return { name = "good", config = { max = { "integer", default = 5 } },
             new = function(conf) return function(req, next) return conf.max end end }]]

  it("may be a function, with or without next", function()
    site {}
    local one = middleware.resolve(function(_) end, loader, "gateway.lua:7")
    local two = middleware.resolve(function(_, _) end, loader, "gateway.lua:7")
    local any = middleware.resolve(function(...) return ... end, loader, "gateway.lua:7")
    assert.is_false(one.takes_next)
    assert.is_true(two.takes_next)
    assert.is_true(any.takes_next)
    assert.truthy(one.label:find("middleware_spec.lua:%d+"))
  end)

  it("may be a name, which is a file of the site, with checked options", function()
    site { ["middleware/good.lua"] = good }
    local step = middleware.resolve("good", loader, "gateway.lua:7")
    assert.equal(5, step.fn())
    assert.equal("good", step.label)
    assert.equal("gateway.lua:7", step.line)
    assert.equal(6, middleware.resolve({ "good", max = 6 }, loader, "gateway.lua:7").fn())
  end)

  it("may be one that is shipped; the site's own file of that name wins", function()
    site {}
    assert.is_function(middleware.resolve("request_id", loader, "gateway.lua:7").fn)
    site { ["middleware/request_id.lua"] = "return { new = function() return function() return 'mine' end end }" }
    assert.equal("mine", middleware.resolve("request_id", loader, "gateway.lua:7").fn())
  end)

  it("must exist", function()
    site {}
    fails('gateway.lua:7: unknown middleware "corz": neither middleware/corz.lua in the site nor shipped', "corz")
    assert.is_false((pcall(middleware.resolve, "../moonlatch/env", loader, "gateway.lua:7")))
  end)

  it("gets no unknown and no wrong options", function()
    site { ["middleware/good.lua"] = good }
    fails('gateway.lua:7: middleware "good": unknown option "maxx" (did you mean "max"?)', { "good", maxx = 1 })
    fails('gateway.lua:7: middleware "good": option "max" must be an integer, not string', { "good", max = "1" })
    fails('gateway.lua:7: middleware "good": unknown option "2"', { "good", "x" })
  end)

  it("must be a module with new, under its own name", function()
    site { ["middleware/a.lua"] = "return 1", ["middleware/b.lua"] = "return {}",
           ["middleware/c.lua"] = "return { name = 'd', new = function() end }",
           ["middleware/e.lua"] = "return { new = function() end }" }
    fails('gateway.lua:7: middleware "a": middleware/a.lua must return a table with a function new(conf)', "a")
    fails('gateway.lua:7: middleware "b": middleware/b.lua must return a table with a function new(conf)', "b")
    fails('gateway.lua:7: middleware "c": middleware/c.lua says that its name is "d"', "c")
    fails('gateway.lua:7: middleware "e": new(conf) in middleware/e.lua returned no function', "e")
  end)

  it("must have a schema that makes sense", function()
    site { ["middleware/a.lua"] = "return { config = { max = 'integer' }, new = function() end }" }
    fails('gateway.lua:7: middleware "a": in middleware/a.lua, config.max must be a rule like '
          .. '{ "string", default = "x" }', "a")
  end)

  it("that fails in new is blamed with its own line and the line of the list", function()
    site { ["middleware/a.lua"] = "return { new = function()\n  error('no key')\nend }" }
    fails('gateway.lua:7: middleware "a": middleware/a.lua:2: no key', "a")
  end)

  it("that is shipped and does not like its options is blamed on the line of the list", function()
    site {}
    fails('gateway.lua:7: middleware "request_id": "10.0.0.0/8x" is no address or network',
          { "request_id", accept_from = { "10.0.0.0/8x" } })
    fails('gateway.lua:7: middleware "request_id": option "header" is no name of a header',
          { "request_id", header = "X Y" })
  end)

  it("is nothing else", function()
    site {}
    fails('gateway.lua:7: a middleware is "name", { "name", option = value } or a function, not number', 3)
    fails('gateway.lua:7: a middleware is "name", { "name", option = value } or a function, not table', {})
  end)
end)

describe("request_id", function()
  local function call(conf, given, core_id)
    fake.site {}
    local options = require "moonlatch.options"
    local module = require "middleware.request_id"
    local headers, answered = {}, {}
    local req = { id = core_id or "made", peer_ip = "10.1.1.1", header = function() return given end,
                  header_count = function() return given and 1 or 0 end,
                  set_header = function(_, n, v) headers[n] = v end }
    local fn = module.new(assert(options.check(module.config, conf)))
    fn(req, function() return { set_header = function(_, n, v) answered[n] = v end } end)
    return req.id, headers, answered
  end

  it("tells upstream and client the id that was made", function()
    local id, headers, answered = call({}, "evil")
    assert.equal("made", id)
    assert.same({ ["X-Request-ID"] = "made" }, headers)
    assert.same({ ["X-Request-ID"] = "made" }, answered)
  end)

  it("takes the id of a proxy that is trusted, when it is well formed", function()
    assert.equal("abc-1", (call({ accept_from = { "10.0.0.0/8" } }, "abc-1")))
    for _, bad in ipairs { "", "a b", 'a"', ("x"):rep(129), "a\nb" } do
      assert.equal("made", (call({ accept_from = { "10.0.0.0/8" } }, bad)))
    end
    assert.equal("made", (call({ accept_from = { "10.0.0.0/8" } }, nil)))
  end)
end)
