--- The one table of the script API, in tools/api/*.lua: docs/reference.md and the type stubs that
-- `moonlatch init` writes are made of it, and spec/tools/api_spec.lua compares it with the real objects.
--
-- Adding to the API: add the entry here too, run `make docs`, commit what it wrote.  An entry is a signature
-- as LuaCATS writes it and one sentence:
--
--   { "sleep(seconds: seconds)", "Waits.", waits = true },          a function of a table: gw.sleep
--   { ":incr(key: string, by?: number = 1): number?, string?", "Adds.", errors = { "full" } },       a method
--   { "id: string", "The request id.", set = true },                a field, here one that may be assigned
--   { "timeout: seconds = 10", "Of the whole request." },           an option with its default; `?` optional
--
-- Marks: waits (other requests run meanwhile), load (only while the site is loaded), set, errors (codes of
-- `nil, code`), since ("0.1.0" unless given).
--
-- A class: { class =, doc =, members = {} } and what it is:
--   name, probe    an object: its name in examples; an expression that gives one in a script, for the spec
--   when           "request": probe needs one; "load" otherwise.  kit: it belongs to moonlatch.test
--   computed       its fields are not in its metatable, so the spec does not ask for them
--   internal       set of names that the kit keeps for itself
--   options        a table that scripts write; schema: where its rules are, see the spec.   data: one they read
--   call           what calling it does.   index, list: type of other members, of elements.   extends: a class
-- An alias: { alias =, type =, doc = }.
local M = {}

M.files = { "gw", "messages", "objects", "parts", "site", "kit" }

local closing = { ["("] = ")", ["{"] = "}", ["["] = "]", ["<"] = ">" }

-- Position of the first of the characters outside of brackets and quotes, or nil.
local function find_outside(text, chars, from)
  local open, quoted = {}, false
  for i = from or 1, #text do
    local c = text:sub(i, i)
    if c == '"' then
      quoted = not quoted
    elseif not quoted then
      if #open == 0 and chars:find(c, 1, true) then return i end
      if closing[c] then
        open[#open + 1] = closing[c]
      elseif c == open[#open] then
        open[#open] = nil
      elseif (")}]>"):find(c, 1, true) then
        error("a bracket too much: " .. text, 0)
      end
    end
  end
  if #open > 0 or quoted then error("an open bracket or quote: " .. text, 0) end
end

-- The parts between commas.
local function parts_of(text)
  local list, from = {}, 1
  while text:find("%S", from) do
    local comma = find_outside(text, ",", from)
    list[#list + 1] = text:sub(from, (comma or #text + 1) - 1):match("^%s*(.-)%s*$")
    from = (comma or #text) + 1
  end
  return list
end

-- "name?: type = default"
local function variable(text)
  local name, mark, rest = text:match("^([%w_.]+)(%??)%s*:%s*(.+)$")
  if not name then error("a name and a type are expected: " .. text, 0) end
  local equals = find_outside(rest, "=")
  local default = equals and rest:sub(equals + 1):match("^%s*(.-)%s*$")
  local of = (equals and rest:sub(1, equals - 1) or rest):match("^(.-)%s*$")
  local question = of:sub(-1) == "?" and not of:find("^fun%(") and not of:find("|fun%(")
  local optional = mark == "?" or question or of:find("|nil$") ~= nil or default ~= nil
  return { name = name, type = of, optional = optional, default = default }
end

-- "(a: x, b?: y): r, s" -> params, returns
local function signature(text)
  local close = find_outside(text, ")", 2)
  if text:sub(1, 1) ~= "(" or not close then error("parameters are expected: " .. text, 0) end
  local params, tail = parts_of(text:sub(2, close - 1)), text:sub(close + 1)
  for i, each in ipairs(params) do params[i] = variable(each) end
  local returns = tail:match("^%s*:%s*(.+)$")
  if not returns and tail:find("%S") then error("a colon and results are expected: " .. text, 0) end
  return params, returns and parts_of(returns) or {}
end

local function read_member(entry)
  local text, member = entry[1], { text = entry[1], doc = entry[2], waits = entry.waits, load = entry.load,
                                   set = entry.set, errors = entry.errors, since = entry.since or "0.1.0" }
  if type(text) ~= "string" or type(member.doc) ~= "string" then
    error("an entry is a signature and a sentence: " .. tostring(text), 0)
  end
  local colon, name, rest = text:match("^(:?)([%a_][%w_]*)(%(.*)$")
  if name then
    member.name, member.kind = name, colon == ":" and "method" or "function"
    member.params, member.returns = signature(rest)
  else
    local v = variable(text)
    member.name, member.kind, member.type, member.default = v.name, "field", v.type, v.default
    member.optional = v.optional
  end
  return member
end

local function read_class(class)
  class.by_name = {}
  for i, entry in ipairs(class.members or {}) do
    local ok, member = pcall(read_member, entry)
    if not ok then error(("%s: %s: %s"):format(class.class, tostring(entry[1]), member), 0) end
    if class.by_name[member.name] then error(class.class .. "." .. member.name .. " is there twice", 0) end
    class.members[i], class.by_name[member.name] = member, member
  end
  if class.call then
    local params, returns = signature(class.call[1])
    class.call = { params = params, returns = returns, text = class.call[1], doc = class.call[2] }
  end
  return class
end

--- The classes and aliases, in their order, with their entries taken apart.
-- @param root of the checkout
function M.load(root)
  local list, seen = {}, {}
  for _, name in ipairs(M.files) do
    for _, item in ipairs(assert(dofile(root .. "/tools/api/" .. name .. ".lua"))) do
      local id = item.class or item.alias
      if seen[id] then error(id .. " is there twice", 0) end
      seen[id] = true
      list[#list + 1] = item.class and read_class(item) or item
    end
  end
  return list
end

return M
