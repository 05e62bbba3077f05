local fake = require "spec.support.core"

describe("options", function()
  local options
  before_each(function()
    fake.new()
    options = require "moonlatch.options"
  end)

  local function refused(schema, given, message)
    local conf, wrong = options.check(schema, given)
    assert.is_nil(conf)
    assert.equal(message, wrong)
  end

  it("gives defaults for what is missing", function()
    assert.same({ max = 10 }, options.check({ max = { "integer", default = 10 } }, nil))
    assert.same({ max = 10 }, options.check({ max = { "integer", default = 10 } }, {}))
  end)

  it("takes a default of false for a default", function()
    assert.same({ on = false }, options.check({ on = { "boolean", default = false } }, {}))
  end)

  it("does not share a default table between two uses", function()
    local schema = { names = { "list", default = {} } }
    local one, two = options.check(schema, {}), options.check(schema, {})
    one.names[1] = "changed"
    assert.same({}, two.names)
    assert.same({}, schema.names.default)
  end)

  it("refuses a missing option without default, and accepts it when it is optional", function()
    refused({ secret = { "string" } }, {}, 'option "secret" is missing')
    assert.same({}, options.check({ secret = { "string", optional = true } }, {}))
  end)

  it("refuses unknown options and proposes the one that was meant", function()
    refused({ origins = { "list", default = {} } }, { orgins = {} },
            'unknown option "orgins" (did you mean "origins"?)')
    refused({ origins = { "list", default = {} } }, { zebra = 1 }, 'unknown option "zebra"')
    refused({}, { [3] = "x" }, 'unknown option "3"')
  end)

  it("says which type is wanted and which was given", function()
    refused({ a = { "integer" } }, { a = "x" }, 'option "a" must be an integer, not string')
    refused({ a = { "string", "function" } }, { a = 1 }, 'option "a" must be a string or function, not 1')
    refused({ a = { "seconds" } }, { a = -1 }, 'option "a" must be a number of seconds, not -1')
    refused({ a = { "string" } }, 7, "options must be a table")
  end)

  it("takes only whole numbers for an integer, and no NaN for a number", function()
    assert.is_nil((options.check({ a = { "integer" } }, { a = 1.5 })))
    assert.is_nil((options.check({ a = { "integer" } }, { a = math.huge })))
    assert.is_nil((options.check({ a = { "integer" } }, { a = 2 ^ 53 })))
    assert.is_nil((options.check({ a = { "number" } }, { a = 0 / 0 })))
    assert.is_nil((options.check({ a = { "seconds" } }, { a = 0 / 0 })))
    assert.same({ a = -3 }, options.check({ a = { "integer" } }, { a = -3 }))
  end)

  it("takes ports, sizes and seconds as text of digits, as the environment has them", function()
    assert.same({ p = 80, s = 5, t = 1.5 }, options.check(
      { p = { "port" }, s = { "size" }, t = { "seconds" } }, { p = "80", s = "5", t = "1.5" }))
    for _, bad in ipairs { "65536", "-1", "80x", "", "0x50", "1e3", " 80", "1.5" } do
      assert.is_nil((options.check({ p = { "port" } }, { p = bad })), bad)
    end
  end)

  it("holds min and max of numbers, and of the length of strings and lists", function()
    refused({ a = { "integer", min = 1, unit = "ms" } }, { a = 0 }, 'option "a" must be at least 1 ms')
    refused({ a = { "number", max = 2 } }, { a = 2.5 }, 'option "a" must be at most 2')
    refused({ a = { "string", min = 1 } }, { a = "" }, 'option "a" the length of it must be at least 1')
    refused({ a = { "list", max = 1 } }, { a = { 1, 2 } }, 'option "a" the length of it must be at most 1')
    assert.same({ a = 1 }, options.check({ a = { "integer", min = 1, max = 1 } }, { a = 1 }))
  end)

  it("knows lists from other tables", function()
    assert.same({ a = { 1, 2 } }, options.check({ a = { "list" } }, { a = { 1, 2 } }))
    for _, bad in ipairs { { x = 1 }, { 1, nil, 3 }, { [2] = 1 }, { 1, x = 2 } } do
      assert.is_nil((options.check({ a = { "list" } }, { a = bad })))
    end
  end)

  it("checks and converts each element of a list", function()
    refused({ a = { "list", of = "string" } }, { a = { "x", 2 } },
            'option "a" element 2 must be a string, not 2')
    local given = { "80", 81 }
    assert.same({ a = { 80, 81 } }, options.check({ a = { "list", of = "port" } }, { a = given }))
    assert.same({ "80", 81 }, given)
  end)

  it("holds one_of", function()
    refused({ a = { "string", one_of = { "x", "y" } } }, { a = "z" }, 'option "a" must be one of "x", "y"')
    assert.same({ a = 302 }, options.check({ a = { "integer", one_of = { 301, 302 } } }, { a = 302 }))
  end)

  it("asks the schema's own check", function()
    local schema = { a = { "string", check = function(v) if v ~= "ok" then return "must be ok" end end } }
    refused(schema, { a = "no" }, 'option "a" must be ok')
    assert.same({ a = "ok" }, options.check(schema, { a = "ok" }))
  end)

  it("says what is wrong with a schema, before any option is looked at", function()
    assert.is_nil(options.schema_complaint { a = { "string", default = "x" }, b = { "integer", optional = true } })
    assert.equal('config.a must be a rule like { "string", default = "x" }',
                 options.schema_complaint { a = "string" })
    assert.equal('config.a has the unknown type "strnig" (did you mean "string"?)',
                 options.schema_complaint { a = { "strnig" } })
    assert.equal('config.a names no type', options.schema_complaint { a = { default = 1 } })
    assert.equal('config must be a table of rules', options.schema_complaint(3))
    assert.equal('config.a: unknown property "defualt" (did you mean "default"?)',
                 options.schema_complaint { a = { "string", defualt = 1 } })
    assert.equal('config.a has the unknown type "hose"', options.schema_complaint { a = { "list", of = "hose" } })
  end)

  it("hints at near names only", function()
    assert.equal(' (did you mean "patients"?)', options.hint("patiens", { patients = 1, billing = 1 }))
    assert.equal("", options.hint("xyzzy", { patients = 1 }))
  end)
end)
