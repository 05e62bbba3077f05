--- Reads what the oracle's runner found (--json) and says which differences are meant:
--
--   luajit spec/oracle/judge.lua RESULT.json...
--
-- Prints a table by group and each difference that differences.lua does not explain; exit code 1 with any.
local cjson = require "cjson"

local here = arg[0]:match("^(.*/)") or "./"
local known = dofile(here .. "differences.lua")

local function read(path)
  local f = assert(io.open(path, "rb"))
  local text = f:read("*a")
  f:close()
  return cjson.decode(text)
end

local function fits(text, pattern)
  return text:find("^" .. pattern .. "$") ~= nil
end

local function explained(case, field)
  for _, row in ipairs(known.rows) do
    if fits(case, row.cases) and fits(field, row.field) then
      row.used = true
      return row
    end
  end
end

-- The differences of a case that nobody meant.
local function open_of(result)
  local open = {}
  for _, diff in ipairs(result.diffs) do
    if not explained(result.id, diff.field) then open[#open + 1] = diff end
  end
  return open
end

-- "same", "quirk" (the case itself says why the oracle is no example), "meant" or "open", and the open differences.
local function judge(result)
  if result.verdict == "same" then return "same", {} end
  if result.verdict == "error" then return "open", { { field = result.error, a = "", b = "" } } end
  if type(result.quirk) == "string" then return "quirk", {} end
  local open = open_of(result)
  return #open == 0 and "meant" or "open", open
end

local function short(value)
  local text = cjson.encode { value }:sub(2, -2)
  return #text > 120 and text:sub(1, 120) .. "..." or text
end

local columns = { "same", "meant", "quirk", "open" }
local counts, failed = {}, false

local function count(group, verdict)
  counts[group] = counts[group] or { same = 0, meant = 0, quirk = 0, open = 0 }
  counts[group][verdict] = counts[group][verdict] + 1
end

local wanted = {}
for _, group in ipairs(known.groups) do wanted[group] = true end

for _, path in ipairs(arg) do
  for _, result in ipairs(read(path).results) do
    if wanted[result.group] then
      local verdict, open = judge(result)
      count(result.group, verdict)
      count("all", verdict)
      for _, diff in ipairs(open) do
        failed = true
        print(("%s %s: %s\n  oracle %s\n  ours   %s"):format(result.profile, result.id, diff.field, short(diff.a),
                                                         short(diff.b)))
      end
    end
  end
end

local function line(name)
  local cells = { ("%-18s"):format(name) }
  for i, column in ipairs(columns) do cells[i + 1] = ("%7s"):format(counts[name] and counts[name][column] or column) end
  print(table.concat(cells))
end

line("group")
for _, group in ipairs(known.groups) do
  if counts[group] then line(group) end
end
if counts.all then line("all") end
os.exit(failed and 1 or 0)
