--- What stands at the inner end of a chain: an upstream, a function, a fixed response.
local core = require "moonlatch.core"
local where = require "moonlatch.where"

local M = {}

local adopt, forward = core.adopt, core.forward

-- options of `hash` of an upstream, as a function(req) -> key
local function hash_function(hash)
  if type(hash) == "function" then return hash end
  local kind, name = hash:match("^(%a+):(.+)$")
  if hash == "ip" then return function(req) return req.ip end end
  if hash == "path" then return function(req) return req.path end end
  if kind == "header" then return function(req) return req:header(name) end end
  if kind == "cookie" then return function(req) return req.cookies[name] end end
  if kind == "param" then return function(req) return req.params[name] end end
  if kind == "query" then return function(req) return req.args[name] end end
end

--- nil, or what is wrong with a `hash` option.
function M.hash_complaint(hash)
  if hash_function(hash) then return nil end
  return 'must be "ip", "path", "header:NAME", "cookie:NAME", "param:NAME", "query:NAME" or a function'
end

--- Forwards to an upstream.
-- @param upstream { index, hash }
-- @param opts { timeout, websocket, websocket_idle_timeout } of the route
function M.forward(upstream, opts)
  local index, key = upstream.index, upstream.hash and hash_function(upstream.hash)
  local fixed = (opts.timeout or opts.websocket) and { timeout = opts.timeout, websocket = opts.websocket,
      websocket_idle_timeout = opts.websocket_idle_timeout } or nil
  if not key then
    return function(req) return (forward(req, index, fixed)) end
  end
  return function(req)
    local value = key(req)
    if type(value) == "table" then value = value[1] end
    return (forward(req, index, { timeout = opts.timeout, websocket = opts.websocket,
                                  websocket_idle_timeout = opts.websocket_idle_timeout,
                                  hash_key = value and tostring(value) or nil }))
  end
end

--- Answers by a function(req) -> res, or with a response made at load time.
function M.respond(respond, line)
  if type(respond) ~= "function" then
    if type(respond) ~= "userdata" then
      where.fail("respond must be a function or a response, not a " .. type(respond), line)
    end
    return function() return adopt(respond) end
  end
  local label = where.of_function(respond)
  return function(req)
    local res = respond(req)
    if res == nil then error("the handler at " .. label .. " returned no response", 0) end
    return adopt(res)
  end
end

--- Answers what no route matched: 404, 405 with Allow, OPTIONS.
function M.unmatched(req)
  local outcome, allow = core.unmatched()
  local res
  if outcome == "options" then
    res = core.response(204)
  elseif outcome == "method" then
    res = core.error(405, "method_not_allowed", "This method is not allowed here")
  else
    res = core.error(404, "not_found", "No route for " .. req.method .. " " .. req.path)
  end
  if allow then res:set_header("Allow", allow) end
  return adopt(res)
end

return M
