--- What luassert says of answers.
local t = require "moonlatch.test"

local site = { ["gateway.lua"] = [[
local gw = require "moonlatch"
gw.listen { port = 8080 }
gw.route("GET /json", { respond = gw.response(200, { a = { b = 1 }, list = { { id = "x" }, { id = "y" } }, no = false },
                                              { ["X-A"] = "1" }) })
gw.route("GET /text", { respond = gw.response(201, "some text") })
]] }

-- The message of a failure.
local function failure(fn)
  local ok, problem = pcall(fn)
  assert.is_false(ok)
  return tostring(problem)
end

describe("assert.response", function()
  local json, text
  before_each(function()
    local app = t.load(site)
    json, text = app:get "/json", app:get "/text"
  end)

  it("knows status, headers and bodies, and their opposites", function()
    assert.response(json).has.status(200)
    assert.response(json).has_not.status(404)
    assert.response(json).has.no.status(404)
    assert.response(json).has.header("x-a")
    assert.response(json).has.header("X-A", "1")
    assert.response(json).has.header("X-A", 1)
    assert.response(json).has_not.header("X-A", "2")
    assert.response(json).has_no.header("X-B")
    assert.response(text).has.body("some text")
    assert.response(text).has_not.body("other text")
  end)

  it("compares JSON as a whole, and at a path", function()
    local whole = { a = { b = 1 }, list = { { id = "x" }, { id = "y" } }, no = false }
    assert.response(json).has.json()
    assert.response(json).has.json(whole)
    assert.response(json).has_not.json { a = 1 }
    assert.response(json).has.json("a.b")
    assert.response(json).has.json("a.b", 1)
    assert.response(json).has.json("a", { b = 1 })
    assert.response(json).has.json("list[2].id", "y")
    assert.response(json).has.json("no", false)
    assert.response(json).has_not.json("a.c")
    assert.response(json).has_not.json("a.b", 2)
    assert.response(json).has_not.json("a.b.c.d", 2)
    assert.response(json).has_not.json("list[3].id")
    assert.response(text).has_not.json()
    assert.response(text).has_not.json("a")
    assert.response(text).has_not.json { a = 1 }
  end)

  it("says what was expected, what was found, and what the answer was", function()
    local said = failure(function() assert.response(json).has.status(404) end)
    assert.truthy(said:find("Expected status 404\nFound: status 200\nThe answer: 200, decided by", 1, true), said)
    said = failure(function() assert.response(json).has_not.status(200) end)
    assert.truthy(said:find("Not expected: status 200", 1, true), said)
    said = failure(function() assert.response(json).has.header("X-A", "2") end)
    assert.truthy(said:find("Expected header X-A: 2\nFound: X-A: 1\n", 1, true), said)
    said = failure(function() assert.response(json).has.header("X-B") end)
    assert.truthy(said:find("Found: no such header among content-length, content-type,", 1, true), said)
    said = failure(function() assert.response(json).has.json("list[1].id", "z") end)
    assert.truthy(said:find('Expected JSON with "z" at list[1].id\nFound: "x"\n', 1, true), said)
    said = failure(function() assert.response(json).has.json("a.z", 1) end)
    assert.truthy(said:find("Found: nothing there\n", 1, true), said)
    said = failure(function() assert.response(text).has.json { a = 1 } end)
    assert.truthy(said:find('Expected JSON {"a":1}\nFound: a body that is no JSON\n', 1, true), said)
    said = failure(function() assert.response(text).has.body("x") end)
    assert.truthy(said:find("Expected the body x\nFound: some text\n", 1, true), said)
  end)

  it("wants an answer, and arguments that make sense", function()
    assert.truthy(failure(function() assert.response(nil, "closed").has.status(200) end):find("not nil (closed)", 1, true))
    assert.truthy(failure(function() assert.response({}).has.status(200) end):find("an answer is expected", 1, true))
    assert.truthy(failure(function() assert.response(json).has.status("200") end):find("a number is expected", 1, true))
    assert.truthy(failure(function() assert.response(json).has.header(1) end):find("the name is a string", 1, true))
  end)
end)
