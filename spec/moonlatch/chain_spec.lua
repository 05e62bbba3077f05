local fake = require "spec.support.core"

describe("a chain", function()
  local core, chain, calls, req
  before_each(function()
    core = fake.new()
    chain = require "moonlatch.chain"
    calls = {}
    req = { id = "the request" }
    core.req = req
  end)

  local function note(word) calls[#calls + 1] = word end
  local function step(fn, takes_next) return { fn = fn, takes_next = takes_next } end
  local function handler(r)
    assert.equal(req, r)
    note "handler"
    return core.adopt { status = 200 }
  end

  it("without middlewares is the handler", function()
    assert.equal(handler, chain.link({}, handler))
  end)

  it("runs in the order of the list, and back", function()
    local function around(name)
      return step(function(r, next)
        assert.equal(req, r)
        note(name .. " in")
        local res = next()
        note(name .. " out")
        return res
      end, true)
    end
    local res = chain.link({ around "a", around "b" }, handler)(req)
    assert.equal(200, res.status)
    assert.same({ "a in", "b in", "handler", "b out", "a out" }, calls)
  end)

  it("goes on when a middleware without next returns nothing", function()
    local res = chain.link({ step(function() note "m" end) }, handler)(req)
    assert.equal(200, res.status)
    assert.same({ "m", "handler" }, calls)
  end)

  it("goes on when a middleware with next did not call it and returns nothing", function()
    local res = chain.link({ step(function(_, _) note "m" end, true) }, handler)(req)
    assert.equal(200, res.status)
    assert.same({ "m", "handler" }, calls)
  end)

  it("keeps the response of next() when a middleware returns nothing afterwards", function()
    local res = chain.link({ step(function(_, next) next() end, true) }, handler)(req)
    assert.equal(200, res.status)
    assert.same({ "handler" }, calls)
  end)

  it("stops at a middleware that returns a response", function()
    local denied = { status = 403 }
    for _, takes_next in ipairs { true, false } do
      core.res = nil
      local res = chain.link({ step(function() return denied end, takes_next) }, handler)(req)
      assert.equal(denied, res)
      assert.equal(denied, core.res) -- and the core knows it
    end
    assert.same({}, calls)
  end)

  it("lets a middleware replace the response of next()", function()
    local other = { status = 502 }
    local res = chain.link({ step(function(_, next) next() return other end, true) }, handler)(req)
    assert.equal(other, res)
    assert.equal(other, core.res)
  end)

  it("runs the inside again at a second next(), which sees no response of the first", function()
    local seen = {}
    local function inner(r)
      seen[#seen + 1] = core.responded() or "none"
      return handler(r)
    end
    local res = chain.link({ step(function(_, next) next() return next() end, true) }, inner)(req)
    assert.equal(200, res.status)
    assert.same({ "none", "none" }, seen)
    assert.same({ "handler", "handler" }, calls)
  end)

  it("gives next() the request of the core, whoever calls it", function()
    local kept
    chain.link({ step(function(_, next) kept = next return { status = 1 } end, true) }, handler)(req)
    req = { id = "another request" }
    core.req = req
    kept()
    assert.same({ "handler" }, calls)
  end)

  it("makes no closure and no table per request", function()
    local link = chain.link({ step(function(_, next) return next() end, true), step(function() end) },
                            function() return core.res end)
    core.adopt, core.res = nil, { status = 200 }
    for _ = 1, 100 do link(req) end
    collectgarbage() collectgarbage("stop")
    local before = collectgarbage("count")
    for _ = 1, 1000 do link(req) end
    local after = collectgarbage("count")
    collectgarbage("restart")
    assert.is_true(after - before < 8, (after - before) .. " KiB") -- traces may be made
  end)
end)
