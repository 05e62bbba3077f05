--- Writes the type stubs of the script API for lua-language-server (LuaCATS), out of tools/api.lua and the
-- rules of the policies that are shipped:
--
--   luajit tools/stubs.lua lua/site/dot.types        (or: make docs)
local M = {}

local head = [[
---@meta moonlatch
--- Types of moonlatch's script API for lua-language-server; made by `moonlatch init`, never run.
---@diagnostic disable: lowercase-global, unused-local, missing-return
-- luacheck: ignore
]]

local function described(lines, item)
  lines[#lines + 1] = "--- " .. item.doc
  local notes = {}
  if item.waits then notes[#notes + 1] = "Waits." end
  if item.load then notes[#notes + 1] = "Only while the site is loaded." end
  if item.errors then notes[#notes + 1] = "Codes: " .. table.concat(item.errors, ", ") .. "." end
  if item.default then notes[#notes + 1] = "Default: `" .. item.default .. "`." end
  if #notes > 0 then lines[#lines + 1] = "--- " .. table.concat(notes, " ") end
end

local function optional_type(v)
  return v.type .. ((v.default or v.optional) and not v.type:find("%?$") and not v.type:find("|nil$") and "?" or "")
end

local function params_of(lines, params)
  local names = {}
  for i, p in ipairs(params) do
    names[i] = p.name
    lines[#lines + 1] = ("---@param %s%s %s"):format(p.name, p.optional and p.name ~= "..." and "?" or "", p.type)
  end
  return table.concat(names, ", ")
end

local function function_of(lines, owner, member)
  described(lines, member)
  local names = params_of(lines, member.params)
  for _, r in ipairs(member.returns) do lines[#lines + 1] = "---@return " .. r end
  local separator = member.kind == "method" and ":" or "."
  lines[#lines + 1] = ("function %s%s%s(%s) end"):format(owner, separator, member.name, names)
  lines[#lines + 1] = ""
end

-- "fun(a: x): r" of a signature, for ---@overload
local function overload(call)
  local params = {}
  for i, p in ipairs(call.params) do
    params[i] = ("%s%s: %s"):format(p.name, p.optional and p.name ~= "..." and "?" or "", p.type)
  end
  local returns = #call.returns > 0 and ": " .. table.concat(call.returns, ", ") or ""
  return ("fun(%s)%s"):format(table.concat(params, ", "), returns)
end

local function local_name(class) return (class:gsub("%.", "_")) end

local function class_of(lines, class)
  lines[#lines + 1] = "--- " .. class.doc
  lines[#lines + 1] = "---@class " .. class.class .. (class.extends and ": " .. class.extends or "")
  if class.call then lines[#lines + 1] = "---@overload " .. overload(class.call) end
  if class.list then lines[#lines + 1] = "---@field [integer] " .. class.list end
  if class.index then lines[#lines + 1] = "---@field [string] " .. class.index end
  for _, member in ipairs(class.members or {}) do
    if member.kind == "field" then
      local doc = member.default and ("%s Default: `%s`."):format(member.doc, member.default) or member.doc
      lines[#lines + 1] = ("---@field %s %s %s"):format(member.name, optional_type(member), doc)
    end
  end
  lines[#lines + 1] = ("local %s = {}"):format(local_name(class.class))
  lines[#lines + 1] = ""
  for _, member in ipairs(class.members or {}) do
    if member.kind ~= "field" then function_of(lines, local_name(class.class), member) end
  end
end

-- ---- policies: { "jwt", secret = ... } in lists of middlewares ----

local types = { list = "any[]", port = "integer", size = "bytes", ["function"] = "function" }

local function type_of(rule)
  local names = {}
  for i, name in ipairs(rule) do
    names[i] = name == "list" and rule.of and (types[rule.of] or rule.of) .. "[]" or types[name] or name
  end
  if #names == 1 and names[1] == "string" and rule.one_of then
    for i, value in ipairs(rule.one_of) do names[i] = ("%q"):format(value) end
  end
  local optional = rule.default ~= nil or rule.optional
  return (#names > 1 and optional and "(%s)" or "%s"):format(table.concat(names, "|")) .. (optional and "?" or "")
end

local function policy_of(lines, name, policy)
  lines[#lines + 1] = ("--- The policy %s and its options, see docs/policies.md."):format(name)
  lines[#lines + 1] = "---@class moonlatch.policy." .. name
  lines[#lines + 1] = ('---@field [1] "%s"'):format(name)
  local options = {}
  for option in pairs(policy.config or {}) do options[#options + 1] = option end
  table.sort(options)
  for _, option in ipairs(options) do
    local rule = policy.config[option]
    local doc = (rule.doc or ""):gsub("%s*\n%s*", " ")
    lines[#lines + 1] = ("---@field %s %s %s"):format(option, type_of(rule), doc)
  end
  lines[#lines + 1] = ""
end

-- The classes of all policies, and an alias for any of them.
local function policies(root)
  local docs, lines, all = dofile(root .. "/tools/docs.lua"), {}, {}
  local _, by_name = docs.generate(root)
  for _, name in ipairs(docs.names(root)) do
    policy_of(lines, name, by_name[name])
    all[#all + 1] = "moonlatch.policy." .. name
  end
  lines[#lines + 1] = "--- A policy that is shipped, with options."
  lines[#lines + 1] = "---@alias moonlatch.Policy " .. table.concat(all, "|")
  return table.concat(lines, "\n") .. "\n\n"
end

-- @param ends name of the class that the file returns
local function file(items, wanted, first, ends)
  local lines = { first }
  for _, item in ipairs(items) do
    local of_kit = (item.class or ""):find("^moonlatch%.test") ~= nil
    if of_kit == wanted then
      if item.alias then
        lines[#lines + 1] = "--- " .. item.doc
        lines[#lines + 1] = ("---@alias %s %s\n"):format(item.alias, item.type)
      else
        class_of(lines, item)
      end
    end
  end
  lines[#lines + 1] = "return " .. local_name(ends)
  return table.concat(lines, "\n") .. "\n"
end

--- The texts of the files in a site's .types folder, by name.
function M.generate(root)
  local items = dofile(root .. "/tools/api.lua").load(root)
  return {
    ["moonlatch.lua"] = file(items, false, head .. "\n" .. policies(root), "moonlatch"),
    ["moonlatch_test.lua"] = file(items, true, head:gsub("@meta moonlatch", "@meta moonlatch.test") .. "",
                                  "moonlatch.test"),
  }
end

if arg and arg[0] and arg[0]:find("stubs%.lua$") then
  for name, text in pairs(M.generate(".")) do
    local f = assert(io.open(arg[1] .. "/" .. name, "wb"))
    f:write(text)
    f:close()
  end
end

return M
