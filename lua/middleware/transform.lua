--- Changes requests and responses on their way: headers, query, path, and fields of JSON bodies.
--
-- `request` and `response` are tables with `headers`, `json`, and for requests `query` and `path`. Of
-- headers, query and json each is a table of changes, made in this order whatever order they are written in:
-- `rename = { old = "new" }`, `remove = { "name" }`, `set = { name = value }` (replaces), and `add`
-- (headers: one more field; query: one more value; json: only where there is none). A value is a string
-- (in JSON anything), or function(req) that returns one, or nil for no change. JSON fields are named by
-- their way from the root, "user.address.city"; a step `*` is every element of a list, "users.*.ssn".
-- `path` is `{ strip = "/prefix", add = "/prefix" }`.
--
-- What `json` is to change it must understand, or a field that has to be removed could slip through: a
-- request whose body is not JSON is refused (415, 400 when it is malformed, 413 beyond `max_body`), a
-- JSON response that is malformed, compressed or too large becomes 502. Responses that are not JSON pass.
--
--   gw.group("/api", { { "transform",
--     request = { headers = { remove = { "X-Debug" } }, path = { strip = "/api", add = "/v2" } },
--     response = { json = { remove = { "password", "user.ssn" } }, headers = { set = { ["X-Api"] = "2" } } },
--   } }, function() gw.route("* /*rest", { to = "api" }) end)
local gw = require "moonlatch"

local M = { name = "transform" }

-- ---- options ----

local kinds = { rename = true, remove = true, set = true, add = true }

-- Ways to JSON fields end with a name; a new name is one of the same object.
local function name_ok(what, name, is_new)
  if what ~= "json" then return name ~= "" end
  return name:find("[^.]") and not name:find("%*$") and not (is_new and name:find("[.*]"))
end

local function entry_ok(what, kind, key, value)
  if kind == "remove" then
    return type(key) == "number" and type(value) == "string" and name_ok(what, value)
  end
  if type(key) ~= "string" or not name_ok(what, key) then return false end
  if kind == "rename" then return type(value) == "string" and name_ok(what, value, true) end
  return type(value) == "string" or type(value) == "function" or what == "json"
end

local function changes_complaint(what, changes)
  if type(changes) ~= "table" then return what .. " must be a table of changes" end
  for kind, list in pairs(changes) do
    if not kinds[kind] then return ('%s has the unknown change "%s"'):format(what, tostring(kind)) end
    if type(list) ~= "table" then return ("%s.%s must be a table"):format(what, kind) end
    for key, value in pairs(list) do
      if not entry_ok(what, kind, key, value) then
        return ("%s.%s has an entry that it can not have"):format(what, kind)
      end
    end
  end
end

local function path_complaint(path)
  if type(path) ~= "table" then return "path must be a table" end
  for key, value in pairs(path) do
    if key ~= "strip" and key ~= "add" then
      return ('path has the unknown change "%s"'):format(tostring(key))
    end
    if type(value) ~= "string" or not value:find("^/.*[^/]$") then
      return ('path.%s must begin with "/" and end without it'):format(key)
    end
  end
end

local function complaint(of_request)
  return function(side)
    for what, changes in pairs(side) do
      local wrong
      if what == "path" and of_request then
        wrong = path_complaint(changes)
      elseif what == "headers" or what == "json" or what == "query" and of_request then
        wrong = changes_complaint(what, changes)
      else
        wrong = ('has the unknown part "%s"'):format(tostring(what))
      end
      if wrong then return wrong end
    end
  end
end

M.config = {
  request = { "table", default = {}, check = complaint(true), doc = "Changes of `headers query path json`." },
  response = { "table", default = {}, check = complaint(false), doc = "Changes of `headers json`." },
  max_body = { "size", default = 1048576, max = 16777216, unit = "bytes",
    doc = "Largest body whose JSON is changed." },
}

-- ---- changes, to whatever has get, set, add and remove ----

local function sorted(t)
  local keys = {}
  for key in pairs(t or {}) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

