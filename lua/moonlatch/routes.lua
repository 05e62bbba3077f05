--- gw.use, gw.group, gw.route and gw.mount: collects what the site says, then links it.
--
-- Linking comes after the whole site was read, so the order of files does not matter: a gw.use
-- counts for routes above it too, and a route may name an upstream that is defined below it.
local chain = require "moonlatch.chain"
local core = require "moonlatch.core"
local handler = require "moonlatch.handler"
local middleware = require "moonlatch.middleware"
local options = require "moonlatch.options"
local pace = require "moonlatch.pace"
local where = require "moonlatch.where"

local Routes = {}
Routes.__index = Routes

Routes.options = {
  to = { "string", optional = true },
  respond = { "any", optional = true },
  host = { "string", optional = true },
  header = { "table", optional = true },
  query = { "table", optional = true },
  timeout = { "seconds", optional = true, min = 0.001, unit = "seconds" },
  listener = { "string", optional = true },
  websocket = { "boolean", default = false },
  websocket_idle_timeout = { "seconds", optional = true, min = 0.001, unit = "seconds" },
  name = { "string", optional = true, min = 1, max = 100 },
}
Routes.group_options = { host = Routes.options.host }

function Routes.new(loader)
  local root = { prefix = "", middlewares = {} }
  return setmetatable({ loader = loader, root = root, scope = root, scopes = {}, list = {}, needed = {},
                        listeners = {} }, Routes)
end

-- The list part of a table, and the rest.
local function split(t)
  local list, rest = {}, {}
  for i, value in ipairs(t) do list[i] = value end
  for key, value in pairs(t) do
    if not list[key] then rest[key] = value end
  end
  return list, rest
end

