--- From what a site writes in a list of middlewares to functions that can be linked.
--
-- An entry is "name", { "name", option = value, ... }, or a function(req, next).  A name is
-- middleware/name.lua of the site, or else a policy that is shipped with moonlatch.
local core = require "moonlatch.core"
local options = require "moonlatch.options"
local where = require "moonlatch.where"

local M = {}

local function shipped(name)
  local source = core.embedded("middleware/" .. name .. ".lua")
  if not source then return nil end
  local module = require("middleware." .. name)
  return module, "lua/middleware/" .. name .. ".lua"
end

local function find(name, loader)
  local file = "middleware/" .. name .. ".lua"
  if core.source(file) then return loader:require("middleware." .. name), file end
  return shipped(name)
end

local function check_module(module, name, file, line)
  if type(module) ~= "table" or type(module.new) ~= "function" then
    where.fail(('middleware "%s": %s must return a table with a function new(conf)')
               :format(name, file), line)
  end
  local wrong = module.config ~= nil and options.schema_complaint(module.config)
  if wrong then where.fail(('middleware "%s": in %s, %s'):format(name, file, wrong), line) end
  if module.name ~= nil and module.name ~= name then
    where.fail(('middleware "%s": %s says that its name is "%s"')
               :format(name, file, tostring(module.name)), line)
  end
end

-- Does fn take a second parameter, next?
local function takes_next(fn)
  local info = debug.getinfo(fn, "u")
  return info.isvararg or info.nparams >= 2
end

local function step(fn, label, line, conf)
  return { fn = fn, label = label, line = line, conf = conf, takes_next = takes_next(fn),
           id = core.step(label) }
end

local function named(name, given, loader, line)
  local module, file = find(name, loader)
  if not module then
    where.fail(('unknown middleware "%s": neither middleware/%s.lua in the site nor shipped')
               :format(name, name), line)
  end
  check_module(module, name, file, line)
  local conf, wrong = options.check(module.config or {}, given)
  if not conf then where.fail(('middleware "%s": %s'):format(name, wrong), line) end
  local ok, fn = pcall(module.new, conf)
  if not ok then where.fail(('middleware "%s": %s'):format(name, where.without_ours(fn)), line) end
  if type(fn) ~= "function" then
    where.fail(('middleware "%s": new(conf) in %s returned no function'):format(name, file), line)
  end
  local made = step(fn, name, line, conf)
  made.always = module.always and module.always(conf)
  return made
end

--- Makes a step of an entry.
-- @param entry string, table or function
-- @param loader of the site
-- @param line "gateway.lua:7", where the entry was written
function M.resolve(entry, loader, line)
  if type(entry) == "function" then return step(entry, where.of_function(entry), line) end
  if type(entry) == "string" then return named(entry, {}, loader, line) end
  if type(entry) == "table" and type(entry[1]) == "string" then
    local given = {}
    for key, value in pairs(entry) do
      if key ~= 1 then given[key] = value end
    end
    return named(entry[1], given, loader, line)
  end
  where.fail('a middleware is "name", { "name", option = value } or a function, not ' .. type(entry), line)
end

return M
