--- A small core for specs of lua/moonlatch: what C would do, as far as these modules can tell.
--
--   local core = fake.new { ["lib/x.lua"] = "return 1" }   -- fresh modules around a fresh core
--   local options = require "moonlatch.options"
--
-- It keeps what it was told (settings, listeners, groups, routes, chains, warnings) in fields.  The
-- modules are compiled under the names that they have inside of the program.
local M = {}

local function read(path)
  local f = io.open(path, "rb")
  if not f then return nil end
  local text = f:read("*a")
  f:close()
  return text
end

local function ours(name)
  return name:find("^moonlatch") or name:find("^middleware%.") or name:find("^routes%.")
end

local function forget_modules()
  for name in pairs(package.loaded) do
    if ours(name) then package.loaded[name] = nil end
  end
end

local function find_module(name)
  if not ours(name) then return "\n\tnot a part of the program" end
  local file = name:gsub("%.", "/")
  for _, path in ipairs { file .. ".lua", file .. "/init.lua" } do
    local text = read("lua/" .. path)
    if text then return assert(loadstring(text, "@lua/" .. path)) end
  end
  return "\n\tno file of the program: " .. file
end
table.insert(package.loaders, 1, find_module)

-- ---- what a request leaves in the core ----

local function exchange(core)
  function core.adopt(res)
    core.res = res
    return res
  end
  function core.responded() return core.res end
  function core.again()
    core.res = nil
    return core.req
  end
  function core.unmatched() return unpack(core.outcome) end
  function core.forward(req, index, opts)
    core.forwarded = { req = req, index = index, opts = opts }
    return core.adopt { status = 200, from = index }
  end
end

local function response(status, body, headers)
  return { status = status, body = body, headers = headers or {},
           set_header = function(self, name, value) self.headers[name:lower()] = value end }
end

-- An error is the caller's caller's, as when C raises it.
local function check_networks(list)
  for _, n in ipairs(list) do
    if not n:find("^[%x.:/]+$") then error(('"%s" is no address or network'):format(n), 3) end
  end
end

local function values(core)
  core.response = response
  function core.error(status, code, message) return response(status, { error = code, message = message }) end
  function core.redirect(url, status) return response(status or 302, nil, { location = url }) end
  function core.log(level, message, fields)
    core.logged[#core.logged + 1] = { level = level, message = message, fields = fields }
  end
  function core.getenv(name) return core.env[name] end
  function core.now() return 0 end
  function core.networks(list)
    check_networks(list)
    return { has = function() return #list > 0 end }
  end
  function core.ip_match(_, list)
    check_networks(list)
    return #list > 0
  end
end

-- ---- what a site says ----

local function declarations(core)
  function core.settings(conf) core.settings_given = conf end
  function core.listener(conf)
    core.listeners[#core.listeners + 1] = conf
    return core.refusal
  end
  function core.group(conf)
    core.groups[#core.groups + 1] = conf
    return core.refusal
  end
  function core.route(r)
    local key = r.method .. " " .. (r.host or "") .. r.pattern:gsub(":[%w_]+", ":")
    if core.by_key[key] then return nil, "there is a route like this already", core.by_key[key] end
    core.by_key[key] = #core.routes
    core.routes[#core.routes + 1] = r
    return core.by_key[key]
  end
  function core.step() return 1 end
  function core.enter() end
  function core.chain_steps() end
  function core.chain(index, fn)
    if index then core.chains[index] = fn else core.fallback = fn end
  end
  function core.always(fields) core.always_fields = fields end
  function core.warn(text) core.warnings[#core.warnings + 1] = text end
end

local function sources(core, files)
  function core.files()
    local names = {}
    for name in pairs(files) do names[#names + 1] = name end
    table.sort(names)
    return names
  end
  function core.source(name) return files[name] end
  function core.embedded(name) return read("lua/" .. name) end
  function core.site_dir() return "/site" end
  function core.compile(text, name, env)
    assert(type(env) == "table", "an environment is expected")
    if text:sub(1, 1) == "\27" then return nil, "attempt to load chunk with wrong mode" end
    local fn, wrong = loadstring(text, name)
    if not fn then return nil, wrong end
    return setfenv(fn, env)
  end
end

--- @param files table name -> text, the site
-- @param env table name -> value, the environment
function M.new(files, env)
  local core = { env = env or {}, logged = {}, listeners = {}, groups = {}, routes = {}, chains = {},
                 by_key = {}, warnings = {}, outcome = { "none" } }
  exchange(core)
  values(core)
  declarations(core)
  sources(core, files or {})
  forget_modules()
  package.loaded["moonlatch.core"] = core
  return core
end

--- A site as boot.lua makes it, up to the point where its files run.
-- @return core, loader, routes, gw, upstreams
function M.site(files, env)
  local core = M.new(files, env)
  local upstreams = { by_name = {}, closed = false }
  local loader = require("moonlatch.loader").new(function(message) core.log("info", message) end)
  local routes = require("moonlatch.routes").new(loader)
  local gw = require("moonlatch.init").new(loader, routes, upstreams)
  loader.loaded.moonlatch = gw
  package.loaded.moonlatch = gw
  return core, loader, routes, gw, upstreams
end

--- Loads a whole site as boot.lua does.
function M.load(files, env)
  local core, loader, routes, gw, upstreams = M.site(files, env)
  loader:run("gateway.lua")
  for _, file in ipairs(core.files()) do
    if file:find("^routes/.*%.lua$") then loader:run(file) end
  end
  routes:link(upstreams.by_name)
  loader:check_globals()
  upstreams.closed = true
  loader:lock()
  return core, loader, gw
end

return M
