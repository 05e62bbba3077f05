--- What the policy cors leaves out and the hospital's pages know from the package of npm, around that policy.
--
-- Allowed methods and headers are named to foreign origins too: without Access-Control-Allow-Origin that
-- allows nothing.  Headers that a page may read are named only where its origin was allowed.
local gw = require "moonlatch"

local M = { name = "cors_of_npm" }

M.config = {
  methods = { "string", default = "GET,HEAD,PUT,PATCH,POST,DELETE" },
  expose = { "list", of = "string" },
}

local function is_preflight(req)
  return req.method == "OPTIONS" and req:header("origin") ~= nil
    and req:header("access-control-request-method") ~= nil
end

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req, next) -> res
function M.new(conf)
  local readable = gw.fields { { "Access-Control-Expose-Headers", table.concat(conf.expose, ",") } }
  local credentials = gw.fields { { "Access-Control-Allow-Credentials", "true" } }
  local refused = gw.fields { { "Access-Control-Allow-Credentials", "true" },
                              { "Access-Control-Allow-Methods", conf.methods },
                              { "Vary", "Access-Control-Request-Headers", true } }

  return function(req, next)
    local res = next()
    local allowed = res:header("Access-Control-Allow-Origin") ~= nil
    if not is_preflight(req) then
      (allowed and readable or credentials):apply(res)
    elseif not allowed then
      refused:apply(res)
      local asked = req:header("access-control-request-headers")
      if asked and asked:find("^[%w!#$%%&'*+.^_`|~, \t-]+$") then
        res:set_header("Access-Control-Allow-Headers", asked)
      end
    end
    return res
  end
end

return M
