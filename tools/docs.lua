--- Writes docs/policies.md: one section per file of lua/middleware, of its docstring and its M.config.
--
--   luajit tools/docs.lua > docs/policies.md        (or: make docs)
--
-- docs/compared/NAME.md, when there is one, follows the section of NAME.  The files are run without the
-- gateway: whatever they ask of it while they are read is answered by a dummy.
local M = {}

-- ---- reading ----

local function read(path)
  local f = io.open(path, "rb")
  if not f then return nil end
  local text = f:read("*a")
  f:close()
  return text
end

-- Any member of it, and what calling it gives, is a dummy again.
local function dummy()
  local it = {}
  return setmetatable(it, { __index = function() return it end, __call = function() return it end })
end

local function load_policy(root, file)
  local env = setmetatable({ require = function(name)
    if name == "moonlatch" or name == "moonlatch.core" then return dummy() end
    local path = root .. "/lua/" .. name:gsub("%.", "/") .. ".lua"
    local source = read(path)
    if not source then return require(name) end
    local chunk = assert(loadstring(source, "@" .. path))
    return setfenv(chunk, getfenv(2))()
  end }, { __index = _G })
  return setfenv(assert(loadstring(assert(read(file)), "@" .. file)), env)()
end

-- The comment that a file opens with, without its dashes.
local function docstring(source)
  local lines = {}
  for line in source:gmatch("([^\n]*)\n") do
    local text = line:match("^%-%-%- ?(.*)$") or line:match("^%-%- ?(.*)$")
    if not text then break end
    lines[#lines + 1] = text
  end
  return lines
end

-- ---- writing ----

-- Indented lines become blocks of code.
local function prose(lines)
  local out, block = {}, nil
  local function close()
    if not block then return end
    while block[#block] == "" do block[#block] = nil end
    local text = table.concat(block, "\n")
    out[#out + 1] = ("```%s\n%s\n```"):format(text:find("gw.", 1, true) and "lua" or "", text)
    block = nil
  end
  for _, line in ipairs(lines) do
    local code = line:match("^  (.*)$")
    if code or block and line == "" then
      block = block or {}
      block[#block + 1] = code or ""
    else
      if block then
        close()
        out[#out + 1] = ""
      end
      out[#out + 1] = line
    end
  end
  close()
  return table.concat(out, "\n")
end

local function keys_of(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  return keys
end

local function show(value)
  if type(value) == "string" then return ("%q"):format(value) end
  if type(value) ~= "table" then return tostring(value) end
  local parts = {}
  for i, v in ipairs(value) do parts[i] = show(v) end
  for _, key in ipairs(keys_of(value)) do
    if type(key) ~= "number" then parts[#parts + 1] = key .. " = " .. show(value[key]) end
  end
  return #parts == 0 and "{}" or "{ " .. table.concat(parts, ", ") .. " }"
end

local function type_of(rule)
  local names = {}
  for i, name in ipairs(rule) do names[i] = name end
  local text = table.concat(names, " or ")
  if rule.of then text = text .. " of " .. rule.of end
  if rule.unit and rule.unit ~= rule[1] then text = text .. ", " .. rule.unit end
  return text
end

local function default_of(rule)
  if rule.default ~= nil then return "`" .. show(rule.default) .. "`" end
  return rule.optional and "" or "**needed**"
end

local function range_of(rule)
  if rule.one_of then
    local shown = {}
    for i, value in ipairs(rule.one_of) do shown[i] = "`" .. show(value) .. "`" end
    return " One of " .. table.concat(shown, ", ") .. "."
  end
  local number = rule[1] ~= "list" and rule[1] ~= "string" and rule[1] ~= "table"
  if number and rule.min and rule.max then return (" From %s to %s."):format(rule.min, rule.max) end
  if number and rule.min then return (" At least %s."):format(rule.min) end
  if number and rule.max then return (" At most %s."):format(rule.max) end
  return ""
end

local function cell(text) return (text:gsub("|", "\\|"):gsub("\n", " ")) end

local function options(config)
  local lines = { "| option | type | default | |", "|---|---|---|---|" }
  for _, name in ipairs(keys_of(config)) do
    local rule = config[name]
    local text = cell((rule.doc or "") .. range_of(rule))
    lines[#lines + 1] = ("| `%s` | %s | %s | %s |"):format(name, type_of(rule), cell(default_of(rule)), text)
  end
  return table.concat(lines, "\n")
end

local function section(root, name)
  local file = root .. "/lua/middleware/" .. name .. ".lua"
  local policy, parts = load_policy(root, file), { "## " .. name }
  parts[#parts + 1] = prose(docstring(assert(read(file))))
  if policy.config and next(policy.config) then parts[#parts + 1] = options(policy.config) end
  local compared = read(root .. "/docs/compared/" .. name .. ".md")
  if compared then parts[#parts + 1] = (compared:gsub("%s+$", "")) end
  return table.concat(parts, "\n\n"), policy
end

local head = [[
# The policies that are shipped
This file is made of the files in `lua/middleware` by `make docs`. How a site lists policies, and in which
order they run, is in docs/site.md. A policy named like a file in the site's own `middleware/` is replaced
by that file.
Sizes are bytes, times are seconds.
]]

--- Names of the policies below root, in the order of the alphabet.
function M.names(root)
  local names, p = {}, io.popen("ls '" .. root .. "/lua/middleware'")
  for file in p:lines() do names[#names + 1] = file:match("^(.+)%.lua$") end
  p:close()
  table.sort(names)
  return names
end

--- The text of docs/policies.md, and a table name -> policy.
function M.generate(root)
  local sections, index, policies = {}, {}, {}
  for i, name in ipairs(M.names(root)) do
    sections[i], policies[name] = section(root, name)
    local first = docstring(read(root .. "/lua/middleware/" .. name .. ".lua"))[1]
    index[i] = ("- [%s](#%s): %s"):format(name, name, first)
  end
  local text = { head, table.concat(index, "\n"), "", table.concat(sections, "\n\n"), "" }
  return table.concat(text, "\n"), policies
end

if arg and arg[0] and arg[0]:find("docs%.lua$") then io.write((M.generate("."))) end

return M
