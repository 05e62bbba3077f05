--- The globals of a site's scripts: what is harmless of Lua's library, locked after the load.
--
-- A script sees an empty table whose metatable answers: reading an unknown global is an error with
-- file and line, and so is writing one once the site is loaded (workers serve many requests with
-- one VM: a global would leak from one into another).  There is no io, os.execute, debug, ffi,
-- jit, package, bytecode or newproxy.
local M = {}

-- Tables that only look empty: no script may put something in them behind their metatable's back.
local guarded = setmetatable({}, { __mode = "k" })

local function copy(from, names)
  local to = {}
  for name in names:gmatch("%S+") do to[name] = from[name] end
  return to
end

--- A table that reads from t and can not be changed.
-- @param call function or nil, what calling it does
function M.read_only(name, t, call)
  local proxy = setmetatable({}, {
    __index = t,
    __newindex = function(_, key)
      error(("%s.%s can not be set: it is read-only"):format(name, tostring(key)), 2)
    end,
    __call = call,
    __metatable = "locked",
  })
  guarded[proxy] = true
  return proxy
end

local read_only = M.read_only

-- The message handler runs after unwinding: in Lua's own xpcall an endless handler can not be stopped.
local function safe_xpcall(fn, handler, ...)
  local function finish(ok, ...)
    if ok then return true, ... end
    return false, handler((...))
  end
  return finish(pcall(fn, ...))
end

-- Chunks of text only, in the site's own environment unless the caller gives one.
local function text_loader(compile, env)
  return function(chunk, name, mode, given)
    if type(chunk) == "function" then
      local parts = {}
      for part in chunk do
        if type(part) ~= "string" then error("load: the function must return strings", 2) end
        if part == "" then break end
        parts[#parts + 1] = part
      end
      chunk = table.concat(parts)
    end
    if mode == "b" then return nil, "bytecode can not be loaded" end
    if given == nil then given = env end
    if type(given) ~= "table" then error("load: the environment must be a table", 2) end
    return compile(chunk, name or "=(load)", given)
  end
end

local function guarded_rawset(t, key, value)
  if guarded[t] then error("rawset: this table is read-only, and globals are set by assignment", 2) end
  return rawset(t, key, value)
end

-- The coroutine of a request is resumed by the core alone, so no script may get hold of it: for
-- scripts, only coroutines that they made themselves are coroutines.
local function own_coroutines(to)
  local own, create, wrap, running = setmetatable({}, { __mode = "k" }), coroutine.create,
                                     coroutine.wrap, coroutine.running
  function to.create(fn)
    local co = create(fn)
    own[co] = true
    return co
  end
  function to.wrap(fn)
    if type(fn) ~= "function" then error("coroutine.wrap: a function is expected", 2) end
    return wrap(function(...)
      own[running()] = true
      return fn(...)
    end)
  end
  function to.running()
    local co = running()
    return own[co] and co or nil
  end
  return to
end

local function collect(what)
  if what ~= nil and what ~= "count" then error('collectgarbage: only "count" is allowed', 2) end
  return collectgarbage("count")
end

local function get_metatable(value)
  if type(value) == "string" then return "locked" end
  return getmetatable(value)
end

local base = "assert error ipairs next pairs pcall rawequal rawget select setmetatable tonumber "
    .. "tostring type unpack"
local strings = "byte char find format gmatch gsub len lower match rep reverse sub upper"
local coroutines = "isyieldable resume status yield"

--- Makes the environment.
-- @param core table the core's functions
-- @param log function(message) for print
-- @return env, globals (what env answers from), lock (function: no more globals from now on)
function M.new(core, log)
  local globals = copy(_G, base)
  local env, locked = {}, false

  globals._G = env
  globals._VERSION = _VERSION
  globals.getmetatable = get_metatable
  globals.xpcall = safe_xpcall
  globals.rawset = guarded_rawset
  guarded[env] = true
  globals.collectgarbage = collect
  globals.string = read_only("string", copy(string, strings))
  globals.table = read_only("table", table)
  globals.math = read_only("math", math)
  globals.bit = read_only("bit", require "bit")
  globals.coroutine = read_only("coroutine", own_coroutines(copy(coroutine, coroutines)))
  globals.os = read_only("os", { time = os.time, date = os.date, clock = os.clock, difftime = os.difftime })
  globals.load = text_loader(core.compile, env)
  globals.loadstring = globals.load
  globals.print = function(...)
    local parts = {}
    for i = 1, select("#", ...) do parts[i] = tostring((select(i, ...))) end
    log(table.concat(parts, "\t"))
  end

  setmetatable(globals, { __index = function(_, name)
    error(('undefined global "%s"'):format(tostring(name)), 2)
  end })
  setmetatable(env, {
    __index = globals,
    __newindex = function(_, name, value)
      if locked then
        error(('global "%s" can not be set: globals are read-only once the site is loaded')
              :format(tostring(name)), 2)
      end
      rawset(globals, name, value)
    end,
    __metatable = "locked",
  })
  return env, globals, function() locked = true end
end

return M
