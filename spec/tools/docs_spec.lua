-- docs/policies.md is what the generator makes of lua/middleware, and says something of each option.
local docs = dofile "tools/docs.lua"

local function read(path)
  local f = assert(io.open(path, "rb"))
  local text = f:read("*a")
  f:close()
  return text
end

describe("the reference of the policies", function()
  local text, policies = docs.generate "."

  it("is up to date (make docs)", function()
    assert.is_true(text == read "docs/policies.md", "docs/policies.md is not what `make docs` makes")
  end)

  it("describes each policy, with an example, and each of its options", function()
    for _, name in ipairs(docs.names ".") do
      local source = read("lua/middleware/" .. name .. ".lua")
      assert.truthy(source:find("^%-%-%- %S"), name .. " begins with a sentence")
      assert.truthy(source:find("\n%-%-   [^\n]*%f[%w_]" .. name .. "%f[^%w_]"), name .. " has an example")
      assert.equal(name, policies[name].name)
      for option, rule in pairs(policies[name].config or {}) do
        assert.truthy(type(rule.doc) == "string" and #rule.doc > 3, name .. ": " .. option .. " has a doc")
      end
    end
  end)

  it("shows types, defaults and ranges", function()
    assert.truthy(text:find("| `attempts` | integer | `2` | Attempts in all. From 2 to 10. |", 1, true))
    assert.truthy(text:find("| `max` | size, bytes | **needed** |", 1, true))
    assert.truthy(text:find("```lua\ngw.route(\"POST /api/login\"", 1, true))
  end)
end)