-- The changes as a list of functions(target, req): their order is fixed at load time.
local function compile(changes)
  local steps = {}
  local function step(fn) steps[#steps + 1] = fn end
  local function value_of(value, req)
    if type(value) == "function" then return value(req) end
    return value
  end
  for _, old in ipairs(sorted(changes.rename)) do
    local new = changes.rename[old]
    step(function(target) target:rename(old, new) end)
  end
  for _, name in ipairs(changes.remove or {}) do
    step(function(target) target:remove(name) end)
  end
  for _, kind in ipairs { "set", "add" } do
    for _, name in ipairs(sorted(changes[kind])) do
      local value = changes[kind][name]
      step(function(target, req)
        local new = value_of(value, req)
        if new ~= nil then target[kind](target, name, new) end
      end)
    end
  end
  return steps
end

local function run(steps, target, req)
  for i = 1, #steps do steps[i](target, req) end
end

-- ---- headers ----

local Headers = {}
Headers.__index = Headers
function Headers:set(name, value) self.message:set_header(name, value) end
function Headers:add(name, value) self.message:add_header(name, value) end
function Headers:remove(name) self.message:remove_header(name) end
function Headers:rename(old, new)
  local values = self.message:header_values(old)
  if #values == 0 then return end
  self.message:remove_header(old)
  self.message:set_header(new, values)
end

-- ---- query: its pairs in their order, names compared without their escapes ----

local Query = {}
Query.__index = Query

local function query_of(text)
  local pairs_of = {}
  for pair in text:gmatch("[^&]+") do
    pairs_of[#pairs_of + 1] = { name = gw.url_decode(pair:match("^[^=]*")), text = pair }
  end
  return setmetatable({ list = pairs_of }, Query)
end

local function pair_of(name, value)
  return { name = name, text = gw.url_encode(name) .. "=" .. gw.url_encode(tostring(value)) }
end

function Query:remove(name)
  local kept = {}
  for _, pair in ipairs(self.list) do
    if pair.name ~= name then kept[#kept + 1] = pair end
  end
  self.list = kept
end
function Query:add(name, value) self.list[#self.list + 1] = pair_of(name, value) end
function Query:set(name, value)
  self:remove(name)
  self:add(name, value)
end
function Query:rename(old, new)
  for _, pair in ipairs(self.list) do
    if pair.name == old then
      pair.name, pair.text = new, gw.url_encode(new) .. (pair.text:match("=.*$") or "")
    end
  end
end
function Query:text()
  local parts = {}
  for i, pair in ipairs(self.list) do parts[i] = pair.text end
  return table.concat(parts, "&")
end

-- ---- JSON ----

local Json = {}
Json.__index = Json

local function steps_of(way)
  local steps = {}
  for step in way:gmatch("[^.]+") do steps[#steps + 1] = step end
  return steps
end

-- Calls act(object, key) at each end of a way; "*" is every element of a list and every field.
local function each(at, steps, i, make, act)
  if type(at) ~= "table" then return end
  local step, is_list = steps[i], getmetatable(at) ~= nil -- lists are marked by the reader of JSON
  if step == "*" then
    for _, value in pairs(at) do each(value, steps, i + 1, make, act) end
  elseif is_list then
    return
  elseif i == #steps then
    act(at, step)
  else
    if at[step] == nil and make then at[step] = {} end
    each(at[step], steps, i + 1, make, act)
  end
end

function Json:set(way, value)
  each(self.root, steps_of(way), 1, true, function(at, key) at[key] = value end)
end
function Json:add(way, value)
  each(self.root, steps_of(way), 1, true, function(at, key)
    if at[key] == nil then at[key] = value end
  end)
end
function Json:remove(way)
  each(self.root, steps_of(way), 1, false, function(at, key) at[key] = nil end)
end

-- The new name is one of the same object.
function Json:rename(old, new)
  each(self.root, steps_of(old), 1, false, function(at, key)
    if at[key] == nil then return end
    at[new], at[key] = at[key], nil
  end)
end

local function is_json(message)
  local kind = message:header("content-type")
  kind = kind and kind:lower():match("^%s*([^%s;]+)")
  return kind == "application/json" or kind ~= nil and kind:find("^application/[^/]*%+json$") ~= nil
end

local function encoded(message)
  local coding = message:header("content-encoding")
  return coding ~= nil and coding:lower() ~= "identity"
end

-- ---- the two sides ----

local failures = {
  too_large = { 413, "body_too_large", "The body is larger than this route takes" },
  body_too_large = { 413, "body_too_large", "The body is larger than this route takes" },
  malformed_json = { 400, "malformed_json", "The body is no JSON" },
}

local function has_body(req)
  local length = req:header("content-length")
  return length ~= nil and length ~= "0" or req:header("transfer-encoding") ~= nil
end

-- nil, or the answer to a request whose body can not be changed
local function change_request_json(req, steps, max)
  if not has_body(req) then return nil end
  if not is_json(req) or encoded(req) then
    return gw.error(415, "unsupported_media_type", "The body must be JSON")
  end
  local kind = req:header("content-type")
  local root, code = req:json { max = max }
  if root == nil then
    return gw.error(unpack(failures[code] or { 400, "bad_request", "The body did not come" }))
  end
  if type(root) ~= "table" then return nil end
  run(steps, setmetatable({ root = root }, Json), req)
  req:set_json(root)
  req:set_header("Content-Type", kind)
end

-- nil, or the answer in place of a response that can not be changed
local function change_response_json(res, steps, max, req)
  if not is_json(res) or req.method == "HEAD" or res.status == 204 or res.status == 304 then return nil end
  local kind = res:header("content-type")
  local root, code
  if not encoded(res) then root, code = res:json { max = max } else code = "encoded" end
  if root == nil then
    gw.log.error("transform: a response could not be changed", { reason = code })
    return gw.error(502, "transform_failed", "The answer could not be read")
  end
  if type(root) ~= "table" then return nil end
  run(steps, setmetatable({ root = root }, Json), req)
  res:set_json(root)
  res:set_header("Content-Type", kind)
end

local function new_path(path, change)
  local strip = change.strip
  if strip and (path == strip or path:sub(1, #strip + 1) == strip .. "/") then
    path = path:sub(#strip + 1)
    if path == "" then path = "/" end
  end
  return (change.add or "") .. path
end

local function compile_side(side)
  local steps = {}
  for _, what in ipairs { "headers", "query", "json" } do
    steps[what] = side[what] and compile(side[what])
  end
  return steps
end

-- Names and values that no message can have fail the load.
local function check_headers(side)
  local list = {}
  for kind, changes in pairs(side.headers or {}) do
    for key, value in pairs(changes) do
      list[#list + 1] = { kind == "remove" and value or key, type(value) == "string" and value or "" }
      if kind == "rename" then list[#list + 1] = { value, "" } end
    end
  end
  for _, field in ipairs(list) do gw.fields { field } end
end

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req, next) -> res
function M.new(conf)
  local ask, answer, max = compile_side(conf.request), compile_side(conf.response), conf.max_body
  local path = conf.request.path
  check_headers(conf.request)
  check_headers(conf.response)

  return function(req, next)
    if ask.json then
      local refused = change_request_json(req, ask.json, max)
      if refused then return refused end
    end
    if ask.headers then run(ask.headers, setmetatable({ message = req }, Headers), req) end
    if ask.query then
      local query = query_of(req.query)
      run(ask.query, query, req)
      req:set_query(query:text())
    end
    if path then req:set_path(new_path(req.path, path)) end
    if answer.json then req:set_header("Accept-Encoding", "identity") end
    local res = next()
    if answer.json then res = change_response_json(res, answer.json, max, req) or res end
    if answer.headers then run(answer.headers, setmetatable({ message = res }, Headers), req) end
    return res
  end
end

return M
