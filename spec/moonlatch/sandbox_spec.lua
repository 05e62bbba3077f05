--- The sandbox, by the hand of someone who wants out.
local fake = require "spec.support.core"

describe("the sandbox", function()
  local core, loader

  -- Runs text as a file of the site; what it returns.
  local function run(text)
    local files = { ["lib/attack.lua"] = text }
    core.source = function(name) return files[name] end
    return loader:run("lib/attack.lua")
  end
  local function fails(text, message)
    local ok, wrong = pcall(run, text)
    assert.is_false(ok, text)
    assert.truthy(tostring(wrong):find(message, 1, true), tostring(wrong))
  end

  before_each(function()
    local _
    _, loader = fake.site {}
    core = package.loaded["moonlatch.core"]
  end)

  describe("does not have", function()
    for _, name in ipairs { "io", "debug", "ffi", "jit", "package", "newproxy", "getfenv", "setfenv", "module",
                            "dofile", "loadfile", "arg", "gcinfo" } do
      it(name, function()
        fails("return " .. name, ('undefined global "%s"'):format(name))
        fails("return _G." .. name, ('undefined global "%s"'):format(name))
        fails(("return require %q"):format(name), "there is no file")
        assert.is_nil(run(("return rawget(_G, %q)"):format(name)))
      end)
    end
    for _, name in ipairs { "os.execute", "os.exit", "os.getenv", "os.remove", "os.rename", "os.tmpname",
                            "string.dump", "coroutine.close" } do
      it(name, function() assert.is_nil(run("return " .. name)) end)
    end
    for _, name in ipairs { "moonlatch.core", "moonlatch.sandbox", "jit.util", "middleware.request_id", "_G" } do
      it("require of " .. name, function() fails(("return require %q"):format(name), "there is no file") end)
    end
  end)

  describe("gives no way to the real globals", function()
    it("by load with an environment that is no table", function()
      for _, given in ipairs { "true", "false", "1", "'x'", "print" } do
        fails(('return load("return io", "x", "t", %s)()'):format(given), "environment must be a table")
      end
    end)

    it("by load without one", function()
      fails('return load("return io")()', 'undefined global "io"')
      fails('return loadstring("return io")()', 'undefined global "io"')
      fails('return load(function() return nil end, "x") and load("return debug", nil)()', 'undefined global "debug"')
      assert.equal(5, run('return load("return 2 + 3")()'))
      assert.equal(7, run('return load("return x", "n", "t", { x = 7 })()'))
      assert.equal(8, run('local n = 0 return load(function() n = n + 1 return ({ "return ", "8" })[n] end)()'))
    end)

    it("by a reader that gives no strings", function()
      fails("load(function() return 5 end)", "must return strings")
    end)

    it("by bytecode", function()
      core.code = string.dump(function() return 1 end)
      loader.globals.code = core.code
      assert.is_nil((run('return (load(code))')))
      assert.is_nil((run('return (load(code, "x", "b"))')))
      assert.is_nil((run('return (load("return 1", "x", "b"))')))
    end)

    it("by the metatable of strings", function()
      assert.equal("locked", run('return getmetatable("")'))
      fails('return setmetatable("", {})', "bad argument")
    end)

    it("by _G, which is the sandbox itself", function()
      assert.is_true(run("return _G == _G._G"))
      assert.equal("locked", run("return getmetatable(_G)"))
      fails("setmetatable(_G, {})", "protected metatable")
      assert.is_nil(run("return next(_G)"))
    end)

    it("by what libraries return: they are copies that can not be changed", function()
      for _, name in ipairs { "string", "table", "math", "bit", "coroutine", "os", "require 'bit'" } do
        assert.equal("locked", run("return getmetatable(" .. name .. ")"), name)
        fails("local t = " .. name .. " t.evil = 1", "read-only")
        fails("rawset(" .. name .. ", 'evil', 1)", "read-only")
        assert.is_nil(run("return next(" .. name .. ")"), name)
      end
    end)

    it("by members of gw", function()
      for _, name in ipairs { "gw", "gw.log", "gw.json", "gw.http", "gw.env" } do
        local with = "local gw = require 'moonlatch' "
        assert.equal("locked", run(with .. "return getmetatable(" .. name .. ")"), name)
        fails(with .. name .. ".evil = 1", "read-only")
        fails(with .. "rawset(" .. name .. ", 'evil', 1)", "read-only")
      end
      fails("return require('moonlatch').nothing", "gw.nothing does not exist")
      fails("return require('moonlatch').nothing", "lib/attack.lua:1")
    end)

    it("by its functions' errors", function()
      assert.equal("x", run("local ok, e = pcall(error, setmetatable({}, { __tostring = function() return 'x' end }))"
                            .. " return tostring(e)"))
      fails("error(setmetatable({}, { __tostring = function() return 'x' end }))",
            "lib/attack.lua: (an error value of type table)")
    end)
  end)

  it("runs the handler of xpcall after unwinding, in the sandbox", function()
    assert.same({ false, "bad x!" }, run([[
      return { xpcall(function(a) error("bad " .. a, 0) end, function(m) return m .. "!" end, "x") }]]))
    assert.same({ true, 1, 2 }, run("return { xpcall(function(...) return ... end, print, 1, 2) }"))
  end)

  describe("hides the coroutine of a request", function()
    it("but not those that a script makes", function()
      local task = coroutine.wrap(function() return run([[
        local outer = coroutine.running()
        local co
        co = coroutine.create(function() return coroutine.running() == co end)
        local _, same = coroutine.resume(co)
        local wrapped = coroutine.wrap(function(a) return coroutine.running() ~= nil, a end)
        local known, a = wrapped(5)
        return { outer = outer, same = same, known = known, a = a }]]) end)
      assert.same({ same = true, known = true, a = 5 }, task())
    end)
  end)

  it("only counts in collectgarbage", function()
    assert.is_number(run("return collectgarbage 'count'"))
    for _, what in ipairs { "stop", "setpause", "collect" } do
      fails(("collectgarbage(%q)"):format(what), "only \"count\"")
    end
  end)

  it("names file and line of an undefined global", function()
    fails("\n\nlocal x = notthere", 'lib/attack.lua:3: undefined global "notthere"')
  end)

  it("allows globals while the site is loaded, and none later", function()
    run("answer = 42  function helper() return answer end")
    assert.equal(42, run("return helper()"))
    local late = run("return function() late = 1 end, function() answer = 2 end")
    run("change = function() answer = 43 end")
    loader:lock()
    assert.has_error(late)
    local ok, wrong = pcall(function() loader.env.change() end)
    assert.is_false(ok)
    assert.equal('lib/attack.lua:1: global "answer" can not be set: globals are read-only once the site is loaded',
                 wrong)
    assert.has_error(function() loader.globals.rawset(loader.env, "x", 1) end)
    assert.equal(42, loader.env.answer)
  end)

  it("prints into the log", function()
    run("print('a', 1, nil)")
    assert.same({ level = "info", message = "a\t1\tnil" }, core.logged[1])
  end)

  describe("opens a file that gw.settings calls unsafe", function()
    before_each(function() loader:allow_unsafe { "lib/attack.lua" } end)

    it("to all of Lua, with the site's globals", function()
      loader.globals.mine = 5
      assert.same({ "table", "function", 5 }, run("return { type(io), type(os.execute), mine }"))
      assert.equal("table", run("return type(require 'ffi')"))
      assert.equal("table", run("return type(require 'jit.util')"))
    end)

    it("but still knows undefined globals", function()
      fails("return notthere", 'undefined global "notthere"')
    end)

    it("also after the load", function()
      local fn = run("return function() return require 'ffi' end")
      loader:lock()
      assert.equal("table", type(fn()))
    end)

    it("and no other file", function()
      core.source = function(name) return name == "lib/other.lua" and "return io" or nil end
      assert.has_error(function() loader:run("lib/other.lua") end)
    end)
  end)
end)
