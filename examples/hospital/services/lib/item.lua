--- Reads what a client sends as an item, and says what is wrong with it.
local reply = require "lib.reply"

local M = {}

local function complaint(rule, value)
  if value == nil then return rule.required and "is required" or nil end
  if type(value) ~= rule.type then return "must be a " .. rule.type end
  if rule.one_of and not rule.one_of[value] then return "has an unknown value" end
end

-- Complaints about the fields, in the order of their names.  partial: fields may be missing.
local function complaints(fields, item, partial)
  local list = {}
  for name, rule in pairs(fields) do
    local wrong = not (partial and item[name] == nil) and complaint(rule, item[name])
    if wrong then list[#list + 1] = { field = name, message = wrong } end
  end
  table.sort(list, function(a, b) return a.field < b.field end)
  return list
end

local function only_known(fields, item)
  local known = {}
  for name in pairs(fields) do known[name] = item[name] end
  return known
end

-- The body as a JSON object, or nil and a refusal.
local function object(req)
  local value, err = req:json()
  if err == "too_large" then return nil, reply.fail(413, "TOO_LARGE", "The body is too large") end
  if err then return nil, reply.fail(400, "BAD_JSON", "The body is not valid JSON") end
  if type(value) ~= "table" or value[1] ~= nil then
    return nil, reply.fail(422, "VALIDATION", "The body must be a JSON object")
  end
  return value
end

--- The item in the body of req: only the known fields.
-- @param fields table name -> { type=, required=, one_of= }
-- @param partial boolean: what is missing stays as it is (PATCH)
-- @return item, or nil and the response that refuses it
function M.read(req, fields, partial)
  local item, refusal = object(req)
  if not item then return nil, refusal end
  local wrong = complaints(fields, item, partial)
  if wrong[1] then
    return nil, reply.fail(422, "VALIDATION", wrong[1].field .. " " .. wrong[1].message, wrong)
  end
  return only_known(fields, item)
end

return M
