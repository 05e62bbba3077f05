--- Links middlewares and a handler to one function(req) -> res, once per route, at load time.
--
-- Each step is a closure over the one inside of it, so a request makes no closure and no table.
-- `next` takes no argument: it asks the core which request the running coroutine serves.
--
--   step(req) --> fn(req, next) --> returned a response: that one counts
--                               `-> returned nothing: the response next() gave, or go on
local core = require "moonlatch.core"

local M = {}

local adopt, again, responded = core.adopt, core.again, core.responded

local function without_next(fn, inner)
  return function(req)
    local res = fn(req)
    if res == nil then return inner(req) end
    return adopt(res)
  end
end

-- again() is the request too, and drops the response of a former next().
local function with_next(fn, inner)
  local function next_step() return inner(again()) end
  return function(req)
    local res = fn(req, next_step)
    if res ~= nil then return adopt(res) end
    return responded() or inner(req)
  end
end

--- @param steps list of { fn, takes_next } from the outermost to the innermost
-- @param handler function(req) -> res
function M.link(steps, handler)
  local inner = handler
  for i = #steps, 1, -1 do
    local step = steps[i]
    inner = (step.takes_next and with_next or without_next)(step.fn, inner)
  end
  return inner
end

return M
