--- Options of middlewares, routes and of the site itself, checked against a schema.
--
-- A schema is a table of rules by option name.  A rule is a list of one or more type names, then
--   default = value    what counts when the option is missing; without it and without
--   optional = true    the option has to be given
--   min, max           of a number, or of the length of a string or list
--   one_of = { ... }   the values allowed
--   of = "type"        of each element of a list
--   unit = "seconds"   for the reader and for messages
--   doc = "..."        one sentence for the reader: docs/policies.md is made of these
--   check = function(value) -> nil or a sentence that says what is wrong
-- Types: string number integer boolean table list function any.  "list" is a table with the keys
-- 1..n; "port", "size" (bytes) and "seconds" are numbers that also come as text of digits, as they
-- do from the environment.
--
--   local conf, wrong = options.check({ max = { "integer", default = 10, min = 1 } }, { max = 0 })
--   --> nil, 'option "max" must be at least 1'
local M = {}

local function is_list(value)
  if type(value) ~= "table" then return false end
  local count = 0
  for key in pairs(value) do
    if type(key) ~= "number" then return false end
    count = count + 1
  end
  return count == #value
end

local function number_like(value)
  if type(value) == "string" and value:find("^%d+%.?%d*$") then return tonumber(value) end
  return type(value) == "number" and value or nil
end

local function is_integer(value)
  return type(value) == "number" and value % 1 == 0 and value > -2 ^ 53 and value < 2 ^ 53
end

-- name -> function(value): the value to use, or nil when it is not of this type
local types = {
  string = function(v) return type(v) == "string" and v or nil end,
  number = function(v) return type(v) == "number" and v == v and v or nil end,
  integer = function(v) return is_integer(v) and v or nil end,
  boolean = function(v) if type(v) == "boolean" then return v end end,
  table = function(v) return type(v) == "table" and v or nil end,
  list = function(v) return is_list(v) and v or nil end,
  ["function"] = function(v) return type(v) == "function" and v or nil end,
  any = function(v) return v end,
  port = function(v)
    v = number_like(v)
    return is_integer(v) and v >= 0 and v <= 65535 and v or nil
  end,
  size = function(v)
    v = number_like(v)
    return is_integer(v) and v >= 0 and v or nil
  end,
  seconds = function(v)
    v = number_like(v)
    return v and v >= 0 and v < math.huge and v or nil
  end,
}

local descriptions = {
  port = "port number (0 to 65535)", size = "number of bytes", seconds = "number of seconds",
  list = "list", any = "value",
}

local function describe(rule)
  local names = {}
  for i, name in ipairs(rule) do names[i] = descriptions[name] or name end
  local text = table.concat(names, " or ")
  return (text:find("^[aeiou]") and "an " or "a ") .. text
end

local function convert(rule, value)
  for _, name in ipairs(rule) do
    local kind = types[name] or error("schema: unknown type " .. tostring(name))
    local converted = kind(value)
    if converted ~= nil then return converted end
  end
end

local function show(value)
  if type(value) == "string" then return ("%q"):format(value) end
  return tostring(value)
end

-- A number says what is wrong with it; a text may be a secret.
local function kind_of(value)
  return type(value) == "number" and tostring(value) or type(value)
end

local function choices(list)
  local shown = {}
  for i, v in ipairs(list) do shown[i] = show(v) end
  return table.concat(shown, ", ")
end

local function one_of(list, value)
  for _, v in ipairs(list) do
    if v == value then return true end
  end
  return false
end

local function bound(rule, value)
  local size, what = value, ""
  if type(value) == "string" or type(value) == "table" then size, what = #value, "the length of it " end
  if type(size) ~= "number" then return end
  local unit = rule.unit and (" " .. rule.unit) or ""
  if rule.min and size < rule.min then return what .. "must be at least " .. rule.min .. unit end
  if rule.max and size > rule.max then return what .. "must be at most " .. rule.max .. unit end
