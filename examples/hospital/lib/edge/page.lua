--- The page: files of STATIC_ROOT, and index.html for every path that it routes by itself.
--
-- Assets have their content in their name, so they are good for a year; the page itself is asked for anew
-- each time.  A missing asset is 404, not the page.
local gw = require "moonlatch"

local lasting, assets = { ["*.html"] = "no-cache" }, {}
for ending in ("js css png jpg jpeg gif ico svg woff woff2 ttf eot"):gmatch("%S+") do
  lasting["*." .. ending] = "public, max-age=31536000, immutable"
  assets[#assets + 1] = "*." .. ending
end

local M = {}

--- The route for everything that has no other.
-- @param root where the page is when STATIC_ROOT does not say
function M.serve(root)
  gw.route("GET /*path", gw.static {
    root = gw.env("STATIC_ROOT", root), fallback = "/index.html", assets = assets, cache = lasting,
    precompressed = true,
  })
end

return M
