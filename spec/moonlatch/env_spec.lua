local fake = require "spec.support.core"

describe("gw.env", function()
  local env
  before_each(function()
    fake.new({}, { HOST = "a", EMPTY = "", N = "12.5", BAD = "x1", YES = "On", NO = "0",
                   LIST = " a, b ,,c ", NAN = "nan" })
    env = require "moonlatch.env"
  end)

  local function fails(message, fn, ...)
    local ok, wrong = pcall(fn, ...)
    assert.is_false(ok)
    assert.truthy(wrong:find(message, 1, true), wrong)
  end

  it("gives text, or the default", function()
    assert.equal("a", env "HOST")
    assert.equal("b", env("NONE", "b"))
    assert.is_nil(env("NONE", nil))
  end)

  it("takes a variable that is set to nothing for one that is not set", function()
    assert.equal("b", env("EMPTY", "b"))
    fails("the environment variable EMPTY is not set", env, "EMPTY")
  end)

  it("fails without a value and without a default, naming the line", function()
    fails("the environment variable NONE is not set", env, "NONE")
    fails("env_spec.lua:", function() local v = env "NONE" return v end)
    fails("NONE is not set", env.number, "NONE")
    fails("NONE is not set", env.boolean, "NONE")
    fails("NONE is not set", env.list, "NONE")
  end)

  it("reads numbers and refuses what is none", function()
    assert.equal(12.5, env.number "N")
    assert.equal(3, env.number("NONE", 3))
    fails('BAD must be a number, not "x1"', env.number, "BAD", 3)
    fails('NAN must be a number', env.number, "NAN", 3)
  end)

  it("reads booleans in the words that people use", function()
    assert.is_true(env.boolean "YES")
    assert.is_false(env.boolean("NO", true))
    assert.is_false(env.boolean("NONE", false))
    fails('BAD must be true or false', env.boolean, "BAD")
  end)

  it("reads lists without empty parts", function()
    assert.same({ "a", "b", "c" }, env.list "LIST")
    assert.same({}, env.list("NONE", {}))
  end)

  it("refuses what can not be a name", function()
    fails("is no name of a variable", env, "A B")
    fails("is no name of a variable", env, 3)
    fails("is no name of a variable", env, "")
  end)
end)