end

-- The list with its elements converted | nil, what is wrong with one of them
local function elements(rule, list)
  local converted, kind = {}, { rule.of }
  for i, v in ipairs(list) do
    converted[i] = convert(kind, v)
    if converted[i] == nil then
      return nil, ("element %d must be %s, not %s"):format(i, describe(kind), kind_of(v))
    end
  end
  return converted
end

-- The first thing that is wrong with a converted value, or nil.
local function complaint(rule, value)
  if rule.one_of and not one_of(rule.one_of, value) then
    return "must be one of " .. choices(rule.one_of)
  end
  return bound(rule, value) or (rule.check and rule.check(value)) or nil
end

-- Who changes a default that he was given must not change it for others.
local function default_of(rule)
  if type(rule.default) ~= "table" then return rule.default end
  local copy = {}
  for key, value in pairs(rule.default) do copy[key] = value end
  return copy
end

local function check_one(name, rule, value)
  if value == nil then
    if rule.default ~= nil or rule.optional then return default_of(rule) end
    return nil, ('option "%s" is missing'):format(name)
  end
  local converted = convert(rule, value)
  if converted == nil then
    return nil, ('option "%s" must be %s, not %s'):format(name, describe(rule), kind_of(value))
  end
  local wrong
  if rule.of and type(converted) == "table" then converted, wrong = elements(rule, converted) end
  wrong = wrong or complaint(rule, converted)
  if wrong then return nil, ('option "%s" %s'):format(name, wrong) end
  return converted
end

local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local corner = row[0]
    row[0] = i
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      corner, row[j] = row[j], math.min(row[j] + 1, row[j - 1] + 1, corner + cost)
    end
  end
  return row[#b]
end

--- A hint at the known name that was probably meant: ' (did you mean "x"?)' or "".
function M.hint(name, known)
  local best, least = nil, 3
  for candidate in pairs(known) do
    local d = type(candidate) == "string" and distance(tostring(name), candidate) or least
    if d < least then best, least = candidate, d end
  end
  return best and (' (did you mean "%s"?)'):format(best) or ""
end

local function sorted(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  return keys
end

local properties = { default = true, optional = true, min = true, max = true, one_of = true,
                     of = true, unit = true, check = true, doc = true }

local function rule_complaint(name, rule)
  if type(rule) ~= "table" then
    return ('config.%s must be a rule like { "string", default = "x" }'):format(name)
  end
  if rule[1] == nil then return ("config.%s names no type"):format(name) end
  for key, value in pairs(rule) do
    if (type(key) == "number" or key == "of") and not types[value] then
      return ('config.%s has the unknown type "%s"%s'):format(name, tostring(value), M.hint(value, types))
    elseif type(key) ~= "number" and not properties[key] then
      return ('config.%s: unknown property "%s"%s'):format(name, tostring(key), M.hint(key, properties))
    end
  end
end

--- nil, or what is wrong with a schema: for those that a site writes itself.
function M.schema_complaint(schema)
  if type(schema) ~= "table" then return "config must be a table of rules" end
  for _, name in ipairs(sorted(schema)) do
    local wrong = rule_complaint(tostring(name), schema[name])
    if wrong then return wrong end
  end
end

--- Checks given against schema.
-- @param schema table name -> rule
-- @param given table or nil
-- @return table with the options and defaults | nil, what is wrong (one sentence)
function M.check(schema, given)
  local conf = {}
  if given ~= nil and type(given) ~= "table" then return nil, "options must be a table" end
  for _, name in ipairs(sorted(given or {})) do
    if schema[name] == nil then
      return nil, ('unknown option "%s"%s'):format(tostring(name), M.hint(name, schema))
    end
  end
  for _, name in ipairs(sorted(schema)) do
    local wrong
    conf[name], wrong = check_one(name, schema[name], given and given[name])
    if wrong then return nil, wrong end
  end
  return conf
end

return M
