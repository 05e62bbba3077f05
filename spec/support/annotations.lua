--- A small checker of LuaCATS annotations: known tags, types that parse, names that are defined, and parameters that
-- are those of the function below.
local M = {}

local builtin = {}
for name in ("nil any boolean string number integer function table thread userdata true false self"):gmatch("%S+") do
  builtin[name] = true
end

-- ---- types: a | b, x[], x?, table<k, v>, fun(a: x, b?: y, ...: z): r, { a: x, b?: y }, "text", (a, b) ----

local Parser = {}
Parser.__index = Parser

function Parser:peek(pattern)
  return self.text:match("^%s*(" .. pattern .. ")", self.at)
end

function Parser:take(pattern)
  local from, to, token = self.text:find("^%s*(" .. pattern .. ")", self.at)
  if from then self.at = to + 1 end
  return token
end

function Parser:need(pattern, what)
  return self:take(pattern) or error(("%s is expected at %q"):format(what, self.text:sub(self.at)), 0)
end

function Parser:list(close)
  if self:take(close) then return end
  repeat self:type() until not self:take(",")
  self:need(close, close)
end

function Parser:parameters()
  self:need("%(", "(")
  if self:take("%)") then return end
  repeat
    if not self:take("%.%.%.") then
      self:need("[%a_][%w_]*", "a name")
      self:take("%?")
    end
    if self:take(":") then self:type() end
  until not self:take(",")
  self:need("%)", ")")
end

function Parser:record()
  if self:take("}") then return end
  repeat
    if self:take("%[") then
      self:type()
      self:need("%]", "]")
    else
      self:need("[%a_][%w_]*", "a name")
      self:take("%?")
    end
    self:need(":", ":")
    self:type()
  until not self:take(",")
  self:need("}", "}")
end

function Parser:atom()
  if self:take('"[^"]*"') or self:take("%d+") then return end
  if self:take("{") then return self:record() end
  if self:take("%(") then return self:list("%)") end
  local name = self:need("[%a_][%w_.]*", "a type")
  if name == "fun" then
    self:parameters()
    if self:take(":") then self:type() end
    return
  end
  self.names[#self.names + 1] = name
  if self:take("<") then self:list(">") end
end

function Parser:type()
  repeat
    self:atom()
    repeat until not (self:take("%[%]") or self:take("%?"))
  until not self:take("|")
end

-- A type at the begin of text: the names in it, and the rest.
local function parse(text)
  local p = setmetatable({ text = text, at = 1, names = {} }, Parser)
  p:type()
  return p.names, text:sub(p.at)
end

-- ---- files ----

local tags = {}

function tags.class(text)
  local name, parents = text:match("^([%w_.]+)%s*:?%s*(.*)$")
  assert(name, "a class needs a name")
  local names = {}
  for parent in parents:gmatch("[%w_.]+") do names[#names + 1] = parent end
  return names
end

function tags.field(text)
  local rest = text:match("^%[[^%]]+%]%s+(.+)$") or text:match("^[%a_][%w_]*%??%s+(.+)$")
  return (parse(assert(rest, "a field needs a name and a type")))
end

function tags.param(text)
  local rest = text:match("^%.%.%.%s+(.+)$") or text:match("^[%a_][%w_]*%??%s+(.+)$")
  return (parse(assert(rest, "a parameter needs a name and a type")))
end

tags["return"] = function(text) return (parse(text)) end
function tags.alias(text) return (parse(assert(text:match("^[%w_.]+%s+(.+)$"), "an alias needs a type"))) end
function tags.overload(text) return (parse(text)) end
function tags.meta() return {} end
function tags.diagnostic() return {} end

local function defined_in(files)
  local known = setmetatable({}, { __index = builtin })
  for _, text in pairs(files) do
    for name in text:gmatch("%-%-%-@class ([%w_.]+)") do known[name] = true end
    for name in text:gmatch("%-%-%-@alias ([%w_.]+)") do known[name] = true end
  end
  return known
end

local function check_line(line, known)
  local tag, text = line:match("^%-%-%-@(%w+)%s*(.*)$")
  if not tags[tag] then error("unknown tag", 0) end
  for _, name in ipairs(tags[tag](text)) do
    if not known[name] then error("there is no type " .. name, 0) end
  end
  return tag == "param" and text:match("^([%w_.]+)")
end

--- What is wrong with files (name -> text): "name:line: what".
function M.complaints(files)
  local list, known = {}, defined_in(files)
  for file, text in pairs(files) do
    local number, params = 0, {}
    local function complain(what) list[#list + 1] = ("%s:%d: %s"):format(file, number, what) end
    for line in (text .. "\n"):gmatch("([^\n]*)\n") do
      number = number + 1
      local given = line:match("^function [%w_.:]+%((.-)%) end$")
      if line:find("^%-%-%-@") then
        local ok, result = pcall(check_line, line, known)
        if not ok then complain(result) elseif result then params[#params + 1] = result end
      elseif given then
        if given ~= table.concat(params, ", ") then complain("parameters are annotated in another way") end
      end
      if not line:find("^%-%-%-") then params = {} end
    end
  end
  table.sort(list)
  return list
end

return M
