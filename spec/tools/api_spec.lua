-- tools/api.lua, docs/reference.md, the type stubs of `moonlatch init` and the real objects agree.  Whoever adds to the
-- script API adds an entry to tools/api/*.lua and runs `make docs`.
local t = require "moonlatch.test"
local annotations = dofile "spec/support/annotations.lua"

local items = dofile("tools/api.lua").load "."

local function read(path)
  local f = io.open(path, "rb")
  if not f then return nil end
  local text = f:read("*a")
  f:close()
  return text
end

-- ---- what an object has ----

-- Runs in the site too, as text: names and kinds of the members that an object finds in its metatable.
local members_of = [[
local function note(found, index)
  for name, value in pairs(index) do
    if type(name) == "string" and name:sub(1, 2) ~= "__" and found[name] == nil then
      found[name] = type(value) == "function" and "function" or "field"
    end
  end
end

-- A dummy with the metatable whose methods have one of that name.
local function registered(method)
  for _, meta in pairs(debug.getregistry()) do
    local index = type(meta) == "table" and rawget(meta, "__index")
    if type(index) == "function" then index = select(2, debug.getupvalue(index, 2)) end
    if type(index) == "table" and rawget(index, method) then
      local dummy = {}
      debug.setmetatable(dummy, meta)
      return dummy
    end
  end
end

local function members_of(x)
  local found, meta = {}, debug.getmetatable(x)
  if type(x) == "table" and not meta then note(found, x) end
  while meta do
    local index = meta.__index
    meta = nil
    if type(index) == "table" then
      note(found, index)
      meta = debug.getmetatable(index)
    elseif type(index) == "function" then
      for i = 1, 20 do -- a C function has its members in an upvalue, and so have those of the kit
        local name, value = debug.getupvalue(index, i)
        if not name then break end
        if type(value) == "table" and name ~= "commands" then
          local names = {}
          note(names, value)
          for key in pairs(names) do found[key] = found[key] or (name == "views" or name == "lazy") and "field" or names[key] end
        end
      end
    end
  end
  return found
end
]]

local function probes(when)
  local lines = {}
  for _, item in ipairs(items) do
    if item.probe and not item.kit and (item.when or "load") == when then
      lines[#lines + 1] = ("  found[%q] = members_of(%s)"):format(item.class, item.probe)
    end
  end
  return table.concat(lines, "\n")
end

local function real_objects()
  local app = t.load { ["gateway.lua"] = [[
    local gw = require "moonlatch"
    gw.settings { unsafe_files = { "lib/probe.lua" } }
    gw.listen { port = 8080 }
    local probe = require "lib.probe"
    gw.use { function(req, next) local res = next() probe(req, res) return res end }
    gw.route("GET /", { respond = function() return gw.response(200, probe(nil)) end })
  ]], ["lib/probe.lua"] = members_of .. [[
    local gw = require "moonlatch"
    local found = {}
]] .. probes "load" .. [[

    return function(req, res)
      if not req then return found end
]] .. probes "request" .. [[

    end
  ]] }
  app:get "/"                  -- the first answer is looked at when it is made already
  return app:get("/").json
end

local function kit_objects()
  local policy = t.policy("request_id", {})
  local app = policy.app
  local pending = app:send { path = "/" }
  local echo = t.load { ["gateway.lua"] = [[
    local gw = require "moonlatch"
    gw.listen { port = 8080 }
    gw.route("GET /", { respond = gw.websocket({}, function(ws) ws:receive() end) })
  ]] }
  local env = setmetatable({ t = t, app = app, policy = policy, pending = pending, answer = pending:wait(),
                             socket = assert(echo:ws "/") }, { __index = _G })
  local look, found = loadstring(members_of .. " return members_of")(), {}
  for _, item in ipairs(items) do
    if item.kit then found[item.class] = look(setfenv(loadstring("return " .. item.probe), env)()) end
  end
  return found, env
end

local function sorted(set)
  local names = {}
  for name in pairs(set) do names[#names + 1] = name end
  table.sort(names)
  return names
end

-- What of the real members has no entry, or one of another kind.
local function without_entry(class, found)
  local wrong = {}
  for _, name in ipairs(sorted(found)) do
    local entry = class.by_name[name]
    local kind = entry and (entry.kind == "field" and "field" or "function")
    local hidden = class.internal and class.internal[name]
    if not hidden and (not entry or found[name] == "function" and kind ~= "function") then
      wrong[#wrong + 1] = ("%s.%s is not in tools/api/*.lua"):format(class.name, name)
    end
  end
  return wrong
end

local function not_real(class, found)
  local wrong = {}
  for _, entry in ipairs(class.members) do
    local is = found[entry.name] or class.computed and entry.kind == "field" and "field"
    if not is or entry.kind ~= "field" and is ~= "function" then
      wrong[#wrong + 1] = ("tools/api/*.lua has %s.%s, which does not exist"):format(class.name, entry.name)
    end
  end
  return wrong
end

describe("the table of the script API", function()
  it("has every member of the real objects, and no other", function()
    local real, wrong = real_objects(), {}
    for _, item in ipairs(items) do
      if item.probe and not item.kit then
        local found = assert(real[item.class], item.class .. " could not be looked at")
        for _, list in ipairs { without_entry(item, found), not_real(item, found) } do
          for _, text in ipairs(list) do wrong[#wrong + 1] = text end
        end
      end
    end
    assert.equal("", table.concat(wrong, "\n"))
  end)

  it("has what the testing kit can do", function()
    if not t.simulated then return end
    local real, env = kit_objects()
    local wrong = {}
    for _, item in ipairs(items) do
      if item.kit then
        for _, text in ipairs(without_entry(item, real[item.class])) do wrong[#wrong + 1] = text end
        local object = setfenv(loadstring("return " .. item.probe), env)()
        for _, entry in ipairs(item.members) do
          local is = real[item.class][entry.name] or rawget(object, entry.name) ~= nil and "field"
          if not is and not entry.optional then wrong[#wrong + 1] = item.name .. "." .. entry.name .. " does not exist" end
        end
      end
    end
    assert.equal("", table.concat(wrong, "\n"))
  end)

  it("says something of each, in a sentence", function()
    for _, item in ipairs(items) do
      assert.truthy(item.doc and #item.doc > 3 and item.doc:find("%.$"), (item.class or item.alias) .. ": doc")
      for _, entry in ipairs(item.members or {}) do
        assert.truthy(entry.doc:find("^%S") and #entry.doc > 3, item.class .. "." .. entry.name .. ": doc")
      end
    end
  end)
end)

-- ---- options: the rules that a site is checked by ----

local fake = dofile "spec/support/core.lua"

local function schemas()
  fake.new {}
  local routes = require "moonlatch.routes"
  local all = { routes = { route = routes.options, group = routes.group_options } }
  return function(path)
    local file, rest = path:match("^([%w_]+)%.([%w_.]+)$")
    local schema = all[file] or require("moonlatch." .. file)
    for name in rest:gmatch("[^.]+") do schema = assert(schema[name], "there is no schema " .. path) end
    return schema
  end
end

local function show(value)
  return type(value) == "string" and ("%q"):format(value) or tostring(value)
end

describe("options in the table of the script API", function()
  it("are those that are checked, with the same defaults", function()
    local schema_of, wrong = schemas(), {}
    for _, item in ipairs(items) do
      local schema = item.schema and schema_of(item.schema)
      for name, rule in pairs(schema or {}) do
        local entry = item.by_name[name]
        if not entry then
          wrong[#wrong + 1] = ("%s: the option %s is not in tools/api/*.lua"):format(item.class, name)
        elseif rule.default == nil and not rule.optional and entry.optional then
          wrong[#wrong + 1] = ("%s.%s is needed"):format(item.class, name)
        elseif rule.default ~= nil and type(rule.default) ~= "table" and entry.default ~= show(rule.default) then
          wrong[#wrong + 1] = ("%s.%s has the default %s"):format(item.class, name, show(rule.default))
        end
      end
      for _, entry in ipairs(schema and item.members or {}) do
        if not schema[entry.name] then
          wrong[#wrong + 1] = ("%s has no option %s"):format(item.schema, entry.name)
        end
      end
    end
    assert.equal("", table.concat(wrong, "\n"))
  end)
end)

-- ---- what is made of it ----

describe("docs/reference.md", function()
  it("is up to date (make docs)", function()
    local text = dofile("tools/reference.lua").generate "."
    assert.is_true(text == read "docs/reference.md", "docs/reference.md is not what `make docs` makes")
  end)
end)

describe("the type stubs", function()
  local files = dofile("tools/stubs.lua").generate "."

  it("are up to date (make docs)", function()
    for name, text in pairs(files) do
      assert.is_true(text == read("lua/site/dot.types/" .. name), name .. " is not what `make docs` makes")
    end
  end)

  it("are Lua, with well-formed annotations of types that exist", function()
    for name, text in pairs(files) do assert(loadstring(text, "@" .. name)) end
    assert.same({}, annotations.complaints(files))
  end)

  it("notice what is wrong", function()
    local bad = { ["x.lua"] = "---@class A\n---@field x B\n---@param y\n---@nonsense\n---@return table<string\n" }
    assert.equal(4, #annotations.complaints(bad))
  end)
end)
