local fake = require "spec.support.core"

describe("the loader", function()
  local function site(files)
    local core, loader = fake.site(files)
    return loader, core
  end
  local function fails(message, fn, ...)
    local ok, wrong = pcall(fn, ...)
    assert.is_false(ok)
    assert.equal(message, wrong)
  end

  it("runs a file required once, and gives all the same value", function()
    local loader = site { ["lib/a.lua"] = "n = (rawget(_G, 'n') or 0) + 1 return { n = 1 }",
                          ["gateway.lua"] = "return require 'lib.a' == require 'lib.a'" }
    assert.is_true(loader:run("gateway.lua"))
  end)

  it("gives true for a file that returns nothing", function()
    local loader = site { ["lib/a.lua"] = "local x = 1" }
    assert.is_true(loader:require("lib.a"))
  end)

  it("names the file that is not there, and who wanted it", function()
    local loader = site { ["gateway.lua"] = "\nlocal x = require 'lib.none'" }
    fails('gateway.lua:2: require "lib.none": there is no file lib/none.lua in the site',
          loader.run, loader, "gateway.lua")
  end)

  it("finds loops of require", function()
    local loader = site { ["lib/a.lua"] = "local b = require 'lib.b'", ["lib/b.lua"] = "\nlocal a = require 'lib.a'" }
    fails('lib/b.lua:2: require "lib.a": it requires itself', loader.require, loader, "lib.a")
  end)

  it("tells the true error again when a file failed before", function()
    local loader = site { ["lib/a.lua"] = "error('broken')",
                          ["gateway.lua"] = "pcall(require, 'lib.a') return require 'lib.a'" }
    fails("lib/a.lua:1: broken", loader.run, loader, "gateway.lua")
  end)

  it("passes syntax errors on with file and line", function()
    local loader = site { ["gateway.lua"] = "\nlocal x = = 1" }
    fails("gateway.lua:2: unexpected symbol near '='", loader.run, loader, "gateway.lua")
  end)

  it("does not leave the site by require", function()
    local loader = site { ["gateway.lua"] = "return 1" }
    for _, name in ipairs { "../secret", "/etc/passwd", "..", "" } do
      assert.is_false((pcall(loader.require, loader, name)), name)
    end
    assert.is_false((pcall(loader.require, loader, 3)))
  end)

  it("reads no files once the site is loaded", function()
    local loader = site { ["lib/a.lua"] = "return 1", ["lib/b.lua"] = "return 2" }
    assert.equal(1, loader:require("lib.a"))
    loader:lock()
    assert.equal(1, loader:require("lib.a"))
    local ok, wrong = pcall(loader.require, loader, "lib.b")
    assert.is_false(ok)
    assert.truthy(wrong:find('require "lib.b": files are read while the site is loaded', 1, true))
  end)

  describe("refuses a site for an undefined global", function()
    it("in a function that never ran, with file, line and a hint", function()
      local loader = site { ["gateway.lua"] = "helper = 1\nlocal function f()\n  return helpr\nend\nreturn f" }
      loader:run("gateway.lua")
      fails('gateway.lua:3: undefined global "helpr" (did you mean "helper"?)', loader.check_globals, loader)
    end)

    it("but not for one that a later file defines", function()
      local loader = site { ["gateway.lua"] = "function f() return later end", ["routes/a.lua"] = "later = 1" }
      loader:run("gateway.lua")
      loader:run("routes/a.lua")
      loader:check_globals()
    end)

    it("in a file that was required", function()
      local loader = site { ["lib/a.lua"] = "return function() return os2.time() end" }
      loader:require("lib.a")
      fails('lib/a.lua:1: undefined global "os2" (did you mean "os"?)', loader.check_globals, loader)
    end)
  end)

  it("warns of a global that is set in a function that did not run", function()
    local loader, core = site { ["gateway.lua"] = "set = 1\nfunction f()\n  n = 1\n  set = 2\nend" }
    loader:run("gateway.lua")
    loader:check_globals()
    assert.equal(1, #core.warnings)
    assert.truthy(core.warnings[1]:find('^gateway.lua:3: the global "n" is set here'))
  end)
end)
