--- Redirects one path, or everything below it, to another place.
--
--   gw.mount("redirect", { from = "/old/*rest", to = "https://www.example.com/new/" })
--
-- With a *rest in `from`, the rest of the path is appended to `to`, which ends with "/" then: else
-- "https://example.com" and a rest of ".evil.test" would be another host.  The query is kept.
local gw = require "moonlatch"

local M = { name = "redirect" }

M.config = {
  from = { "string" },
  to = { "string", min = 1 },
  status = { "integer", default = 301, one_of = { 301, 302, 303, 307, 308 } },
  methods = { "string", default = "GET" },
}

-- What a route's *rest stands for, as it was sent: the path behind as many slashes as the pattern has.
local function rest_of(path, pattern)
  local at = 0
  for _ in pattern:gmatch("/") do at = path:find("/", at + 1, true) or #path end
  return (path:sub(at + 1):gsub("^[/\\]+", "")) -- "//host" would be another host
end

--- Adds the route.
function M.mount(conf)
  local has_rest = conf.from:find("/%*[%w_]*$") ~= nil
  if has_rest and conf.to:sub(-1) ~= "/" then
    error('option "to" must end with "/", as the rest of the path is appended to it', 0)
  end
  gw.route(conf.methods .. " " .. conf.from, { respond = function(req)
    local target = conf.to
    if has_rest then target = target .. rest_of(req.path, req.route) end
    if req.query ~= "" then target = target .. "?" .. req.query end
    return gw.redirect(target, conf.status)
  end })
end

return M
