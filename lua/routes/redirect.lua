--- Redirects one path, or everything below it, to another place.
--
--   gw.mount("redirect", { from = "/old/*rest", to = "https://www.example.com/new/" })
--
-- With a *rest in `from`, the rest of the path is appended to `to`; the query is kept.
local gw = require "moonlatch"

local M = { name = "redirect" }

M.config = {
  from = { "string" },
  to = { "string", min = 1 },
  status = { "integer", default = 301, one_of = { 301, 302, 303, 307, 308 } },
  methods = { "string", default = "GET" },
}

--- Adds the route.
function M.mount(conf)
  local prefix = conf.from:match("^(.*/)%*[%w_]+$")
  gw.route(conf.methods .. " " .. conf.from, { respond = function(req)
    local target = conf.to
    if prefix then target = target .. req.path:sub(#prefix + 1) end
    if req.query ~= "" then target = target .. "?" .. req.query end
    return gw.redirect(target, conf.status)
  end })
end

return M
