-- The examples in the policies' docstrings are sites that load.
local docs = dofile "tools/docs.lua"
local gateway = require "spec.support.gateway"

local head = [[
local gw = require "moonlatch"
gw.listen { port = 8080 }
for _, name in ipairs { "api", "auth", "orders", "users" } do gw.upstream(name, { "http://127.0.0.1:9000" }) end
]]

-- Files of the site that examples name.
local files = {
  ["api_keys.txt"] = "a:" .. ("0"):rep(64) .. "\n",
  ["htpasswd.txt"] = "a:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=\n",
}

-- The blocks of code of a docstring, entries of a list of policies made into statements.
local function example_of(name)
  local parts, block = {}, {}
  local function close()
    local text = table.concat(block, "\n")
    if text:find("^gw%.") then parts[#parts + 1] = text end
    if text:find('^{ "') then parts[#parts + 1] = "gw.use { " .. text .. " }" end
    block = {}
  end
  for line in io.lines("lua/middleware/" .. name .. ".lua") do
    if not line:find("^%-%-") then break end
    local text = line:match("^%-%-   (.*)$")
    if text and text:find('^{ "') then close() end
    if text then block[#block + 1] = text else close() end
  end
  close()
  return #parts > 0 and table.concat(parts, "\n") or nil
end

describe("the example of", function()
  teardown(gateway.stop_all)
  for _, name in ipairs(docs.names ".") do
    it(name .. " is a site that loads", function()
      local dir = gateway.folder()
      for file, text in pairs(files) do gateway.write(dir .. "/" .. file, text) end
      gateway.write(dir .. "/gateway.lua", head .. assert(example_of(name), "there is no example"))
      local secret = ("s"):rep(40)
      local p = io.popen(("JWT_SECRET=%s SESSION_SECRET=%s %s check %s 2>&1; echo exit=$?"):format(secret, secret,
                                                                                                  gateway.binary, dir))
      local said = p:read("*a")
      p:close()
      assert.equal("0", said:match("exit=(%d+)%s*$"), said)
    end)
  end
end)
