--- Which lines of a site ran in its tests: a table, a file for lcov, and a least percentage.
--
--   moonlatch test . --coverage=text,lcov:coverage.info,min:80        MOONLATCH_COVERAGE=... busted
--
-- text      a table of files with their percentage and the lines that did not run; also without a word
-- lcov:FILE the counters of each line, as genhtml and editors read them
-- shipped   the policies and route modules that are shipped count too
-- min:N     the run fails below N per cent
--
-- All files of the sites that were loaded from directories count, also those that no test used.  Lines are
-- those that have code of their own (LuaJIT's bytecode says which), without ones that only close a block.
local native = require "moonlatch.test_native"
local util = require "jit.util"

local Coverage = {}
Coverage.__index = Coverage

local M = {}

-- ---- what is wanted ----

local words = {}
function words.text(c) c.text = true end
function words.shipped(c) c.shipped = true end
function words.lcov(c, value)
  if value == "" then return "lcov needs the name of a file: lcov:FILE" end
  c.lcov = value
end
function words.min(c, value)
  c.min = tonumber(value)
  if not c.min or c.min < 0 or c.min > 100 then return "min needs a percentage: min:80" end
end

--- Begins to count.
-- @param wanted text, or nil for nothing at all
-- @return coverage or nil | nil, what is wrong
function M.start(wanted)
  if not wanted then return nil end
  local self = setmetatable({}, Coverage)
  for word in wanted:gmatch("[^,]+") do
    local name, value = word:match("^%s*(%a+):?(.-)%s*$")
    local set = words[name]
    if not set then return nil, ("%q is none of text, lcov:FILE, shipped, min:PERCENT"):format(word) end
    local wrong = set(self, value)
    if wrong then return nil, wrong end
  end
  self.text = self.text or not self.lcov
  local relative = self.lcov and not self.lcov:find("^/")
  if relative then self.lcov = require("lfs").currentdir() .. "/" .. self.lcov end
  self.first = native.cover_start()
  return self
end

-- ---- which lines have code ----

local function add_lines(proto, lines)
  local info = util.funcinfo(proto)
  for pc = 1, info.bytecodes - 1 do
    local line = util.funcinfo(proto, pc).currentline
    if line and line > 0 then lines[line] = true end
  end
  for i = -1, -info.gcconsts, -1 do
    local constant = util.funck(proto, i)
    if type(constant) == "proto" then add_lines(constant, lines) end
  end
end

-- A line such as "end)" or "else": its code runs, or not, with what is before it.
local function only_closes(text)
  text = text:gsub("%-%-.*$", ""):gsub("%f[%w_]end%f[^%w_]", ""):gsub("%f[%w_]else%f[^%w_]", "")
  return not text:find("[^%s%)%]},;]")
end

local function lines_of(source, name)
  local chunk = loadstring(source, "@" .. name)
  if not chunk then return {} end -- the site does not load either
  local lines, list, number = {}, {}, 0
  add_lines(chunk, lines)
  for text in (source .. "\n"):gmatch("([^\n]*)\n") do
    number = number + 1
    if lines[number] and not only_closes(text) then list[#list + 1] = number end
  end
  return list
end

-- ---- reports ----

local function read(path)
  if path:find("^lua/") then return native.embedded(path) end
  local f = io.open(path, "rb")
  if not f then return nil end
  local text = f:read("*a")
  f:close()
  return text
end

local function within(path, dir)
  return path:sub(1, #dir + 1) == dir .. "/" and path:sub(#dir + 2) or path
end

-- { path, name, lines, hits, ran } of each file, by name
function Coverage:files()
  local list, cwd = {}, require("lfs").currentdir()
  for path, hits in pairs(native.cover_lines()) do
    local source = (self.shipped or not path:find("^lua/")) and read(path)
    if source then
      local file = { path = path, name = within(path, cwd), hits = hits, ran = 0 }
      file.lines = lines_of(source, path)
      for _, line in ipairs(file.lines) do
        if hits[line] then file.ran = file.ran + 1 end
      end
      list[#list + 1] = file
    end
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

local function percent(ran, all) return all == 0 and 100 or 100 * ran / all end

-- "3-5 9": the lines that did not run; those between two of them that have no code join them.
local function missed(file)
  local parts, first, last = {}, nil, nil
  local function close()
    if first then parts[#parts + 1] = first == last and tostring(first) or first .. "-" .. last end
    first = nil
  end
  for _, line in ipairs(file.lines) do
    if file.hits[line] then close() else first, last = first or line, line end
  end
  close()
  return table.concat(parts, " ")
end

local function sums(files)
  local ran, all = 0, 0
  for _, file in ipairs(files) do ran, all = ran + file.ran, all + #file.lines end
  return ran, all
end

local function table_of(files)
  local width = #"file"
  for _, file in ipairs(files) do width = math.max(width, #file.name) end
  local form = "%-" .. width .. "s  %5s  %5s  %6s%s\n"
  local out = { form:format("file", "lines", "ran", "%", "  missed") }
  for _, file in ipairs(files) do
    local gaps = missed(file)
    out[#out + 1] = form:format(file.name, #file.lines, file.ran,
      ("%.1f"):format(percent(file.ran, #file.lines)), gaps ~= "" and "  " .. gaps or "")
  end
  local ran, all = sums(files)
  out[#out + 1] = form:format("all", all, ran, ("%.1f"):format(percent(ran, all)), "")
  return table.concat(out)
end

-- The format of lcov: geninfo(1).
local function lcov_of(files)
  local out = {}
  for _, file in ipairs(files) do
    out[#out + 1] = "TN:\nSF:" .. file.path .. "\n"
    for _, line in ipairs(file.lines) do out[#out + 1] = ("DA:%d,%d\n"):format(line, file.hits[line] or 0) end
    out[#out + 1] = ("LF:%d\nLH:%d\nend_of_record\n"):format(#file.lines, file.ran)
  end
  return table.concat(out)
end

local function write(path, text)
  local f, why = io.open(path, "wb")
  if not f then return nil, why end
  f:write(text)
  return f:close()
end

--- Writes the reports.
-- @param out file for the table
-- @return whether there is as much as was asked for
function Coverage:finish(out)
  local files = self:files()
  local ran, all = sums(files)
  local enough = not self.min or percent(ran, all) >= self.min
  if self.text then out:write("\n", table_of(files)) end
  if self.lcov then
    local ok, why = write(self.lcov, lcov_of(files))
    if not ok then
      io.stderr:write("coverage: ", why, "\n")
      enough = false
    end
  end
  if not enough and self.min then
    io.stderr:write(("coverage: %.1f %% is less than %s %%\n"):format(percent(ran, all), self.min))
  end
  out:flush()
  return enough
end

--- For plain busted: $MOONLATCH_COVERAGE, once per process, reported at its end.
function M.of_environment()
  local wanted = os.getenv("MOONLATCH_COVERAGE")
  if not wanted or wanted == "" or package.preload["moonlatch.notices"] then return end -- test_main reads it
  local self, wrong = M.start(wanted)
  if wrong then error("MOONLATCH_COVERAGE: " .. wrong, 0) end
  local ok, busted = pcall(require, "busted")
  if not self.first or not ok or not busted.subscribe then return end
  busted.subscribe({ "exit" }, function()
    if not self:finish(io.stdout) then os.exit(1, true) end
    return nil, true
  end)
end

return M
