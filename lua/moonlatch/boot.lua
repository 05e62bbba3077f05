--- Loads a site: runs gateway.lua, then routes/*.lua in the order of their names, checks what they
-- said, and gives the core its routes.  The first script of a fresh VM; its argument is the table
-- of the core's functions.
local core = ...

package.loaded["moonlatch.core"] = core
package.path, package.cpath = "", ""
package.loaders[2] = function(name)
  local file = name:gsub("%.", "/")
  local source = core.embedded(file .. ".lua")
  local path = file .. ".lua"
  if not source then
    path = file .. "/init.lua"
    source = core.embedded(path)
  end
  if not source then return "\n\tno file of the program: " .. file end
  return assert(loadstring(source, "@lua/" .. path))
end

local Loader = require "moonlatch.loader"
local Routes = require "moonlatch.routes"

rawset(string, "dump", nil)
getmetatable("").__metatable = "locked"

local upstreams = { by_name = {}, closed = false }
local loader = Loader.new(function(message) core.log("info", message) end)
local routes = Routes.new(loader)
local gw = require("moonlatch.init").new(loader, routes, upstreams)

loader.loaded.moonlatch = gw
package.loaded.moonlatch = gw

local function run_all()
  if not core.source("gateway.lua") then
    error(core.site_dir() .. ": there is no gateway.lua in this directory", 0)
  end
  loader:run("gateway.lua")
  for _, file in ipairs(core.files()) do
    if file:find("^routes/.*%.lua$") then loader:run(file) end
  end
end

run_all()
routes:link(upstreams.by_name)
loader:check_globals()
upstreams.closed = true
if core.explaining then core.explainer(require("moonlatch.explain").new(routes, upstreams.by_name)) end
loader:lock()
