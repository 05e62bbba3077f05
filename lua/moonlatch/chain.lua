--- Links middlewares and a handler to one function(req) -> res, once per route, at load time.
--
-- Each step is a closure over the one inside of it, so a request makes no closure and no table.
-- `next` takes no argument: it asks the core which request the running coroutine serves.
--
--   step(req) --> fn(req, next) --> returned a response: that one counts
--                               `-> returned nothing: the response next() gave, or go on
--
-- Each step has a number, `id`: that of its middleware and, times 1024, its place in the chain.  The core
-- finds it in the closures of this file by that name when a script fails.
local core = require "moonlatch.core"

local M = {}

local adopt, again, responded = core.adopt, core.again, core.responded

local function number_of(step, place) return (step.id or 0) > 0 and step.id + 1024 * place or 0 end

local function without_next(fn, inner, step, place)
  local id = number_of(step, place)
  return function(req)
    local res = fn(req)
    if res == nil then return inner(req) end
    return adopt(res, id)
  end
end

-- again() is the request too, and drops the response of a former next().
local function with_next(fn, inner, step, place)
  local id = number_of(step, place)
  local function next_step() return inner(again()) end
  return function(req)
    local res = fn(req, next_step)
    if res ~= nil then return adopt(res, id) end
    return responded() or inner(req)
  end
end

-- ---- the same chain, taking the time of its steps: what is inside of a step is not its own ----

local enter = core.enter

local function timed_without_next(fn, inner, step, place)
  local id = number_of(step, place)
  return function(req)
    enter(id)
    local res = fn(req)
    enter(0)
    if res == nil then return inner(req) end
    return adopt(res, id)
  end
end

local function timed_with_next(fn, inner, step, place)
  local id = number_of(step, place)
  local function next_step()
    enter(0)
    local res = inner(again())
    enter(id)
    return res
  end
  return function(req)
    enter(id)
    local res = fn(req, next_step)
    enter(0)
    if res ~= nil then return adopt(res, id) end
    return responded() or inner(req)
  end
end

-- ---- the same chain, telling what its steps do: only where the core has a function `trace` (the kit for
-- tests).  Each step says that it runs, then "passed" (the response is that of the inside) or "answered".

local trace = core.trace

local function traced_without_next(step, inner, place)
  local label, line, id = step.label, step.line, number_of(step, place)
  return function(req)
    trace("runs", label, line)
    local res = step.fn(req)
    if res ~= nil then
      trace("answered", label)
      return adopt(res, id)
    end
    res = inner(req)
    trace("passed", label)
    return res
  end
end

local function traced_with_next(step, inner, place)
  local label, line, id = step.label, step.line, number_of(step, place)
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
    return adopt(res, id)
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
  without_next = function(_, inner, step, place) return traced_without_next(step, inner, place) end
  with_next = function(_, inner, step, place) return traced_with_next(step, inner, place) end
end

--- @param steps list of { fn, takes_next, label, line, id } from the outermost to the innermost
-- @param handler function(req) -> res
-- @param label of the handler, for the trace
function M.link(steps, handler, label)
  local inner = trace and traced_handler(handler, label or "handler") or handler
  for i = #steps, 1, -1 do
    local step = steps[i]
    inner = (step.takes_next and with_next or without_next)(step.fn, inner, step, i)
  end
  return inner
end

--- The chain that takes the time; nil when there is nothing to measure.
function M.timed(steps, handler)
  if trace or #steps == 0 then return nil end
  local inner = handler
  for i = #steps, 1, -1 do
    local step = steps[i]
    inner = (step.takes_next and timed_with_next or timed_without_next)(step.fn, inner, step, i)
  end
  return inner
end

return M
