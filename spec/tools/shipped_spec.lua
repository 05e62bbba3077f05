--- Each shipped policy has a spec, which runs in a simulation and as the real program, and a section in
--- docs/policies.md with every option.
local function read(path)
  local f = io.open(path, "rb")
  if not f then return nil end
  local text = f:read("*a")
  f:close()
  return text
end

local function names()
  local list, p = {}, io.popen("ls lua/middleware/*.lua")
  for path in p:lines() do list[#list + 1] = path:match("([^/]+)%.lua$") end
  p:close()
  return list
end

-- The section of a policy in the reference.
local function section(docs, name)
  local _, first = docs:find("\n## " .. name .. "\n", 1, true)
  if not first then return nil end
  return docs:sub(first, (docs:find("\n## ", first, true) or #docs + 1) - 1)
end

-- Names of the options in M.config of a text.
local function options(text)
  local list = {}
  local config = text:match("\nM%.config = (%b{})") or ""
  for name in config:gmatch("\n  ([%a_][%w_]*) = {") do list[#list + 1] = name end
  return list
end

describe("the policy", function()
  local docs = read "docs/policies.md"

  for _, name in ipairs(names()) do
    it(name .. " has a spec and a section", function()
      local spec = read("spec/middleware/" .. name .. "_spec.lua")
      assert.truthy(spec, "there is no spec/middleware/" .. name .. "_spec.lua")
      assert.truthy(spec:find("spec%.support%.policy") or spec:find("spec%.support%.caching")
                    or spec:find("moonlatch%.test"), "the spec does not run both ways")
      local text = section(docs, name)
      assert.truthy(text, "there is no section of it in docs/policies.md")
      for _, option in ipairs(options(read("lua/middleware/" .. name .. ".lua"))) do
        assert.truthy(text:find("`" .. option .. "`", 1, true), "the option " .. option .. " is not in its section")
      end
    end)
  end
end)
