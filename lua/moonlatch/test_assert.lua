--- assert.response(res).has.status(401), .has.header("X-A", "1"), .has.json { a = 1 }
local M = {}

local KEY = "moonlatch response"

local function described(res)
  local body = #res.body > 300 and res.body:sub(1, 300) .. "..." or res.body
  local ok, who = pcall(function() return res.decided_by end) -- a real program does not tell
  return ("%s, decided by %s, body: %s"):format(res.status, ok and who or "?", body)
end

local function complain(arguments, text, res)
  arguments[1] = text .. "\nThe answer: " .. described(res)
  arguments.n, arguments.nofmt = 1, { true }
end

local function response_of(state)
  local res = rawget(state, KEY)
  local above = rawget(state, "parent") or rawget(state, "__parent")
  if res == nil and above then return response_of(above) end
  return res or error("assert.response(res) comes first", 0)
end

local function status(state, arguments)
  local res, wanted = response_of(state), arguments[1]
  complain(arguments, ("status %s"):format(tostring(wanted)), res)
  return res.status == wanted
end

local function header(state, arguments)
  local res, name, wanted = response_of(state), arguments[1], arguments[2]
  local value = res.headers[name]
  complain(arguments, ("header %s%s; it is %s"):format(name, wanted and ": " .. tostring(wanted) or "",
           value == nil and "not there" or value), res)
  if wanted == nil then return value ~= nil end
  return value == tostring(wanted)
end

local function json(state, arguments)
  local res, wanted = response_of(state), arguments[1]
  local same = require("luassert.util").deepcompare(res.json, wanted, true)
  complain(arguments, "JSON " .. require("moonlatch.test_native").json_encode(wanted), res)
  return same
end

local function response(state, arguments)
  local res = arguments[1]
  if type(res) ~= "table" or type(res.status) ~= "number" then
    error("assert.response: an answer is expected, not " .. tostring(res), 3)
  end
  rawset(state, KEY, res)
  return state
end

--- Adds them when luassert is there.
function M.install()
  local ok, assert = pcall(require, "luassert")
  if not ok then return end
  local say = require "say"
  assert:register("modifier", "response", response)
  for name, check in pairs { status = status, header = header, json = json } do
    say:set("assertion.response." .. name .. ".positive", "Expected %s")
    say:set("assertion.response." .. name .. ".negative", "Not expected: %s")
    assert:register("assertion", name, check, "assertion.response." .. name .. ".positive",
                    "assertion.response." .. name .. ".negative")
  end
end

return M
