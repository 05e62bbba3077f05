--- `moonlatch test` and coverage: what the program brings along, formats, filters, exit codes, lines. Plain busted, too.
local gateway = require "spec.support.gateway"

local function absolute(path)
  local p = io.popen("readlink -f '" .. path .. "'")
  local real = p:read "*l"
  p:close()
  return real
end

local binary = absolute(gateway.binary)

-- Output, errors and exit code of a command in a directory.
local function run(dir, command)
  local base = gateway.folder()
  local p = io.popen(("cd '%s' && %s >%s/out 2>%s/err; echo $?"):format(dir, command, base, base))
  local code = tonumber(p:read "*a")
  p:close()
  return gateway.read(base .. "/out"), gateway.read(base .. "/err"), code
end

local site_files = {
  ["gateway.lua"] = [[
local gw = require "moonlatch"
gw.listen { port = 8080 }
gw.use { "guard" }
gw.route("GET /", { respond = gw.response(200, "hello") })
]],
  ["middleware/guard.lua"] = [[
local gw = require "moonlatch"
local M = { name = "guard" }

local function never()
  local a = 1
  return a
end

function M.new()
  return function(req, next)
    if req:header("x-bad") then
      return gw.error(403, "bad")
    elseif req:header("x-worse") then
      never()
    end

    for _ = 1, 3 do
      req.ctx.n = (req.ctx.n or 0) + 1
    end
    return next()
  end
end

return M
]],
  ["lib/unused.lua"] = "return {\n  a = 1,\n}\n",
  ["spec/one_spec.lua"] = [[
local t = require "moonlatch.test"
describe("one", function()
  local app = t.load "."
  it("passes #quick", function() assert.response(app:get "/").has.status(200) end)
  it("guards", function() assert.response(app:get("/", { headers = { ["X-Bad"] = "1" } })).has.status(403) end)
end)
]],
}

local function site(more)
  local dir = gateway.folder() .. "/site"
  for name, text in pairs(site_files) do gateway.write(dir .. "/" .. name, text) end
  for name, text in pairs(more or {}) do gateway.write(dir .. "/" .. name, text) end
  return dir
end

local bad_spec = { ["spec/bad_spec.lua"] = 'it("fails", function() assert.equal(1, 2) end)\n' }

describe("moonlatch test", function()
  after_each(gateway.stop_all)

  it("needs nothing but the program: no busted, no module for LuaJIT, no path to anything", function()
    local dir, alone = site(), gateway.folder() .. "/alone"
    os.execute(("mkdir %s && cp %s %s/moonlatch"):format(alone, binary, alone))
    local keep = os.getenv "ASAN_OPTIONS" and "ASAN_OPTIONS=" .. os.getenv "ASAN_OPTIONS" or ""
    local out, err, code = run("/", ("env -i %s LUA_PATH=/nothing LUA_CPATH=/nothing %s/moonlatch test %s -o TAP")
                                    :format(keep, alone, dir))
    assert.equal("", err)
    assert.equal("ok 1 - one passes #quick\nok 2 - one guards\n1..2\n", out)
    assert.equal(0, code)
  end)

  it("has exit code 1 when a test fails, and says what and where", function()
    local out, _, code = run(site(bad_spec), binary .. " test . -o tap")
    assert.equal(1, code)
    assert.truthy(out:find("not ok 1 - fails\n# spec/bad_spec.lua @ 1\n", 1, true), out)
  end)

  it("has exit code 1 when a spec does not load or there is none", function()
    local _, _, code = run(site { ["spec/bad_spec.lua"] = "end" }, binary .. " test .")
    assert.equal(1, code)
    _, _, code = run(site(), binary .. " test . no/such_spec.lua")
    assert.equal(1, code)
  end)

  it("has exit code 2 when the command line is wrong", function()
    for _, words in ipairs { "", "-o", ". --output-file", ". --coverage=nonsense", ". --coverage=min:x", ". --coverage=lcov:" } do
      local _, err, code = run(site(), binary .. " test " .. words)
      assert.equal(2, code, words)
      assert.truthy(err:find("moonlatch test --help", 1, true), err)
    end
  end)

  it("writes JUnit, also to a file, before and behind the directory", function()
    local dir = site(bad_spec)
    local out = run(dir, binary .. " test -o JUnit .")
    assert.truthy(out:find("<testsuite ", 1, true), out)
    assert.truthy(out:find("failures='1'", 1, true), out)
    local file = gateway.folder() .. "/report.xml"
    local _, _, code = run(dir, ("%s test . --output=junit --output-file=%s"):format(binary, file))
    assert.equal(1, code)
    assert.truthy(gateway.read(file):find("classname='spec/one_spec.lua:5'", 1, true), gateway.read(file))
  end)

  it("writes the other formats to a file too", function()
    local dir = site()
    local out, _, code = run(dir, binary .. " test . -o TAP --output-file out.tap")
    assert.equal(0, code)
    assert.equal("", out)
    assert.truthy(gateway.read(dir .. "/out.tap"):find("1..2", 1, true))
  end)

  it("passes filters, tags and files on to busted", function()
    local dir = site(bad_spec)
    for _, words in ipairs { "--filter=passes", "--filter passes", "-t quick", "--tags=quick",
                              "--exclude-tags none --filter quick" } do
      local out, _, code = run(dir, ("%s test . -o TAP %s"):format(binary, words))
      assert.equal("ok 1 - one passes #quick\n1..1\n", out, words)
      assert.equal(0, code)
    end
    local out = run(dir, binary .. " test . -o TAP spec/one_spec.lua")
    assert.truthy(out:find("1..2", 1, true), out)
    out = run(dir, binary .. " test . --list")
    assert.truthy(out:find("spec/one_spec.lua:4: one passes #quick", 1, true), out)
  end)

  it("prints the notices of what is inside", function()
    local out, _, code = run("/", binary .. " test --notices")
    assert.equal(0, code)
    for _, name in ipairs { "busted", "luassert", "penlight", "filesystem", "mediator", "cliargs", "say" } do
      assert.truthy(out:find("== lua-" .. name, 1, true), name)
    end
  end)
end)

