--- Writes docs/reference.md out of tools/api.lua:
--
--   luajit tools/reference.lua > docs/reference.md        (or: make docs)
local M = {}

local head = [[
# Reference of the script API
Made of `tools/api.lua` by `make docs`; [script-api.md](script-api.md) explains with examples. Types are written as
lua-language-server reads them: `x?` may be nil, `a|b` is either. `seconds` and `bytes` are numbers. **W** waits: other
requests run meanwhile. **L** works only while the site is loaded. `nil, code` has the codes that are listed.
]]

local function cell(text) return (text:gsub("|", "\\|")) end

local function signature(owner, member)
  if member.kind == "field" then
    local default = member.default and " = " .. member.default or ""
    return ("%s.%s: %s%s"):format(owner, member.name, member.type, default)
  end
  return owner .. (member.kind == "method" and "" or ".") .. member.text
end

local function notes(member)
  local list = { member.doc }
  if member.set then list[#list + 1] = "May be assigned." end
  if member.errors then list[#list + 1] = "Codes: `" .. table.concat(member.errors, "` `") .. "`." end
  return table.concat(list, " ")
end

local function marks(member)
  return (member.waits and "**W**" or "") .. (member.load and "**L**" or "")
end

local function options(class)
  local lines = { "| option | type | default | | since |", "|---|---|---|---|---|" }
  for _, m in ipairs(class.members or {}) do
    local default = m.default and "`" .. m.default .. "`" or m.optional and "" or "**needed**"
    if class.data or m.kind ~= "field" then default = "" end
    local name = m.kind == "field" and m.name or m.text
    lines[#lines + 1] = ("| `%s` | %s | %s | %s | %s |"):format(cell(name),
      m.type and "`" .. cell(m.type) .. "`" or "", cell(default), cell(notes(m)), m.since)
  end
  return table.concat(lines, "\n")
end

local function members(class)
  local lines = { "| | | | since |", "|---|---|---|---|" }
  if class.call then
    lines[#lines + 1] = ("| `%s` | | %s | 0.1.0 |"):format(cell(class.name .. class.call.text), cell(class.call.doc))
  end
  for _, m in ipairs(class.members) do
    lines[#lines + 1] = ("| `%s` | %s | %s | %s |"):format(cell(signature(class.name, m)), marks(m),
      cell(notes(m)), m.since)
  end
  return table.concat(lines, "\n")
end

local function section(item)
  if item.alias then return ("## %s\n%s `%s`"):format(item.alias, item.doc, item.type) end
  local title = ("## %s\n%s"):format(item.name and item.name .. ", " .. item.class or item.class, item.doc)
  if item.extends then title = title .. " Also all of " .. item.extends .. "." end
  if item.list then title = ("%s Elements of the list: `%s`."):format(title, item.list) end
  if not item.members then return title end
  return title .. "\n\n" .. (item.name and members(item) or options(item))
end

--- The text of docs/reference.md.
function M.generate(root)
  local parts = { head }
  for _, item in ipairs(dofile(root .. "/tools/api.lua").load(root)) do parts[#parts + 1] = section(item) end
  return table.concat(parts, "\n\n"):gsub("\n\n\n+", "\n\n") .. "\n"
end

if arg and arg[0] and arg[0]:find("reference%.lua$") then io.write((M.generate("."))) end

return M
