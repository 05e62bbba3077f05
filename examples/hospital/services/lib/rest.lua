--- A resource as a REST program: list with paging, get, create, replace, change, delete.
local gw = require "moonlatch"
local item = require "lib.item"
local reply = require "lib.reply"
local store = require "lib.store"

local M = {}

local LIMIT_DEFAULT, LIMIT_MAX = 10, 100

-- An argument of the query as a whole number from 1; nil when it is none.
local function counting(text, default)
  if text == nil then return default end
  local n = type(text) == "string" and #text <= 9 and tonumber(text:match("^%d+$"))
  return n and n >= 1 and n or nil
end

-- Does the item have what the query asks for (?status=open)?
local function matches(it, fields, args)
  for name in pairs(fields) do
    if args[name] ~= nil and tostring(it[name]) ~= args[name] then return false end
  end
  return true
end

local function page_of(items, page, limit)
  local slice = gw.json.array {}
  for i = (page - 1) * limit + 1, math.min(page * limit, #items) do slice[#slice + 1] = items[i] end
  return slice
end

local function list(items, fields, args)
  local page, limit = counting(args.page, 1), counting(args.limit, LIMIT_DEFAULT)
  if not page or not limit then
    return reply.fail(400, "BAD_PAGE", "page and limit must be whole numbers from 1")
  end
  limit = math.min(limit, LIMIT_MAX)
  local found = {}
  for _, it in ipairs(items:all()) do
    if matches(it, fields, args) then found[#found + 1] = it end
  end
  return reply.ok(200, page_of(found, page, limit), { pagination = {
    page = page, limit = limit, total = #found, totalPages = math.ceil(#found / limit) } })
end

-- The answer to a change that the store took, or did not.
local function stored(ok, err, status, it, headers)
  if ok then return reply.ok(status, it, nil, headers) end
  if err == "full" then return reply.fail(507, "FULL", "There are too many items") end
  return reply.fail(413, "TOO_LARGE", "The item is too large")
end

local function create(items, def, prefix, req)
  local it, refusal = item.read(req, def.fields, false)
  if not it then return refusal end
  local ok, err = items:add(it)
  return stored(ok, err, 201, it, { Location = ok and prefix .. "/" .. it.id })
end

local function change(items, def, old, req, partial)
  local it, refusal = item.read(req, def.fields, partial)
  if not it then return refusal end
  if partial then
    for name in pairs(def.fields) do
      if it[name] == nil then it[name] = old[name] end
    end
  end
  it.id = old.id
  local ok, err = items:set(it)
  return stored(ok, err, 200, it)
end

--- Adds the routes of a resource.
-- @param prefix string "/api/doctors"
-- @param def table { name = what one item is called, letter = of the ids,
--   fields = { name = { type=, required=, one_of= } }, start = list of items }
function M.resource(prefix, def)
  local items = store.new(def.name, def.letter, def.start)

  -- A route for one item; fn(item, req) is called when there is such an item.
  local function on_item(method, fn)
    gw.route(method .. " " .. prefix .. "/:id", { respond = function(req)
      local it = items:get(req.params.id)
      if not it then
        return reply.fail(404, "NOT_FOUND", ("%s %s not found"):format(def.name, req.params.id))
      end
      return fn(it, req)
    end })
  end

  gw.route("GET " .. prefix, { respond = function(req) return list(items, def.fields, req.args) end })
  gw.route("POST " .. prefix, { respond = function(req) return create(items, def, prefix, req) end })
  on_item("GET", function(it) return reply.ok(200, it) end)
  on_item("PUT", function(it, req) return change(items, def, it, req, false) end)
  on_item("PATCH", function(it, req) return change(items, def, it, req, true) end)
  on_item("DELETE", function(it)
    items:delete(it.id)
    return gw.response(204)
  end)
end

return M
