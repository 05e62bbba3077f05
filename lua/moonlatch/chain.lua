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

-- ---- the same chain, telling what its steps do: only where the core has a function `trace` (the kit for
-- tests).  Each step says that it runs, then "passed" (the response is that of the inside) or "answered".

local trace = core.trace

local function traced_without_next(step, inner)
  local label, line = step.label, step.line
  return function(req)
    trace("runs", label, line)
    local res = step.fn(req)
    if res ~= nil then
      trace("answered", label)
      return adopt(res)
    end
    res = inner(req)
    trace("passed", label)
    return res
  end
end

local function traced_with_next(step, inner)
  local label, line = step.label, step.line
  local function next_step() return inner(again()) end
  return function(req)
    trace("runs", label, line)
    local res = step.fn(req, next_step)
    if res == nil then
      res = responded() or inner(req)
      trace("passed", label)
      return res
    end
    trace(res == responded() and "passed" or "answered", label)
    return adopt(res)
  end
end

local function traced_handler(handler, label)
  return function(req)
    trace("runs", label, "handler")
    local res = handler(req)
    trace("answered", label, res.from)
    return res
  end
end

if trace then
  without_next = function(_, inner, step) return traced_without_next(step, inner) end
  with_next = function(_, inner, step) return traced_with_next(step, inner) end
end

--- @param steps list of { fn, takes_next, label, line } from the outermost to the innermost
-- @param handler function(req) -> res
-- @param label of the handler, for the trace
function M.link(steps, handler, label)
  local inner = trace and traced_handler(handler, label or "handler") or handler
  for i = #steps, 1, -1 do
    local step = steps[i]
    inner = (step.takes_next and with_next or without_next)(step.fn, inner, step)
  end
  return inner
end

return M
