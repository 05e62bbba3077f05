--- gw.static: a directory of files as the handler of a route.
--
--   gw.route("GET /*path", gw.static { root = "public", fallback = "/index.html" })
--
-- Checks the options and brings them to the form that the core wants; the core does the rest.
local core = require "moonlatch.core"
local options = require "moonlatch.options"
local where = require "moonlatch.where"

local M = {}

M.config = {
  root = { "string", min = 1,
           doc = "The directory with the files; a relative one is below the site." },
  index = { "list", of = "string", default = { "index.html" },
            doc = "Names of the files that answer for a directory, the first that is there." },
  try = { "list", of = "string", optional = true,
          doc = 'What is looked for, in this order: "$path" (the file), "$path/" (an index file), '
                .. '"$path.html" (with an ending), "/file" (that one).' },
  fallback = { "string", optional = true,
               doc = 'The file for every path that leads nowhere, such as "/index.html" of an '
                     .. 'application that routes by itself.' },
  assets = { "list", of = "string", default = {},
             doc = "Patterns of paths that get 404 and not the fallback when there is no such file." },
  not_found = { "string", optional = true, doc = "The file that is sent with the status 404." },
  cache = { "string", "table", default = {},
            doc = "Cache-Control, for all files or by pattern; a number is max-age in seconds." },
  precompressed = { "boolean", default = false,
                    doc = "Sends file.br or file.gz instead of file to clients that take it." },
  symlinks = { "string", default = "inside", one_of = { "no", "inside", "yes" },
               doc = "Symbolic links: none, relative ones that stay below the root, or all." },
  dotfiles = { "boolean", default = false,
               doc = "Serves names that begin with a dot (.well-known is served always)." },
  types = { "table", default = {}, doc = 'Media types by ending: { md = "text/plain" }.' },
  charset = { "string", default = "utf-8", doc = 'The charset of text files; "" names none.' },
  recheck = { "seconds", default = 1, max = 3600, unit = "seconds",
              doc = "How long the way to a file is remembered; 0: not at all." },
}

-- ---- the forms that the core wants; each is value | nil, what is wrong ----

local function has_control(text) return text:find("[%z\1-\31\127]") ~= nil end

-- "/a/b" as a path below the root
local function file_complaint(name, path)
  if not path:find("^/[^/]") or has_control(path) or (path .. "/"):find("/%.%.?/") then
    return ('option "%s" must be a file below the root, such as "/index.html"'):format(name)
  end
end

local function try_complaint(list)
  if #list == 0 then return 'option "try" must name something' end
  for _, entry in ipairs(list) do
    local ending = entry:match("^%$path(.*)$")
    if ending then
      if ending ~= "/" and (ending:find("/") or has_control(ending)) then
        return ('option "try": "%s" is none of "$path", "$path/", "$path.ending"'):format(entry)
      end
    else
      local wrong = file_complaint("try", entry)
      if wrong then return wrong end
    end
  end
end

local function tries(conf)
  local list = conf.try
  if list and conf.fallback then return nil, 'options "try" and "fallback" exclude each other' end
  list = list or { "$path", "$path/", conf.fallback }
  local wrong = try_complaint(list)
  if wrong then return nil, wrong end
  return list
end

local function indexes(list)
  for _, name in ipairs(list) do
    if name == "" or name:find("/") or has_control(name) then
      return nil, 'option "index" must be a list of names of files'
    end
  end
  return list
end

local function patterns(name, list)
  for _, pattern in ipairs(list) do
    if pattern == "" or (pattern:find("/") and not pattern:find("^[/*]")) then
      return nil, ('option "%s": the pattern "%s" must be like "*.js" or "/assets/*"'):format(name, pattern)
    end
  end
  return list
end

local function field_value(value)
  if type(value) == "number" and value >= 0 and value % 1 == 0 then return ("max-age=%.0f"):format(value) end
  if type(value) == "string" and value ~= "" and not has_control(value) then return value end
end

-- The longest pattern counts, however many match; of equals the first in the alphabet.
local function longest_first(a, b)
  if #a[1] ~= #b[1] then return #a[1] > #b[1] end
  return a[1] < b[1]
