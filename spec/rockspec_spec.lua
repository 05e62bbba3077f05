-- The rockspec lists each Lua file that is installed, and no other.
describe("the rockspec", function()
  it("lists the modules below lua/, under the names by which they are required", function()
    local spec, listed, files = {}, {}, {}
    setfenv(assert(loadfile "rockspec/moonlatch-scm-1.rockspec"), spec)()
    for name, file in pairs(spec.build.modules) do
      listed[file] = true
      local expected = file:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/", ".")
      assert.equal(expected, name)
    end
    local p = io.popen "find lua -name '*.lua' -not -path 'lua/site/*'"
    for file in p:lines() do
      files[file] = true
      assert.is_true(listed[file], file .. " is not in the rockspec")
    end
    p:close()
    for file in pairs(listed) do assert.is_true(files[file], "the rockspec lists " .. file) end
  end)
end)
