--- The specs of the sites that are shipped give the same in a simulation and as the real program.
local binary = os.getenv("MOONLATCH") or "build/moonlatch"

-- What `moonlatch test` says of a site, one line per test.
local function results(dir, way)
  local p = io.popen(("MOONLATCH_TEST=%s '%s' test '%s' -o TAP 2>&1; echo exit=$?"):format(way, binary, dir))
  local text = p:read("*a")
  p:close()
  local lines = {}
  for line in text:gmatch("[^\n]+") do
    if line:find("^ok ") or line:find("^not ok ") or line:find("^exit=") then lines[#lines + 1] = line end
  end
  return lines, text
end

local function same_both_ways(dir)
  local simulated, text = results(dir, "")
  assert.equal("exit=0", simulated[#simulated], text)
  assert.is_true(#simulated > 1, text)
  if os.getenv("MOONLATCH_HARD") == "1" then return end -- too slow for the time of the other program
  local real, said = results(dir, "e2e")
  assert.same(simulated, real, said)
end

describe("the spec", function()
  it("of examples/hospital", function() same_both_ways("examples/hospital") end)

  it("of what init writes", function()
    local p = io.popen("mktemp -d")
    local dir = p:read("*l")
    p:close()
    finally(function() os.execute("rm -rf '" .. dir .. "'") end)
    assert.equal(0, os.execute(("'%s' init '%s/site' >/dev/null 2>&1"):format(binary, dir)))
    same_both_ways(dir .. "/site")
  end)
end)
