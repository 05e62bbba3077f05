local fake = require "spec.support.core"

describe("routes of a site", function()
  local core

  local function load(text, files)
    files = files or {}
    files["gateway.lua"] = 'local gw = require "moonlatch" ' .. text
    core = fake.load(files)
    return core
  end
  local function fails(message, text, files)
    local ok, wrong = pcall(load, text, files)
    assert.is_false(ok, text)
    assert.equal(message, wrong)
  end
  local answer = " local function answer() return gw.response(200) end "

  it("are given to the core with method, pattern, host and conditions", function()
    load(answer .. [[gw.route("GET|POST /a/:id", { respond = answer, host = "x.example",
                       header = { ["X-B"] = "1", ["X-A"] = true }, query = { v = "2" } })]])
    assert.equal(2, #core.routes)
    assert.equal("GET", core.routes[1].method)
    assert.equal("POST", core.routes[2].method)
    assert.equal("/a/:id", core.routes[2].pattern)
    assert.equal("x.example", core.routes[2].host)
    assert.same({ { query = false, name = "X-A" }, { query = false, name = "X-B", value = "1" },
                  { query = true, name = "v", value = "2" } }, core.routes[1].conditions)
  end)

  it("may be just a function", function()
    load(answer .. 'gw.route("GET /", answer)')
    assert.equal(200, core.chains[0]({}).status)
  end)

  it("may name an upstream that is defined below them", function()
    load 'gw.route("GET /", { to = "up" }) gw.upstream("first", { "http://a" }) gw.upstream("up", { "http://b" })'
    core.chains[0]({})
    assert.equal(1, core.forwarded.index)
  end)

  it("fail for what they can not mean, with the line", function()
    local line = "gateway.lua:2: gw.route: "
    for text, message in pairs {
      ["3, {}"] = "the pattern must be a string",
      ['"/a", {}'] = '"/a" is not "METHOD /path"',
      ['"GET /a b", {}'] = '"GET /a b" is not "METHOD /path"',
      ['"GET /a"'] = "a table with to= or respond= is expected",
      ['"GET /a", {}'] = "exactly one of to= and respond= is needed",
      ['"GET /a", { to = "x", respond = print }'] = "exactly one of to= and respond= is needed",
      ['"GET /a", { too = "x" }'] = 'unknown option "too" (did you mean "to"?)',
      ['"GET /a", { to = 3 }'] = 'option "to" must be a string, not 3',
      ['"G(T /a", { to = "x" }'] = '"G(T" is no method',
      ['"GET| /a", { to = "x" }'] = '"" is no method',
      ['"GET|post /a", { to = "x" }'] = 'the method "post" is written in capitals: "POST"',
      ['"GET /a", { to = "x", header = { "X-A" } }'] = 'conditions are written { name = "value" } or { name = true }',
      ['"GET /a", { to = "x", query = { a = 3 } }'] =
        'the condition on "a" must be a string, or true for "is there"',
      ['"GET /a", { to = "x", timeout = 0 }'] = 'option "timeout" must be at least 0.001 seconds',
    } do
      fails(line .. message, "\ngw.route(" .. text .. ")")
    end
  end)

  it("fail for an unknown upstream, with a hint", function()
    fails('gateway.lua:3: unknown upstream "patiens" (did you mean "patients"?)',
          'gw.upstream("patients", { "http://a" })\n\ngw.route("GET /", { to = "patiens" })')
  end)

  it("fail for a duplicate, naming the other one", function()
    fails('gateway.lua:3: gw.route("GET /a/:y"): there is a route like this already (the other one is at '
          .. 'gateway.lua:2)',
          answer .. '\ngw.route("GET /a/:x", answer)\ngw.route("GET /a/:y", answer)')
  end)

  it("fail when respond is a table of data", function()
    fails('gateway.lua:1: respond must be a function or a response, not a table',
          'gw.route("GET /", { respond = { a = 1 } })')
  end)

  describe("run middlewares", function()
    local text = [[
      local order = {}
      local function m(name) return function() order[#order + 1] = name end end
      seen = function() local s = table.concat(order, " ") order = {} return s end
      gw.use { m "use1", m "use2" }
      gw.route("GET /plain", { m "own", respond = function() return gw.response(200) end })
      gw.group("/g", { m "group", host = "h" }, function()
        gw.use { m "inner use" }
        gw.group("/h", function()
          gw.route("GET /x", { m "own", respond = function() return gw.response(200) end })
        end)
      end)
      gw.use { m "use3" }]]

    it("of gw.use, of the groups from outside, and their own; those of a later gw.use too", function()
      local loader
      core, loader = fake.load { ["gateway.lua"] = 'local gw = require "moonlatch" ' .. text }
      local seen = loader.env.seen
      core.chains[0]({})
      assert.equal("use1 use2 use3 own", seen())
      core.chains[1]({})
      assert.equal("use1 use2 use3 group inner use own", seen())
      core.fallback({ method = "GET", path = "/none" })
      assert.equal("use1 use2 use3", seen())
      assert.equal("/g/h/x", core.routes[2].pattern)
      assert.equal("h", core.routes[2].host)
    end)

    it("that are made once per mention, not once per route", function()
      local _, loader = fake.load {
        ["middleware/m.lua"] = "made = (rawget(_G, 'x') or 0) return { new = function() count() return print end }",
        ["gateway.lua"] = [[
          local gw, n = require "moonlatch", 0
          count = function() n = n + 1 end
          total = function() return n end
          gw.use { "m" }
          for i = 1, 5 do gw.route("GET /" .. i, function() end) end]] }
      assert.equal(1, loader.env.total())
    end)
  end)

  it("of a group fail for a bad prefix and bad options", function()
    for _, bad in ipairs { "a", "/a/", "/" } do
      fails('gateway.lua:1: gw.group: the prefix must be "" or begin and not end with "/"',
            ('gw.group(%q, function() end)'):format(bad))
    end
    fails('gateway.lua:1: unknown middleware "nope": neither middleware/nope.lua in the site nor shipped',
          'gw.group("/a", { "nope" }, function() end)')
    fails('gateway.lua:1: gw.group: unknown option "hots" (did you mean "host"?)',
          'gw.group("/a", { hots = "x" }, function() end)')
    fails("gateway.lua:1: gw.group(prefix, { middlewares and options }, function() ... end)", 'gw.group("/a", {})')
  end)

  it("are outside of a group again when it failed", function()
    load(answer .. 'pcall(gw.group, "/g", function() error("x") end) gw.route("GET /a", answer)')
    assert.equal("/a", core.routes[1].pattern)
  end)

  it("fail for options in a list of gw.use", function()
    fails('gateway.lua:1: gw.use: "origins" is no entry of a list; options go in { "name", origins = ... }',
          'gw.use { "cors", origins = {} }')
    fails("gateway.lua:1: gw.use: a list of middlewares is expected", 'gw.use "cors"')
  end)

  it("can not be declared once the site is loaded", function()
    local _, loader = fake.load { ["gateway.lua"] = 'gw = require "moonlatch"' }
    for _, name in ipairs { "route", "use", "group", "listen", "upstream", "settings", "mount" } do
      local ok, wrong = pcall(loader.env.gw[name])
      assert.is_false(ok)
      assert.truthy(wrong:find("gw." .. name .. " can not be called once the site is loaded", 1, true))
    end
  end)

  describe("of a module", function()
    it("are mounted by its name, with checked options", function()
      load 'gw.mount("health", { path = "/alive" })'
      assert.equal("/alive", core.routes[1].pattern)
      fails('gateway.lua:1: gw.mount: unknown route module "helth"', 'gw.mount("helth")')
      fails('gateway.lua:1: gw.mount("health"): unknown option "pth" (did you mean "path"?)',
            'gw.mount("health", { pth = "/" })')
    end)

    it("fail at the line of gw.mount", function()
      fails('gateway.lua:2: gw.mount("status"): "x" is no address or network', '\ngw.mount("status", { allow = { "x" } })')
      fails('gateway.lua:2: gw.route: "GET alive 2" is not "METHOD /path"', '\ngw.mount("health", { path = "alive 2" })')
    end)
  end)

  describe("that redirect", function()
    local function target(mount, path, route, query)
      load(mount)
      return core.chains[0]({ path = path, route = route, query = query or "" }).headers.location
    end

    it("keep the query", function()
      assert.equal("/new?a=1", target('gw.mount("redirect", { from = "/old", to = "/new" })', "/old", "/old", "a=1"))
    end)

    it("append the rest, also below a group and behind parameters", function()
      local mount = 'gw.mount("redirect", { from = "/:t/old/*rest", to = "https://x.test/n/" })'
      assert.equal("https://x.test/n/a/b", target(mount, "/tenant/old/a/b", "/:t/old/*rest"))
      assert.equal("https://x.test/n/a%20b", target('gw.group("/g", function() ' .. mount .. " end)",
                   "/g/tenant/old/a%20b", "/g/:t/old/*rest"))
      assert.equal("https://x.test/n/", target(mount, "/tenant/old/", "/:t/old/*rest"))
    end)

    it("never lead to another host than the one given", function()
      local mount = 'gw.mount("redirect", { from = "/old/*rest", to = "/" })'
      assert.equal("/evil.test/", target(mount, "/old//evil.test/", "/old/*rest"))
      fails('gateway.lua:1: gw.mount("redirect"): option "to" must end with "/", as the rest of the path is '
            .. "appended to it", 'gw.mount("redirect", { from = "/old/*rest", to = "https://x.test" })')
    end)
  end)
end)