end

local function cache_rules(given)
  if type(given) == "string" then given = { ["*"] = given } end
  local rules = {}
  for key, value in pairs(given) do
    local text = field_value(value)
    if type(key) ~= "string" or not text then
      return nil, 'option "cache" must be a text, or a table of pattern = text or seconds'
    end
    for pattern in (key .. "|"):gmatch("([^|]*)|") do
      local ok, wrong = patterns("cache", { pattern })
      if not ok then return nil, wrong end
      rules[#rules + 1] = { pattern, text }
    end
  end
  table.sort(rules, longest_first)
  local flat = {}
  for _, rule in ipairs(rules) do flat[#flat + 1], flat[#flat + 2] = rule[1], rule[2] end
  return flat
end

local function media_types(given)
  local flat = {}
  for ending, media in pairs(given) do
    if type(ending) ~= "string" or ending:find("[./]") or type(media) ~= "string" or
        not media:find("^[%w!#$&^_.+-]+/[%w!#$&^_.+-]+") or has_control(media) or #media > 200 then
      return nil, 'option "types" must be a table like { md = "text/markdown" }'
    end
    flat[#flat + 1], flat[#flat + 2] = ending, media
  end
  return flat
end

local function charset(value)
  if value:find("[^%w_.:-]") or #value > 40 then return nil, 'option "charset" is no name of a charset' end
  return value
end

local function page(name, value)
  if value == nil then return "" end
  local wrong = file_complaint(name, value)
  if wrong then return nil, wrong end
  return value:sub(2)
end

local function root_of(path)
  if has_control(path) then return nil, 'option "root" holds a control character' end
  if path:sub(1, 1) == "/" then return path end
  return (core.site_dir():gsub("/+$", "")) .. "/" .. path
end

-- Calls each step; the first complaint ends it.
local function build(conf)
  local built, wrong = { dotfiles = conf.dotfiles, precompressed = conf.precompressed,
                         symlinks = conf.symlinks, recheck = conf.recheck }, nil
  local function put(name, value, complaint)
    built[name], wrong = value, wrong or complaint
  end
  put("root", root_of(conf.root))
  put("index", indexes(conf.index))
  put("try", tries(conf))
  put("assets", patterns("assets", conf.assets))
  put("missing", page("not_found", conf.not_found))
  put("types", media_types(conf.types))
  put("cache", cache_rules(conf.cache))
  put("charset", charset(conf.charset))
  if wrong then return nil, wrong end
  return built
end

-- ---- the handler ----

local texts = {
  [403] = { "forbidden", "This file can not be read" },
  [405] = { "method_not_allowed", "This method is not allowed here" },
  [412] = { "precondition_failed", "The file is not in the state that the request names" },
  [416] = { "range_not_satisfiable", "The file has none of the bytes that were asked for" },
  [500] = { "file_changed", "The file changed while it was read" },
  [503] = { "overload", "The gateway has no room to open the file" },
}

local function refusal(req, status, size)
  local text = texts[status] or { "not_found", "No file for " .. req.method .. " " .. req.path }
  local res = core.error(status, text[1], text[2])
  if status == 405 then res.headers["allow"] = "GET, HEAD" end
  if status == 416 then res.headers["content-range"] = ("bytes */%.0f"):format(size) end
  return res
end

--- @param given see M.config
-- @return handler function(req) -> res | nil, what is wrong
function M.new(given)
  local conf, wrong = options.check(M.config, given)
  if not conf then return nil, wrong end
  local built, files
  built, wrong = build(conf)
  if not built then return nil, wrong end
  files, wrong = core.static(built)
  if not files then return nil, 'option "root": ' .. wrong end
  local serve = core.static_serve
  return function(req)
    local res, status, size = serve(files, req)
    return res or refusal(req, status, size)
  end
end

--- gw.static { root = "public" }: raises with the line of the site.
function M.handler(given)
  local handler, wrong = M.new(given)
  return handler or where.fail("gw.static: " .. wrong)
end

return M
