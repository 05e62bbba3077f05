--- Finds the core as a module of LuaJIT, moonlatch_kit.so: what $MOONLATCH_KIT names, or one on
-- package.cpath, or the one that was built beside this file.
local loaded = package.loaded["moonlatch.kit"]
if loaded then return loaded end

local function beside()
  local here = debug.getinfo(1, "S").source:match("^@(.*)lua/moonlatch/test_native%.lua$")
  return here and here .. "build/moonlatch_kit.so"
end

local function on_path()
  return package.searchpath and package.searchpath("moonlatch_kit", package.cpath)
end

local function readable(path)
  local f = path and io.open(path, "rb")
  if f then f:close() end
  return f and path
end

if not jit then
  error("moonlatch.test needs LuaJIT: run `moonlatch test DIR`, or busted with --lua=luajit", 0)
end
local path = os.getenv("MOONLATCH_KIT") or on_path() or readable(beside())
if not path then
  error("moonlatch_kit.so was not found: run `moonlatch test DIR`, or set MOONLATCH_KIT to its path", 0)
end
local open, why = package.loadlib(path, "luaopen_moonlatch_kit")
if not open then error("moonlatch_kit.so cannot be loaded: " .. why, 0) end
package.loaded["moonlatch.kit"] = open()
return package.loaded["moonlatch.kit"]