local function append(middlewares, list, line)
  for _, entry in ipairs(list) do
    middlewares[#middlewares + 1] = { entry = entry, line = line }
  end
end

--- gw.use { "name", { "name", option = value }, function(req, next) ... end }
function Routes:use(list)
  local line = where.line()
  if type(list) ~= "table" then where.fail("gw.use: a list of middlewares is expected", line) end
  local entries, rest = split(list)
  local stray = next(rest)
  if stray ~= nil then
    where.fail(('gw.use: "%s" is no entry of a list; options go in { "name", %s = ... }')
               :format(tostring(stray), tostring(stray)), line)
  end
  append(self.scope.middlewares, entries, line)
end

--- What gw.listen says: a name, and the middlewares of that listener alone.
function Routes:listen(name, list, line)
  if self.listeners[name] then
    where.fail(('gw.listen: there is a listener "%s" already'):format(name), line)
  end
  local middlewares = {}
  append(middlewares, list, line)
  self.listeners[name] = { middlewares = middlewares }
end

--- gw.group("/prefix", { middlewares..., host = "..." }, function() routes end)
function Routes:group(prefix, opts, body)
  local line = where.line()
  if type(opts) == "function" then opts, body = {}, opts end
  if type(prefix) ~= "string" or (prefix ~= "" and not prefix:find("^/.*[^/]$")) then
    where.fail('gw.group: the prefix must be "" or begin and not end with "/"', line)
  end
  if type(opts) ~= "table" or type(body) ~= "function" then
    where.fail("gw.group(prefix, { middlewares and options }, function() ... end)", line)
  end
  local list, rest = split(opts)
  local conf, wrong = options.check(Routes.group_options, rest)
  if not conf then where.fail("gw.group: " .. wrong, line) end
  local outer = self.scope
  self.scope = { prefix = outer.prefix .. prefix, middlewares = {}, outer = outer,
                 host = conf.host or outer.host }
  self.scopes[#self.scopes + 1] = self.scope
  append(self.scope.middlewares, list, line)
  local ok, problem = pcall(body)
  self.scope = outer
  if not ok then error(problem, 0) end
end

local function methods_of(text, line)
  local methods = {}
  for method in (text .. "|"):gmatch("([^|]*)|") do
    if method ~= "*" and not method:find("^[%w!#$%%&'*+.^_`~-]+$") then
      where.fail(('gw.route: "%s" is no method'):format(method), line)
    elseif method:find("%l") then -- RFC 9110 section 9.1: another method than the one in capitals
      where.fail(('gw.route: the method "%s" is written in capitals: "%s"'):format(method,
                 method:upper()), line)
    end
    methods[#methods + 1] = method
  end
  return methods
end

local function add_conditions(list, given, query, line)
  local names = {}
  for name in pairs(given or {}) do
    if type(name) ~= "string" then
      where.fail('gw.route: conditions are written { name = "value" } or { name = true }', line)
    end
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local value = given[name]
    if value ~= true and type(value) ~= "string" then
      where.fail(('gw.route: the condition on "%s" must be a string, or true for "is there"')
                 :format(name), line)
    end
    list[#list + 1] = { query = query, name = name, value = value ~= true and value or nil }
  end
end

local function destinations(conf, line)
  if (conf.to == nil) == (conf.respond == nil) then
    where.fail("gw.route: exactly one of to= and respond= is needed", line)
  end
end

--- gw.route("GET|POST /path/:id", { middlewares..., to = "upstream" | respond = function(req) })
function Routes:route(pattern, opts)
  local line = where.line()
  if type(pattern) ~= "string" then where.fail("gw.route: the pattern must be a string", line) end
  local methods, path = pattern:match("^(%S+)%s+(%S+)$")
  if not methods then
    where.fail(('gw.route: "%s" is not "METHOD /path"'):format(pattern), line)
  end
  if type(opts) == "function" then opts = { respond = opts } end
  if type(opts) ~= "table" then where.fail("gw.route: a table with to= or respond= is expected", line) end
  local list, rest = split(opts)
  local conf, wrong = options.check(Routes.options, rest)
  if not conf then where.fail("gw.route: " .. wrong, line) end
  destinations(conf, line)
  local conditions = {}
  add_conditions(conditions, conf.header, false, line)
  add_conditions(conditions, conf.query, true, line)
  local middlewares = {}
  append(middlewares, list, line)
  self.list[#self.list + 1] = {
    methods = methods_of(methods, line), pattern = self.scope.prefix .. path, line = line,
    host = conf.host or self.scope.host, conditions = conditions, conf = conf,
    middlewares = middlewares, scope = self.scope,
  }
end

--- gw.mount("health", { path = "/health" }): a module of lua/routes, or routes of the site's lib/.
function Routes:mount(name, opts)
  local line = where.line()
  if type(name) ~= "string" or not core.embedded("routes/" .. name .. ".lua") then
    where.fail(('gw.mount: unknown route module "%s"'):format(tostring(name)), line)
  end
  local module = require("routes." .. name)
  local conf, wrong = options.check(module.config, opts)
  if not conf then where.fail(('gw.mount("%s"): %s'):format(name, wrong), line) end
  local function need(upstream)
    self.needed[#self.needed + 1] = { upstream = upstream, line = line }
  end
  local ok, problem = pcall(module.mount, conf, need)
  if ok then return end
  problem = where.without_ours(problem)
  where.fail(problem:sub(1, #line + 2) == line .. ": " and problem:sub(#line + 3)
             or ('gw.mount("%s"): %s'):format(name, problem), line)
end

-- ---- linking ----

function Routes:steps_of(scope)
  if not scope.steps then
    scope.steps = {}
    if scope.outer then
      for i, step in ipairs(self:steps_of(scope.outer)) do scope.steps[i] = step end
    end
    self:resolve(scope.middlewares, scope.steps)
  end
  return scope.steps
end

function Routes:resolve(middlewares, steps)
  for _, m in ipairs(middlewares) do
    steps[#steps + 1] = middleware.resolve(m.entry, self.loader, m.line)
  end
end

local function upstream_named(upstreams, name, line)
  return upstreams[name] or
      where.fail(('unknown upstream "%s"%s'):format(name, options.hint(name, upstreams)), line)
end

-- The function, and what a trace calls it.
local function handler_of(route, upstreams)
  local conf = route.conf
  if conf.respond ~= nil then
    return handler.respond(conf.respond, route.line),
           type(conf.respond) == "function" and where.of_function(conf.respond) or route.line
  end
  return handler.forward(upstream_named(upstreams, conf.to, route.line), conf), "upstream:" .. conf.to
end

-- What `why` tells of the steps of a chain.
local function tell_steps(index, chains)
  for _, one in ipairs(chains) do core.chain_steps(index, one.listener, one.steps) end
end

local function add(route, fn, timed, chains, by_index)
  for _, method in ipairs(route.methods) do
    local index, wrong, twin = core.route { method = method, pattern = route.pattern, host = route.host,
                                            line = route.line, conditions = route.conditions,
                                            name = route.conf.name }
    if not index then
      local other = twin >= 0 and by_index[twin]
      where.fail(('gw.route("%s %s"): %s%s'):format(method, route.pattern, wrong,
                 other and " (the other one is at " .. other.line .. ")" or ""), route.line)
    end
    by_index[index] = route
    if core.explaining then route.indexes = route.indexes or {}; route.indexes[index] = method end
    core.chain(index, fn, timed)
    tell_steps(index, chains)
  end
end

-- Fields that the policies around everything promise for all answers, for those that no chain makes.
local function always(steps)
  local fields = {}
  for _, step in ipairs(steps) do
    for _, field in ipairs(step.always or {}) do fields[#fields + 1] = field end
  end
  return fields
end

-- Routes that are bound to one listener do not exist on the others.
local function elsewhere(req)
  return core.adopt(core.error(404, "not_found", "No route for " .. req.method .. " " .. req.path))
end

-- One function out of several: the one of the request's listener, or the usual one.
local function by_listener(usual, special)
  if not usual or not next(special) then return usual end
  return function(req) return (special[req.listener] or usual)(req) end
end

-- Links steps and fn; around them the middlewares of the listeners that have some.
-- @param only the name of the listener that fn is for; nil: all
-- @return the chain, the one that takes the time or nil, the list of all chains { listener or nil, steps }
function Routes:link_one(steps, fn, label, only)
  local other = only and elsewhere or fn
  local linked, timed, chains = {}, {}, { { steps = steps } }
  for name, listener in pairs(self.listeners) do
    local inner = (only == nil or only == name) and fn or elsewhere
    if inner ~= other or #listener.steps > 0 then
      local all = { unpack(listener.steps) }
      for _, step in ipairs(steps) do all[#all + 1] = step end
      linked[name] = chain.link(all, inner, label)
      timed[name] = chain.timed(all, inner) or linked[name]
      chains[#chains + 1] = { listener = name, steps = all }
    end
  end
  return by_listener(chain.link(steps, other, label), linked),
         by_listener(chain.timed(steps, other), timed), chains
end

function Routes:link_listeners(seen)
  for _, listener in pairs(self.listeners) do
    listener.steps = {}
    self:resolve(listener.middlewares, listener.steps)
    pace.check(listener.steps, seen)
  end
  for _, route in ipairs(self.list) do
    local name = route.conf.listener
    if name and not self.listeners[name] then
      where.fail(('gw.route: there is no listener "%s"%s'):format(name, options.hint(name, self.listeners)),
                 route.line)
    end
  end
end

--- Builds the chain of each route and gives it to the core's router.
-- @param upstreams table name -> { index, hash }
function Routes:link(upstreams)
  local by_index, seen = {}, {}
  self:link_listeners(seen)
  for _, route in ipairs(self.list) do
    local steps = { unpack(self:steps_of(route.scope)) }
    self:resolve(route.middlewares, steps)
    pace.check(steps, seen)
    local fn, label = handler_of(route, upstreams)
    local linked, timed, chains = self:link_one(steps, fn, label, route.conf.listener)
    if core.explaining then route.label, route.chains = label, chains end
    add(route, linked, timed, chains, by_index)
  end
  for _, need in ipairs(self.needed) do upstream_named(upstreams, need.upstream, need.line) end
  for _, scope in ipairs(self.scopes) do self:steps_of(scope) end -- also of groups without routes
  local root = self:steps_of(self.root)
  local linked, timed, chains = self:link_one(root, handler.unmatched, "core:unmatched")
  if core.explaining then self.by_index, self.unmatched_chains = by_index, chains end
  core.chain(nil, linked, timed)
  tell_steps(nil, chains)
  core.always(always(self:steps_of(self.root)))
end

return Routes
