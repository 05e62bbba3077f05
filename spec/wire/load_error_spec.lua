--- `moonlatch check` names the file and the line of whatever keeps a site from loading.
local gateway = require "spec.support.gateway"

-- What check says about a folder with these files, and its exit code.
local function check(files, prefix)
  local dir = gateway.folder()
  for name, text in pairs(files) do gateway.write(dir .. "/" .. name, text) end
  local p = io.popen(("%s %s check %s 2>&1; echo exit=$?"):format(prefix or "", gateway.binary, dir))
  local text = p:read("*a")
  p:close()
  local code = tonumber(text:match("exit=(%d+)%s*$"))
  return (text:gsub("exit=%d+%s*$", "")), code, dir
end

local head = 'local gw = require "moonlatch"\ngw.listen { port = 8080 }\n' -- the text begins in line 3

local function refused(text, expected, files)
  files = files or {}
  files["gateway.lua"] = head .. text
  local said, code = check(files)
  assert.truthy(said:find(expected, 1, true), said)
  assert.equal(1, code)
end

describe("moonlatch check", function()
  after_each(gateway.stop_all)

  it("accepts a site that loads: exit code 0", function()
    local said, code, dir = check { ["gateway.lua"] = head .. 'gw.upstream("up", { "http://127.0.0.1:1" })',
                                    ["routes/a.lua"] = 'require("moonlatch").route("GET /", { to = "up" })' }
    assert.equal(0, code, said)
    assert.truthy(said:find(dir .. ": ok", 1, true), said)
  end)

  it("has exit code 2 for a wrong command line, and refuses a folder without gateway.lua", function()
    local p = io.popen(gateway.binary .. " check --no-such-flag /tmp 2>&1; echo exit=$?")
    local text = p:read("*a")
    p:close()
    assert.truthy(text:find("exit=2", 1, true), text)
    local said, code = check {}
    assert.equal(1, code)
    assert.truthy(said:find("gateway.lua", 1, true), said)
  end)

  describe("names the line of", function()
    it("an unknown option", function()
      refused("gw.listen { port = 1, tiemouts = {} }",
              'gateway.lua:3: gw.listen: unknown option "tiemouts" (did you mean "timeouts"?)')
    end)
    it("a missing option", function() refused("gw.listen {}", 'gateway.lua:3: gw.listen: option "port" is missing') end)
    it("an option of the wrong type", function()
      refused('\ngw.settings { workers = "two" }',
              'gateway.lua:4: gw.settings: option "workers" must be an integer, not string')
    end)
    it("an unknown middleware", function()
      refused('gw.use { "request_idd" }', 'gateway.lua:3: unknown middleware "request_idd"')
    end)
    it("a middleware's unknown option, at the list", function()
      refused('gw.use { { "m", x = 1 } }', 'gateway.lua:3: middleware "m": unknown option "x"',
              { ["middleware/m.lua"] = "return { new = function() return function() end end }" })
    end)
    it("a shipped middleware's bad network", function()
      refused('gw.use { { "request_id", accept_from = { "10.0.0.0/33" } } }', 'gateway.lua:3: middleware "request_id"')
    end)
    it("an unknown upstream", function()
      refused('gw.upstream("users", { "http://a" })', 'routes/a.lua:2: unknown upstream "user" (did you mean "users"?)',
              { ["routes/a.lua"] = 'local gw = require "moonlatch"\ngw.route("GET /", { to = "user" })' })
    end)
    it("a duplicate route, and of the other one", function()
      local route = 'local gw = require "moonlatch"\n\ngw.route("GET /a/:%s", function() end)'
      refused("", 'routes/b.lua:3: gw.route("GET /a/:y")',
              { ["routes/a.lua"] = route:format "x", ["routes/b.lua"] = route:format "y" })
      refused("", "routes/a.lua:3)", { ["routes/a.lua"] = route:format "x", ["routes/b.lua"] = route:format "y" })
    end)
    it("a syntax error", function() refused("\nlocal x = = 1", "gateway.lua:4: unexpected symbol near '='") end)
    it("an undefined global, also in a function that never runs", function()
      refused('gw.route("GET /", function()\n  return gw.response(200, tostirng(1))\nend)',
              'gateway.lua:4: undefined global "tostirng" (did you mean "tostring"?)')
    end)
    it("a variable of the environment that is not set", function()
      refused('local s = gw.env "MOONLATCH_SPEC_NOT_SET"',
              "gateway.lua:3: the environment variable MOONLATCH_SPEC_NOT_SET is not set")
    end)
    it("a variable of the environment that is no number", function()
      local said, code = check({ ["gateway.lua"] = head .. 'local s = gw.env.number("MOONLATCH_N", 1)' },
                               "MOONLATCH_N=x")
      assert.equal(1, code)
      assert.truthy(said:find("gateway.lua:3: the environment variable MOONLATCH_N must be a number", 1, true), said)
    end)
    it("a bad URL", function()
      for _, url in ipairs { "ftp://a", "http://", "http://a:99999", "a", "http://a b", "http://u:p@a" } do
        refused(('gw.upstream("u", { %q })'):format(url), 'gateway.lua:3: gw.upstream("u"): "' .. url .. '": ')
      end
    end)
    it("an upstream without servers", function()
      refused('gw.upstream("u", {})', 'gateway.lua:3: gw.upstream("u"): an upstream needs at least one server')
    end)
    it("a bad network", function()
      for _, cidr in ipairs { "10.0.0.0/33", "10.0.0", "x", "::1/129", "" } do
        refused(("gw.listen { port = 2, trusted_proxies = { %q } }"):format(cidr), "gateway.lua:3: gw.listen: trusted")
      end
    end)
    it("a bad address to listen on", function()
      refused('gw.listen { port = 2, host = "localhost" }', "gateway.lua:3: gw.listen: host must be")
    end)
    it("two listeners on one port", function()
      refused("gw.listen { port = 8080 }", "gateway.lua:3: gw.listen: there is a listener")
    end)
    it("a bad pattern", function()
      for _, pattern in ipairs { "a", "/:", "/a/*x/b", "/:a/:a", "//", "/%zz", "/a/../b", "/:a-b" } do
        refused(("gw.route(%q, function() end)"):format("GET " .. pattern), "gateway.lua:3: gw.route")
      end
    end)
    it("a runtime error", function()
      refused("local t = nil\nlocal x = t.y", "gateway.lua:4: attempt to index local 't'")
      refused('local function f() error("own words") end\nf()', "gateway.lua:3: own words")
      refused('error({ code = 1 })', "gateway.lua: (an error value of type table)")
    end)
    it("a runtime error in new(conf)", function()
      refused('gw.use { "m" }', 'gateway.lua:3: middleware "m": middleware/m.lua:1: no luck',
              { ["middleware/m.lua"] = "return { new = function() error('no luck') end }" })
    end)
    it("a call that waits", function()
      for _, call in ipairs { "gw.sleep(1)", "gw.all { function() end }", 'gw.http.get("http://127.0.0.1:1/")' } do
        refused(call, "gateway.lua:3: ")
      end
    end)
    it("the use of a shared dict", function()
      refused('local d = gw.shared("x")\nd:set("a", 1)', "gateway.lua:4: ")
    end)
    it("a loop of require", function()
      refused('require "lib.a"', 'lib/b.lua:1: require "lib.a": it requires itself',
              { ["lib/a.lua"] = 'require "lib.b"', ["lib/b.lua"] = 'require "lib.a"' })
    end)
    it("a file that is not there", function()
      refused('require "lib.a"', 'gateway.lua:3: require "lib.a": there is no file lib/a.lua')
    end)
    it("an endless loop, compiled or not, also below pcall", function()
      refused("local n = 0\nwhile true do n = n + 1 end", "gateway.lua:4: CPU budget of ")
      refused("local n = 0\npcall(function()\n  while true do n = n + 1 end\nend)", "gateway.lua:5: CPU budget of ")
    end)
    it("an endless recursion", function()
      refused("local function f() return 1 + f() end\nf()", "gateway.lua: stack overflow")
      refused('require "lib.a"', "lib/a.lua: stack overflow",
              { ["lib/a.lua"] = "local function f() return 1 + f() end\nf()" })
    end)
  end)

  it("says that a site needs too much memory", function()
    refused('local t = {}\nwhile true do t[#t + 1] = ("x"):rep(2 ^ 20) .. #t end', "not enough memory")
  end)

  it("warns of a global that a function would set after the load, and accepts the site", function()
    local said, code = check { ["gateway.lua"] = head .. 'gw.route("GET /", function()\n  counter = 1\nend)' }
    assert.equal(0, code, said)
    assert.truthy(said:find('gateway.lua:4: the global "counter" is set here', 1, true), said)
  end)
end)
