-- lua/moonlatch/freshness.lua: what needs no gateway; the rest is in spec/middleware/cache_spec.lua.
require("spec.support.core").new()
local freshness = require "moonlatch.freshness"

describe("freshness", function()
  it("reads the three forms of a date, and nothing else", function()
    for _, text in ipairs { "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994" } do
      assert.equal(784111777, freshness.date(text), text)
    end
    assert.equal(0, freshness.date "Thu, 01 Jan 1970 00:00:00 GMT")
    assert.equal(951782400, freshness.date "Tue, 29 Feb 2000 00:00:00 GMT")
    assert.equal(4102444799, freshness.date "Thu, 31 Dec 2099 23:59:59 GMT")
    for _, text in ipairs { "", "0", "-1", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37",
                            "Sun, 06 Nov 1994 08:49:37 CET", "1994-11-06T08:49:37Z" } do
      assert.is_nil(freshness.date(text), text)
    end
  end)

  it("reads directives in any case, with quotes, and takes the stricter of two", function()
    assert.same({ ["max-age"] = 5, private = true, public = true },
      freshness.directives { "MAX-AGE=10, private", ' Public , , max-age="5"' })
    assert.same({ x = true, ["no-store"] = true }, freshness.directives { 'x="a,b=c", no-store' })
    assert.same({ x = true }, freshness.directives { 'x="no-store, private"' })
    assert.same({ ["max-age"] = 0 }, freshness.directives { "max-age=1.5" })
    assert.same({ ["max-age"] = 0 }, freshness.directives { "max-age" })
    assert.same({ ["max-age"] = 2 ^ 31 }, freshness.directives { "max-age=99999999999999999999" })
    assert.same({ ["max-stale"] = 2 ^ 31 }, freshness.directives { "max-stale" })
    assert.same({ ["max-stale"] = 7 }, freshness.directives { "max-stale=7" })
    assert.same({}, freshness.directives { "", ",,", "=x" })
  end)

  it("counts the age from Date, Age and the time that the answer took", function()
    local rules = { asked = 1000, now = 1004, default_ttl = 0, max_ttl = 1000, keep = 0, stale_while_revalidate = 0,
                    stale_if_error = 0 }
    local function age(...)
      local e = freshness.describe({ { "Cache-Control", "max-age=100" }, ... }, rules)
      return (freshness.age(e, 1010))
    end
    assert.equal(10, age())
    assert.equal(30, age { "Age", "20" })
    assert.equal(60, age { "Date", "Thu, 01 Jan 1970 00:15:50 GMT" }) -- 950
    assert.equal(10, age { "Date", "Thu, 01 Jan 1970 01:00:00 GMT" }) -- a clock that is fast
  end)
end)
