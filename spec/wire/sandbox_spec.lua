--- The sandbox inside of the real program, while requests are handled.
local gateway = require "spec.support.gateway"
local cjson = require "cjson"

describe("a script of the real program", function()
  local g
  setup(function()
    g = gateway.start({
      ["gateway.lua"] = [[
        local gw = require "moonlatch"
        gw.listen { port = PORT, host = "127.0.0.1" }
        gw.settings { unsafe_files = { "lib/open.lua" } }
        local open = require "lib.open"
        local attacks = {
          load_env = function() return load("return io", "x", "t", true)() end,
          load_global = function() return load("return io")() end,
          load_named = function() return load("return debug", "@lua/moonlatch/boot.lua")() end,
          core = function() return require "moonlatch.core" end,
          ffi = function() return require "ffi" end,
          late_file = function() return require "lib.late" end,
          string_meta = function() getmetatable("").__index = {} end,
          global = function() stolen = 1 end,
          global_table = function() _G.stolen = 1 end,
          library = function() string.rep = nil end,
          rawset_library = function() rawset(string, "rep", nil) end,
          rawset_global = function() rawset(_G, "stolen", 1) end,
          rawset_gw = function() rawset(gw, "response", nil) end,
          gw_log = function() gw.log.info = nil end,
          gw_route = function() gw.route("GET /late", function() end) end,
          gw_upstream = function() gw.upstream("late", { "http://127.0.0.1:1" }) end,
          handle_meta = function(req) setmetatable(req, {}) end,
          response_meta = function() setmetatable(gw.response(200), {}) end,
          undefined = function() return _G["io"] end,
          bytecode = function() return assert(load("\27LJ\2\0")) end,
        }
        gw.route("GET /attack/:name", { respond = function(req)
          local ok, wrong = pcall(attacks[req.params.name], req)
          return gw.response(200, { ok = ok, wrong = tostring(wrong) })
        end })
        gw.route("GET /names", { respond = function()
          local names = {}
          for name in pairs(attacks) do names[#names + 1] = name end
          return gw.response(200, names)
        end })
        gw.route("GET /task", { respond = function()
          return gw.response(200, { task = tostring(coroutine.running()), dump = tostring(("x").dump),
                                    rep = ("ab"):rep(2) })
        end })
        gw.route("GET /open", { respond = function() return gw.response(200, open()) end })
      ]],
      ["lib/open.lua"] = [[
        local file = io.open("/proc/self/stat")
        return function()
          file:seek("set")
          return { read = #file:read("*a") > 0, ffi = type(require "ffi"), execute = type(os.execute) }
        end
      ]],
      ["lib/late.lua"] = "return 1",
    }, { args = { "--workers", "1" } })
  end)
  teardown(gateway.stop_all)

  it("can not leave the sandbox and can not change what others see", function()
    local names = cjson.decode(g:ask("GET /names").body)
    assert.is_true(#names >= 20)
    for _, name in ipairs(names) do
      local answer = cjson.decode(g:ask("GET /attack/" .. name).body)
      assert.is_false(answer.ok, name)
      assert.truthy(answer.wrong ~= "nil", name)
    end
  end)

  it("sees no coroutine of its request, and no string.dump", function()
    assert.same({ task = "nil", dump = "nil", rep = "abab" }, cjson.decode(g:ask("GET /task").body))
  end)

  it("has all of Lua in a file that gw.settings names", function()
    assert.same({ read = true, ffi = "table", execute = "function" }, cjson.decode(g:ask("GET /open").body))
  end)
end)
