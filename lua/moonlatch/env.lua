--- gw.env: values of the environment, read while the site is loaded.
--
--   gw.env("HOST", "0.0.0.0")          text, or the default
--   gw.env "JWT_SECRET"                obligatory: without it the site does not load
--   gw.env.number("PORT", 3100)   gw.env.boolean("METRICS", true)   gw.env.list("ORIGINS", {})
--
-- A variable that is set to nothing counts as not set, as it does in shells' ${NAME:-default}.
local core = require "moonlatch.core"
local sandbox = require "moonlatch.sandbox"
local where = require "moonlatch.where"

local M = {}

local function read(name)
  if type(name) ~= "string" or not name:find("^[%a_][%w_]*$") then
    where.fail("gw.env: " .. tostring(name) .. " is no name of a variable")
  end
  local value = core.getenv(name)
  return value ~= "" and value or nil
end

local function with_default(name, default, given)
  if given == 0 then where.fail(("the environment variable %s is not set"):format(name)) end
  return default
end

local function text(name, ...)
  local value = read(name)
  if value == nil then return with_default(name, (...), select("#", ...)) end
  return value
end

--- A number; text that is none is an error.
function M.number(name, ...)
  local value = read(name)
  if value == nil then return with_default(name, (...), select("#", ...)) end
  local number = tonumber(value)
  if not number or number ~= number then
    where.fail(("the environment variable %s must be a number, not %q"):format(name, value))
  end
  return number
end

local words = { ["true"] = true, ["1"] = true, yes = true, on = true,
                ["false"] = false, ["0"] = false, no = false, off = false }

--- true, 1, yes, on or false, 0, no, off.
function M.boolean(name, ...)
  local value = read(name)
  if value == nil then return with_default(name, (...), select("#", ...)) end
  local flag = words[value:lower()]
  if flag == nil then
    where.fail(("the environment variable %s must be true or false, not %q"):format(name, value))
  end
  return flag
end

--- The parts between commas, without outer white space; empty ones are left out.
function M.list(name, ...)
  local value = read(name)
  if value == nil then return with_default(name, (...), select("#", ...)) end
  local list = {}
  for part in value:gmatch("[^,]+") do
    part = part:match("^%s*(.-)%s*$")
    if part ~= "" then list[#list + 1] = part end
  end
  return list
end

return sandbox.read_only("gw.env", M, function(_, name, ...) return text(name, ...) end)