describe("coverage", function()
  after_each(gateway.stop_all)

  local expected = [[

file                  lines    ran       %  missed
gateway.lua               4      4   100.0
lib/unused.lua            1      0     0.0  1
middleware/guard.lua     13     10    76.9  5-6 14
all                      18     14    77.8
]]

  it("knows each line of the site, also of files that nobody used", function()
    local out, _, code = run(site(), binary .. " test . --coverage")
    assert.equal(0, code)
    assert.equal(expected, out:match("\n(\nfile.*)$"))
  end)

  it("fails below a percentage", function()
    local _, err, code = run(site(), binary .. " test . --coverage=min:90")
    assert.equal(1, code)
    assert.truthy(err:find("coverage: 77.8 % is less than 90 %", 1, true), err)
    _, _, code = run(site(), binary .. " test . --coverage=min:77")
    assert.equal(0, code)
  end)

  it("is counted by $MOONLATCH_COVERAGE too", function()
    local out = run(site(), "MOONLATCH_COVERAGE=text " .. binary .. " test .")
    assert.equal(expected, out:match("\n(\nfile.*)$"))
  end)

  it("leaves stdout to a format that machines read", function()
    local out, err = run(site(), binary .. " test . --coverage -o TAP")
    assert.equal("ok 1 - one passes #quick\nok 2 - one guards\n1..2\n", out)
    assert.equal(expected, err)
  end)

  it("is written for lcov", function()
    local dir = site()
    local out, _, code = run(dir, binary .. " test . --coverage=lcov:cover.info -o TAP")
    assert.equal(0, code)
    assert.is_nil(out:find("missed", 1, true))
    local text = gateway.read(dir .. "/cover.info")
    local record = text:match("TN:\nSF:" .. absolute(dir):gsub("%p", "%%%0") .. "/middleware/guard.lua\n(.-)end_of_record\n")
    assert.truthy(record, text)
    assert.truthy(record:find("DA:5,0\n", 1, true), record)
    assert.truthy(record:find("DA:12,1\n", 1, true), record)
    assert.truthy(record:find("LF:13\nLH:10\n", 1, true), record)
  end)

  it("counts shipped policies when asked", function()
    local dir = site { ["gateway.lua"] = site_files["gateway.lua"]:gsub('"guard"', '"guard", "request_id"') }
    local out = run(dir, binary .. " test . --coverage")
    assert.is_nil(out:find("request_id", 1, true))
    out = run(dir, binary .. " test . --coverage=shipped")
    assert.truthy(out:find("\nlua/middleware/request_id.lua +%d+ +%d+ "), out)
  end)

  it("goes on after a script was killed, and its budget is still kept", function()
    local out, err, code = run(site { ["gateway.lua"] = site_files["gateway.lua"] .. [[
gw.route("GET /endless", { respond = function()
  while true do end
end })
]], ["spec/endless_spec.lua"] = [[
local t = require "moonlatch.test"
it("is killed", function()
  local app = t.load "."
  assert.response(app:get "/endless").has.status(500)
  assert.response(app:get "/").has.status(200)
end)
]] }, binary .. " test . --coverage")
    assert.equal(0, code, out .. err)
    assert.truthy(out:find("\ngateway.lua +6 +6 +100.0\n"), out)
  end)
end)

describe("plain busted in a site that init wrote", function()
  after_each(gateway.stop_all)
  local preload = os.getenv "LD_PRELOAD" -- a module with a sanitizer
  local with = preload and ("LD_PRELOAD='%s' "):format(preload) or ""

  local function busted(dir, more)
    local command = "env -u MOONLATCH_KIT -u LUA_PATH -u LUA_CPATH MOONLATCH=%s %s %s busted -o TAP"
    return run(dir, command:format(binary, with, more or ""))
  end

  it("finds the kit by the program", function()
    local dir = gateway.folder() .. "/shop"
    run("/", binary .. " init " .. dir)
    local out, err, code = busted(dir)
    assert.equal("", err)
    assert.equal(0, code)
    assert.truthy(out:find("1..3", 1, true), out)
  end)

  it("counts lines by $MOONLATCH_COVERAGE", function()
    local dir = gateway.folder() .. "/shop"
    run("/", binary .. " init " .. dir)
    local out, _, code = busted(dir, "MOONLATCH_COVERAGE=text,min:100")
    assert.equal(0, code)
    assert.truthy(out:find("\nmiddleware/example.lua +%d+ +%d+ +100.0\n"), out)
    gateway.write(dir .. "/lib/more.lua", "return 1\n")
    _, _, code = busted(dir, "MOONLATCH_COVERAGE=text,min:100")
    assert.not_equal(0, code)
  end)
end)
