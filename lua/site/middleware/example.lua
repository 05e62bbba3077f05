--- Adds a field to every response.  middleware/NAME.lua is used as "NAME" in gw.use and routes.
local M = { name = "example" }

-- What may be configured; unknown and missing options are errors when the site is loaded.
M.config = {
  header = { "string", default = "X-Served-By" },
  value = { "string" },
}

--- Makes the policy, once per generation.  conf has been checked against M.config.
-- @return function(req, next) -> res, which runs once per request
function M.new(conf)
  return function(_, next)
    local res = next() -- everything inside: the other middlewares, then the route
    res:set_header(conf.header, conf.value)
    return res
  end
end

return M
