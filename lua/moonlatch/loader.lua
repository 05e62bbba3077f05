--- Runs the files of a site and answers their `require`.
--
-- Files are named by their path below the site's directory, which is also what messages say:
-- "routes/api.lua:12".  `require "lib.x"` is lib/x.lua, run once per generation.
local core = require "moonlatch.core"
local options = require "moonlatch.options"
local sandbox = require "moonlatch.sandbox"
local undefined = require "moonlatch.undefined"
local where = require "moonlatch.where"

local Loader = {}
Loader.__index = Loader

local native = { bit = true, ["table.new"] = true, ["table.clear"] = true }

--- @param log function(message) for `print`
function Loader.new(log)
  local self = setmetatable({ loaded = {}, chunks = {}, unsafe = {} }, Loader)
  self.env, self.globals, self.lock = sandbox.new(core, log)
  self.globals.require = function(name) return self:require(name) end
  return self
end

--- Files that may use all of Lua, `io` and `os.execute` included.
function Loader:allow_unsafe(files)
  for _, file in ipairs(files) do self.unsafe[file] = true end
end

-- The site's own environment, which falls back on everything that Lua has.
function Loader:unsafe_env()
  self.open_env = self.open_env or setmetatable({ require = require, xpcall = xpcall, load = load,
      loadstring = loadstring, collectgarbage = collectgarbage, getmetatable = getmetatable,
      string = string, os = os }, { __index = function(_, name)
    local value = rawget(self.globals, name)
    if value == nil then value = _G[name] end
    if value == nil then error(('undefined global "%s"'):format(tostring(name)), 2) end
    return value
  end, __newindex = self.env })
  self.open_env.require = function(name)
    if core.source(self:file_of(name)) or self.loaded[name] then return self:require(name) end
    return require(name)
  end
  return self.open_env
end

--- Compiles and runs a file of the site; its results.
function Loader:run(file)
  local source = core.source(file)
  if not source then where.fail(("there is no file %s in the site"):format(file)) end
  local env = self.unsafe[file] and self:unsafe_env() or self.env
  local chunk, wrong = core.compile(source, "@" .. file, env)
  if not chunk then error(wrong, 0) end
  if env == self.env then self.chunks[#self.chunks + 1] = { file = file, chunk = chunk } end
  return chunk()
end

function Loader.file_of(_, name)
  return (name:gsub("%.", "/")) .. ".lua"
end

--- `require` for scripts of the site.
function Loader:require(name)
  if type(name) ~= "string" then where.fail("require: the name must be a string") end
  local value = self.loaded[name]
  if value == self then where.fail(('require "%s": it requires itself'):format(name)) end
  if value ~= nil then return value end
  if native[name] then return require(name) end
  local file = self:file_of(name)
  if not core.source(file) then
    where.fail(('require "%s": there is no file %s in the site'):format(name, file))
  end
  self.loaded[name] = self
  value = self:run(file)
  if value == nil then value = true end
  self.loaded[name] = value
  return value
end

--- Refuses the site when a file reads a global that nobody has defined.
function Loader:check_globals()
  for _, item in ipairs(self.chunks) do
    for _, read in ipairs(undefined.reads(item.chunk)) do
      if rawget(self.globals, read.name) == nil then
        where.fail(('undefined global "%s"%s'):format(read.name, options.hint(read.name, self.globals)),
                   item.file .. ":" .. read.line)
      end
    end
  end
  self.chunks = {}
end

return Loader
