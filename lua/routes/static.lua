--- GET <path>*: the files of a directory.
--
--   gw.mount("static", { path = "/assets/", root = "public/assets", cache = "public, max-age=3600" })
--
-- The options are those of gw.static (docs/static.md), and `path`, which ends with "/".  The same path
-- without that "/" is redirected to it.
local files = require "moonlatch.static"
local gw = require "moonlatch"

local M = { name = "static", config = {} }

for name, rule in pairs(files.config) do M.config[name] = rule end
M.config.path = { "string", default = "/", doc = "Where the files are mounted.", check = function(path)
  if not path:find("^/.*/$") and path ~= "/" then return 'must begin and end with "/"' end
end }

--- Adds the routes.
function M.mount(conf)
  local path = conf.path
  conf.path = nil
  local handler, wrong = files.new(conf)
  if not handler then error(wrong, 0) end
  gw.route("GET " .. path .. "*path", handler)
  if path == "/" then return end
  gw.route("GET " .. path:sub(1, -2), function(req)
    return gw.redirect(path .. (req.query ~= "" and "?" .. req.query or ""), 301)
  end)
end

return M
