--- Whether a limit can be reached at all behind a slow_down: the sum, and the warning at load.
--
-- A client that sends one request after the other, each as soon as the one before was answered, and whose
-- requests take no time of their own, is the fastest that a delay per client is meant for.  In one window of
-- slow_down it gets `delay_after` requests at once, and then one after each delay:
--
--   requests(W) = number of n with  delay(1) + ... + delay(n - 1) < W    (W: seconds, delay(n): of request n)
--
-- The rate_limit's window has room for floor(limit window / slow_down window) such windows and a rest, if no
-- delay reaches from one into the next.  When the sum is below the limit, nobody who waits for his answers is
-- ever refused, and the limit is not what the site says it is.
local core = require "moonlatch.core"

local M = {}

-- delay(n) grows up to max_delay, so the sum is three pieces: free, growing, constant.
local function in_window(conf, window)
  if window <= 0 then return 0 end
  local n, sum = conf.delay_after, 0
  if conf.delay_step then
    local growing = math.floor(conf.max_delay / conf.delay_step) -- so many grow before the cap
    local k = math.floor((math.sqrt(1 + 8 * window / conf.delay_step) - 1) / 2)
    k = math.max(0, math.min(k, growing))
    while k > 0 and conf.delay_step * k * (k + 1) / 2 >= window do k = k - 1 end
    sum = conf.delay_step * k * (k + 1) / 2
    n = n + k
    if k < growing then return n + 1 end
  end
  local each = math.min(conf.delay_fixed or conf.max_delay, conf.max_delay)
  return n + math.max(0, math.ceil((window - sum) / each) - 1) + 1
end

--- Requests that a sequential client can begin within `seconds`, at best.
-- @param conf of slow_down
function M.requests(conf, seconds)
  local whole = math.floor(seconds / conf.window)
  local last = in_window(conf, seconds - whole * conf.window)
  return whole * in_window(conf, conf.window) + last
end

local function complaint(slow, limit)
  local reached = M.requests(slow.conf, limit.conf.window)
  if reached >= limit.conf.limit then return nil end
  return ("the rate_limit of %d in %g s (%s) can not be reached: behind this slow_down a client that sends "
          .. "one request after the other gets %d into that time"):format(limit.conf.limit, limit.conf.window,
                                                                          limit.line, reached)
end

--- Warns of each pair in a chain that makes no sense, once per pair of lines.
-- @param steps list of { label, line, conf }
-- @param seen table, kept between calls
function M.check(steps, seen)
  for _, slow in ipairs(steps) do
    for _, limit in ipairs(steps) do
      if slow.label == "slow_down" and limit.label == "rate_limit" and slow.conf and limit.conf
         and limit.conf.algorithm ~= "concurrency" then
        local pair = slow.line .. " " .. limit.line
        local wrong = not seen[pair] and complaint(slow, limit)
        seen[pair] = true
        if wrong then core.warn(slow.line .. ": " .. wrong) end
      end
    end
  end
end

return M
