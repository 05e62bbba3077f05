--- `moonlatch test`: reads its command line and runs busted.
--
--   moonlatch test [-o NAME] [--output-file FILE] [--coverage[=WHAT]] DIR [options of busted, specs in DIR]
--
-- The result is the exit code of the program.
local PASSED, FAILED, USAGE, START = 0, 1, 2, 3

-- Options of busted that have a value, which may be the next word.
local with_value = {}
for name in ("-p --pattern --exclude-pattern -e -o --output -C --directory -f --config-file -t --tags "
             .. "--exclude-tags --filter --filter-out -m --lpath --cpath -r --run --repeat --seed --lang "
             .. "--loaders --helper -Xoutput -Xhelper --output-file --coverage-config-file --lua"
            ):gmatch("%S+") do
  with_value[name] = true
end

-- busted names its formats in one spelling only.
local formats = {}
for name in ("TAP junit json gtest plainTerminal utfTerminal"):gmatch("%S+") do
  formats[name:lower()] = name
end
local for_machines = { TAP = true, junit = true, json = true }

local function refuse(text)
  io.stderr:write("moonlatch: ", text, "\n\"moonlatch test --help\" explains.\n")
  return nil, USAGE
end

-- A word of the command line -> name of the option, its value or nil; nil for what is no option.
local function option_of(word)
  if not word:find("^%-.") then return nil end
  local name, value = word:match("^(%-%-[^=]+)=(.*)$")
  return name or word, value
end

-- { dir =, rest = {} for busted, format =, file =, coverage =, print = }, or nil, exit code
local function read(words)
  local found, i = { rest = {} }, 1
  while words[i] do
    local word = words[i]
    local name, value = option_of(word)
    local joined = value ~= nil or not with_value[name]
    if with_value[name] and not value then
      i = i + 1
      value = words[i]
      if value == nil then return refuse(name .. " needs a value") end
    end
    if name == "--output-file" then found.file = value
    elseif name == "-o" or name == "--output" then found.format = formats[value:lower()] or value
    elseif name == "--coverage" or name == "-c" then found.coverage = value or "text"
    elseif name == "--notices" or name == "--kit" then found.print = name
    elseif not name and not found.dir then found.dir = word
    else
      found.rest[#found.rest + 1] = word
      if not joined then found.rest[#found.rest + 1] = value end
    end
    i = i + 1
  end
  if not found.dir and not found.print then return refuse("the site's directory is missing") end
  return found
end

local function print_notices()
  local notices, names = require "moonlatch.notices", {}
  for name in pairs(notices) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    io.write("== ", name:match("([^/]+)/copyright$"), "\n", notices[name], "\n")
  end
  return PASSED
end

-- For plain busted: the core as a module.
local function print_kit()
  local path = os.getenv "MOONLATCH_KIT"
  if not path or path == "" then
    io.stderr:write("moonlatch: moonlatch_kit.so is not beside the program; $MOONLATCH_KIT may name it\n")
    return START
  end
  print(path)
  return PASSED
end

-- Everything that is printed from now on.
local function redirect(file)
  local ffi = require "ffi"
  ffi.cdef "void *freopen(const char *path, const char *mode, void *stream);"
  return ffi.C.freopen(file, "w", io.stdout) ~= nil
end

-- busted ends the process when it has failed; this ends only its run.
local Exit = {}

local function run_busted(words)
  local compatibility = require "busted.compatibility"
  compatibility.exit = function(code) error(setmetatable({ code = code }, Exit), 0) end
  _G.arg = words
  local ok, problem = xpcall(function() require "busted.runner" { standalone = false } end, function(problem)
    return getmetatable(problem) == Exit and problem or debug.traceback(tostring(problem), 2)
  end)
  if ok then return PASSED end
  if getmetatable(problem) == Exit then return problem.code == 0 and PASSED or FAILED end
  io.stderr:write("moonlatch: ", problem, "\n")
  return START
end

local function words_for_busted(found)
  local words = { [0] = "moonlatch test", "--ignore-lua" }
  if found.format == "junit" and found.file then
    words[#words + 1], words[#words + 2] = "-Xoutput", found.file
  end
  if found.format then words[#words + 1] = "--output=" .. found.format end
  for _, word in ipairs(found.rest) do words[#words + 1] = word end
  return words
end

local function absolute(file)
  return file:find("^/") and file or require("lfs").currentdir() .. "/" .. file
end

--- @param words what was typed behind "moonlatch test"
-- @return exit code
return function(words)
  require "moonlatch.kit"
  local found, code = read(words)
  if not found then return code end
  if found.print then return (found.print == "--kit" and print_kit or print_notices)() end
  if found.file then found.file = absolute(found.file) end
  local wanted = found.coverage or os.getenv "MOONLATCH_COVERAGE"
  local coverage, wrong = require("moonlatch.test_coverage").start(wanted ~= "" and wanted or nil)
  if wrong then
    refuse("--coverage: " .. wrong)
    return USAGE
  end
  local ok, why = require("lfs").chdir(found.dir)
  if not ok then
    io.stderr:write(("moonlatch: cannot use %s: %s\n"):format(found.dir, why:match("([^\n]+)\n*$")))
    return START
  end
  if found.file and found.format ~= "junit" and not redirect(found.file) then
    io.stderr:write(("moonlatch: cannot write %s\n"):format(found.file))
    return START
  end
  local result = run_busted(words_for_busted(found))
  if coverage then
    local enough = coverage:finish(for_machines[found.format] and io.stderr or io.stdout)
    if result == PASSED and not enough then result = FAILED end
  end
  return result
end
