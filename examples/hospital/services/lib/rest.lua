--- A REST resource over a shared dict: list with paging, get, create, update, delete.
--
-- Items live as JSON under their id in gw.shared(name), so all workers see the same and a reload
-- keeps them.  Ids are <letter><number>, given in order.
local gw = require "moonlatch"

local M = {}

--- The error answer of all services: { success = false, error = { code, message } }.
function M.fail(status, code, message, details)
  return gw.response(status, { success = false,
                               error = { code = code, message = message, details = details } })
end

-- The first complaint about item, or nil.  partial: absent fields are fine (PATCH).
local function complaint(fields, item, partial)
  for name, rule in pairs(fields) do
    local value = item[name]
    if value == nil then
      if rule.required and not partial then return name .. " is required" end
    elseif type(value) ~= rule.type then
      return name .. " must be a " .. rule.type
    elseif rule.one_of and not rule.one_of[value] then
      return name .. " has an unknown value"
    end
  end
end

local function read_item(req, fields, partial)
  local item, err = req:json()
  if type(item) ~= "table" then
    return nil, M.fail(400, "INVALID_JSON", err or "The body must be a JSON object")
  end
  local wrong = complaint(fields, item, partial)
  if wrong then return nil, M.fail(400, "VALIDATION_ERROR", wrong) end
  local known = {}
  for name in pairs(fields) do known[name] = item[name] end
  return known
end

local function seed(store, letter, items)
  if not store:add("seeded", true) then return end
  for i, item in ipairs(items) do
    item.id = letter .. i
    store:set(item.id, gw.json.encode(item))
  end
  store:incr("last", #items)
end

local function matches(item, args, fields)
  for name in pairs(fields) do
    if args[name] ~= nil and tostring(item[name]) ~= args[name] then return false end
  end
  return true
end

local function integer(text, default, min, max)
  local n = math.floor(tonumber(text) or default)
  return math.max(min, math.min(max, n))
end

--- Adds the routes of a resource.
-- @param prefix string "/api/doctors"
-- @param def table { name = dict, letter = of ids, fields = { name = { type=, required=, one_of= } },
--   seed = items }
function M.resource(prefix, def)
  local store = gw.shared(def.name)
  local fields = def.fields

  local function ready() seed(store, def.letter, def.seed) end
  local function find(id)
    local text = store:get(id)
    return text and id:sub(1, #def.letter) == def.letter and gw.json.decode(text) or nil
  end
  local function missing(id) return M.fail(404, "NOT_FOUND", def.name .. " " .. id .. " not found") end

  local function list(req)
    ready()
    local args, found = req.args, {}
    for n = 1, store:get("last") or 0 do
      local item = find(def.letter .. n)
      if item and matches(item, args, fields) then found[#found + 1] = item end
    end
    local limit, page = integer(args.limit, 10, 1, 100), integer(args.page, 1, 1, 1e6)
    local slice = gw.json.array {}
    for i = (page - 1) * limit + 1, math.min(page * limit, #found) do slice[#slice + 1] = found[i] end
    return gw.response(200, { success = true, data = slice, pagination = {
      page = page, limit = limit, total = #found, totalPages = math.ceil(#found / limit) } })
  end

  local function get(req)
    ready()
    local item = find(req.params.id)
    if not item then return missing(req.params.id) end
    return gw.response(200, { success = true, data = item })
  end

  local function create(req)
    ready()
    local item, refusal = read_item(req, fields, false)
    if not item then return refusal end
    item.id = def.letter .. string.format("%d", store:incr("last", 1))
    store:set(item.id, gw.json.encode(item))
    return gw.response(201, { success = true, data = item }, { location = prefix .. "/" .. item.id })
  end

  local function update(req, partial)
    ready()
    local old = find(req.params.id)
    if not old then return missing(req.params.id) end
    local item, refusal = read_item(req, fields, partial)
    if not item then return refusal end
    if partial then
      for name, value in pairs(item) do old[name] = value end
      item = old
    end
    item.id = req.params.id
    store:set(item.id, gw.json.encode(item))
    return gw.response(200, { success = true, data = item })
  end

  local function delete(req)
    ready()
    if not find(req.params.id) then return missing(req.params.id) end
    store:delete(req.params.id)
    return gw.response(204)
  end

  gw.route("GET " .. prefix, { respond = list })
  gw.route("POST " .. prefix, { respond = create })
  gw.route("GET " .. prefix .. "/:id", { respond = get })
  gw.route("PUT " .. prefix .. "/:id", { respond = function(req) return update(req, false) end })
  gw.route("PATCH " .. prefix .. "/:id", { respond = function(req) return update(req, true) end })
  gw.route("DELETE " .. prefix .. "/:id", { respond = delete })
end

return M
