local fake = require "spec.support.core"

describe("undefined", function()
  local undefined
  before_each(function()
    fake.new()
    undefined = require "moonlatch.undefined"
  end)

  local function reads(source)
    local list = {}
    for _, r in ipairs(undefined.reads(assert(loadstring(source)))) do list[#list + 1] = r.name .. ":" .. r.line end
    return list
  end
  local function writes(source)
    local list = {}
    for _, r in ipairs(undefined.writes(assert(loadstring(source)))) do list[#list + 1] = r.name .. ":" .. r.line end
    return list
  end

  it("finds reads of globals in the chunk, with their lines", function()
    assert.same({ "a:1", "b:3" }, reads("local x = a\n\nlocal y = b.c"))
  end)

  it("finds them in functions that never ran, at any depth", function()
    assert.same({ "deep:3", "after:6" }, reads([[
      local function f()
        return function()
          return deep
        end
      end
      return function() return after end]]))
  end)

  it("finds calls, arguments and operands", function()
    assert.same({ "f:1", "g:1", "h:2" }, reads("local x = f(g)\nx = x + h"))
  end)

  it("sees no locals, upvalues, fields and assignments", function()
    assert.same({}, reads([[
      local t, u = {}, 1
      function t.f() return t.x, u end
      new = 1
      function made() end]]))
  end)

  it("finds writes of globals, those of functions included", function()
    assert.same({ "a:1", "b:2", "f:3" }, writes("a = 1\nlocal g = function() b = 2 end\nfunction f() end"))
    assert.same({}, writes("local a = x\na = 2"))
  end)
end)
