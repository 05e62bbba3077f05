local fake = require "spec.support.core"

describe("where", function()
  local where
  before_each(function()
    fake.new()
    where = require "moonlatch.where"
  end)

  local function run(source, name, ...) return assert(loadstring(source, name))(...) end

  it("names the innermost line of the site, above all lines of the program", function()
    local library = run("local where = ...\nreturn function() local l = where.line() return l end",
                        "@lua/moonlatch/config.lua", where)
    local line = run("local library = ...\n\nlocal l = library()\nreturn l", "@routes/a.lua", library)
    assert.equal("routes/a.lua:3", line)
  end)

  it("takes a site's own folder lua/ for the site", function()
    local line = run("local where = ...\nlocal l = where.line()\nreturn l", "@lua/mine.lua", where)
    assert.equal("lua/mine.lua:2", line)
  end)

  it("knows where a function was written", function()
    local fn = run("\n\nreturn function() end", "@lib/f.lua")
    assert.equal("lib/f.lua:3", where.of_function(fn))
  end)

  it("fails with the line given, or with the line that is run", function()
    local ok, wrong = pcall(where.fail, "no", "gateway.lua:7")
    assert.is_false(ok)
    assert.equal("gateway.lua:7: no", wrong)
    ok, wrong = pcall(run, "local where = ...\nwhere.fail('no')\n", "@gateway.lua", where)
    assert.is_false(ok)
    assert.equal("gateway.lua:2: no", wrong)
  end)
end)
