--- What luassert says of answers:
--
--   assert.response(res).has.status(401)
--   assert.response(res).has.header("X-A")                has it       .has.header("X-A", "1")      is that
--   assert.response(res).has.json()                       is JSON      .has.json { a = 1 }          is that
--   assert.response(res).has.json("items[1].id")          has a value there, .has.json("a.b", 1)    is that
--   assert.response(res).has.body("text")
--
-- and has_not, has.no, is_not before each of them.  A failure shows what was found, and the answer.
local M = {}

local KEY = "moonlatch response"
local BODY_MAX = 300

-- ---- messages ----

local function encoded(value)
  local text = require("moonlatch.test_native").json_encode(value)
  return text or tostring(value)
end

local function described(res)
  local body = #res.body > BODY_MAX and res.body:sub(1, BODY_MAX) .. "..." or res.body
  local ok, who = pcall(function() return res.decided_by end) -- a real program does not tell
  return ("%s, decided by %s, body: %s"):format(res.status, ok and who or "?", body)
end

-- Both kinds of sentence have one place for a text.
local function complain(arguments, wanted, found, res)
  arguments[1] = ("%s\nFound: %s\nThe answer: %s"):format(wanted, found, described(res))
  arguments.n, arguments.nofmt = 1, { true }
end

-- ---- the answer that a chain of words is about ----

local function response_of(state)
  local res = rawget(state, KEY)
  local above = rawget(state, "parent") or rawget(state, "__parent")
  if res == nil and above then return response_of(above) end
  return res or error("assert.response(res) comes first", 0)
end

local function response(state, arguments)
  local res = arguments[1]
  if type(res) ~= "table" or type(res.status) ~= "number" then
    local why = res == nil and arguments[2] and (" (%s)"):format(tostring(arguments[2])) or ""
    error("assert.response: an answer is expected, not " .. tostring(res) .. why, 3)
  end
  rawset(state, KEY, res)
  return state
end

-- ---- what can be asked ----

local checks = {}

function checks.status(state, arguments)
  local res, wanted = response_of(state), arguments[1]
  if type(wanted) ~= "number" then error("status: a number is expected", 0) end
  complain(arguments, ("status %d"):format(wanted), ("status %d"):format(res.status), res)
  return res.status == wanted
end

local function names_of(headers)
  local names = {}
  for name in pairs(headers) do names[#names + 1] = name end
  table.sort(names)
  return table.concat(names, ", ")
end

function checks.header(state, arguments)
  local res, name, wanted = response_of(state), arguments[1], arguments[2]
  if type(name) ~= "string" then error("header: the name is a string", 0) end
  local value = res.headers[name]
  local found = value and name .. ": " .. value or "no such header among " .. names_of(res.headers)
  complain(arguments, "header " .. name .. (wanted ~= nil and ": " .. tostring(wanted) or ""), found, res)
  if wanted == nil then return value ~= nil end
  return value == tostring(wanted)
end

-- "items[2].id" -> the value there; nil when there is none
local function at(value, path)
  for key, index in path:gmatch("([^.%[%]]*)%[?(%d*)%]?%.?") do
    if key ~= "" then
      if type(value) ~= "table" then return nil end
      value = value[key]
    end
    if index ~= "" then
      if type(value) ~= "table" then return nil end
      value = value[tonumber(index)]
    end
  end
  return value
end

local function same(a, b)
  return (require("luassert.util").deepcompare(a, b, true))
end

local function json_of(res)
  local ok, value = pcall(function() return res.json end)
  if not ok or value == nil then return nil, "a body that is no JSON" end
  return value
end

function checks.json(state, arguments)
  local res, given, count = response_of(state), arguments[1], arguments.n
  local value, broken = json_of(res)
  if count == 0 then
    complain(arguments, "a body of JSON", broken or encoded(value), res)
    return not broken
  end
  if type(given) ~= "string" then
    complain(arguments, "JSON " .. encoded(given), broken or encoded(value), res)
    return not broken and same(value, given)
  end
  local found, wanted = at(value, given), arguments[2]
  local shown = broken or found == nil and "nothing there" or encoded(found)
  if count == 1 then
    complain(arguments, ("JSON with a value at %s"):format(given), shown, res)
    return found ~= nil
  end
  complain(arguments, ("JSON with %s at %s"):format(encoded(wanted), given), shown, res)
  return found ~= nil and same(found, wanted)
end

function checks.body(state, arguments)
  local res, wanted = response_of(state), arguments[1]
  if type(wanted) ~= "string" then error("body: a string is expected", 0) end
  complain(arguments, "the body " .. wanted, res.body, res)
  return res.body == wanted
end

--- Adds them when luassert is there.
function M.install()
  local ok, assert = pcall(require, "luassert")
  if not ok then return end
  local say = require "say"
  assert:register("modifier", "response", response)
  for name, check in pairs(checks) do
    say:set("assertion.response." .. name .. ".positive", "Expected %s")
    say:set("assertion.response." .. name .. ".negative", "Not expected: %s")
    assert:register("assertion", name, check, "assertion.response." .. name .. ".positive",
                    "assertion.response." .. name .. ".negative")
  end
end

return M
