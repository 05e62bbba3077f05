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

local native = { ["table.new"] = true, ["table.clear"] = true }

--- @param log function(message) for `print`
function Loader.new(log)
  local self = setmetatable({ loaded = {}, chunks = {}, unsafe = {} }, Loader)
  self.env, self.globals, self.lock_globals = sandbox.new(core, log)
  self.globals.require = function(name) return self:require(name) end
  self.loaded.bit = self.globals.bit
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
    if self.loaded[name] ~= nil or not self.locked and core.source(self:file_of(name)) then
      return self:require(name)
    end
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
  local ok, value = pcall(chunk)
  if ok then return value end
  if type(value) == "string" and value:find("^[^:\n]+%.lua:") then error(value, 0) end
  error(file .. ": " .. where.without_ours(value), 0) -- a full stack and an own error value have no line
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
  if self.locked then
    where.fail(('require "%s": files are read while the site is loaded, not later'):format(name))
  end
  local file = self:file_of(name)
  if not core.source(file) then
    where.fail(('require "%s": there is no file %s in the site'):format(name, file))
  end
  self.loaded[name] = self
  local ok, result = pcall(self.run, self, file)
  if not ok then
    self.loaded[name] = nil
    error(result, 0)
  end
  if result == nil then result = true end
  self.loaded[name] = result
  return result
end

-- calls act(name, "file:line") for each of the accesses to a global that is not defined
function Loader:each_undefined(accesses, act)
  for _, item in ipairs(self.chunks) do
    for _, access in ipairs(accesses(item.chunk)) do
      if rawget(self.globals, access.name) == nil then act(access.name, item.file .. ":" .. access.line) end
    end
  end
end

--- Refuses the site when a file reads a global that nobody has defined.  One that is written but was
-- not during the load would be an error of the request that writes it: a warning, for it may be
-- meant for another environment.
function Loader:check_globals()
  self:each_undefined(undefined.reads, function(name, line)
    where.fail(('undefined global "%s"%s'):format(name, options.hint(name, self.globals)), line)
  end)
  self:each_undefined(undefined.writes, function(name, line)
    core.warn(('%s: the global "%s" is set here, which fails once the site is loaded; is a `local` missing?')
              :format(line, name))
  end)
  self.chunks = {}
end

--- The site is loaded: no more globals, no more files.
function Loader:lock()
  self.locked = true
  self.lock_globals()
end

return Loader
