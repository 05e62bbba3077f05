--- Lets clients wait who make many requests: first free, then slower and slower, never refused.
--
-- After `delay_after` requests in a window each further one waits: `delay_step` seconds more than the one
-- before it (as express-slow-down 1 does with `delayMs: 500`), or always `delay_fixed` (what versions 2 and 3
-- do with it); never longer than `max_delay`. A window begins with a client's first request.
--
-- A request that waits costs memory, so at most `max_waiting` of them wait in a worker: over it a request
-- that should wait is answered with 503 and Retry-After, as letting it pass at once would reward the flood.
-- A client that goes away while it waits is forgotten at once.
--
-- Next to a rate_limit, the sum matters: a client that sends one request after the other gets no more than
-- `delay_after` free requests and then one per delay into a window. When that is less than the limit, the
-- limit is never reached, and `moonlatch check` says so. With 100 free requests, 0.5 s more each and 20 s at
-- most, 165 requests fit into 15 minutes.
--
--   gw.use { { "slow_down", delay_after = 100, delay_step = 0.5, max_delay = 20, window = 900 } }
local gw = require "moonlatch"
local subject = require "moonlatch.subject"

local M = { name = "slow_down" }

local UNLIMITED = 16777215 -- the largest number a window counts to

M.config = {
  delay_after = { "integer", default = 100, min = 0, max = UNLIMITED - 1,
    doc = "Requests per window that do not wait." },
  delay_step = { "seconds", optional = true, min = 0.001, unit = "seconds",
    doc = "How much longer each further request waits than the one before it." },
  delay_fixed = { "seconds", optional = true, min = 0.001, unit = "seconds",
    doc = "How long each further request waits; instead of `delay_step`." },
  max_delay = { "seconds", default = 20, min = 0.001, unit = "seconds", doc = "No request waits longer." },
  window = { "seconds", default = 60, min = 0.001, unit = "seconds", doc = "Length of a window." },
  key = subject.key, ipv6_prefix = subject.ipv6_prefix, skip = subject.skip, skip_if = subject.skip_if,
  max_waiting = { "integer", default = 1000, min = 1, doc = "Requests that may wait at a time in a worker." },
  name = { "string", optional = true, min = 1, max = 200, doc = "Name of the counters." },
  redis = { "any", optional = true, doc = "What gw.redis returned: count there." },
}

--- How long the n-th request of a window waits, in seconds.
function M.delay(conf, n)
  local over = n - conf.delay_after
  if over <= 0 then return 0 end
  return math.min(conf.delay_fixed or conf.delay_step * over, conf.max_delay)
end

local function overload(retry)
  local res = gw.error(503, "overload", "Too many requests are waiting")
  res:set_header("Retry-After", tostring(math.max(1, math.ceil(retry))))
  return res
end

-- Waits; false when too many do.
local function waiter(max_waiting)
  local waiting = 0
  return function(req, seconds)
    if waiting >= max_waiting then return false end
    local over = false
    local function leave()
      if not over then
        over, waiting = true, waiting - 1
      end
    end
    waiting = waiting + 1
    req:on_done(leave) -- also when the client goes away
    gw.sleep(seconds)
    leave()
    return true
  end
end

local function counter(conf)
  local key_of, warn = subject.key_of(conf.key, conf.ipv6_prefix), subject.warner("slow_down")
  local own = type(conf.key) == "function"
  local limiter = gw.ratelimit { algorithm = "fixed", limit = UNLIMITED, window = conf.window,
                                 prefix = conf.name, redis = conf.redis }

  local function key_for(req)
    if not own then return key_of(req) end
    local ok, key = pcall(key_of, req)
    if ok then return key end
    warn(key)
    return nil
  end

  -- The number of this request in its window; 0 when it is not counted.
  return function(req)
    local key = key_for(req)
    if key == nil then return 0 end
    local allowed, remaining = limiter:count(key, 1)
    if allowed == nil then
      warn(remaining)
      return 0
    end
    return UNLIMITED - remaining
  end
end

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req, next) -> res
function M.new(conf)
  if (conf.delay_step == nil) == (conf.delay_fixed == nil) then
    error("exactly one of delay_step and delay_fixed is needed", 0)
  end
  local skipped, count = subject.skipper(conf.skip, conf.skip_if), counter(conf)
  local wait, delay = waiter(conf.max_waiting), M.delay

  return function(req)
    if skipped and skipped(req) then return nil end
    local seconds = delay(conf, count(req))
    if seconds > 0 and not wait(req, seconds) then return overload(seconds) end
  end
end

return M
