--- The scripts that Redis runs for gw.ratelimit: one per algorithm, each one atomic step on one key.
--
-- KEYS[1]; ARGV: two numbers of the limiter, the cost, the name of a lease.  The clock is the server's, so
-- gateways need not agree on the time.  Answers { allowed, remaining, reset, retry, delay }, times in
-- microseconds.  What they decide is what core/base/limiter.c decides.
local M = {}

-- ARGV: microseconds that one request uses up, those of a full bucket.
M.gcra = [[
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local interval, full = tonumber(ARGV[1]), tonumber(ARGV[2])
local wanted = tonumber(ARGV[3]) * interval
local used = math.min(full, math.max(0, tonumber(redis.call('GET', KEYS[1]) or 0) - now))
if used + wanted > full then
  return { 0, math.floor((full - used) / interval), used, used + wanted - full, 0 }
end
if wanted > 0 then
  local ms = math.ceil((used + wanted) / 1000)
  redis.call('SET', KEYS[1], string.format('%.0f', now + used + wanted), 'PX', ms)
end
return { 1, math.floor((full - used - wanted) / interval), used + wanted, 0, used }
]]

-- ARGV: limit, milliseconds of a window.
M.fixed = [[
local limit, window, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local used, left = tonumber(redis.call('GET', KEYS[1]) or 0), redis.call('PTTL', KEYS[1])
local fresh = left <= 0
if fresh then used, left = 0, window end
if used + cost > limit then
  return { 0, math.max(0, limit - used), left * 1000, left * 1000, 0 }
end
if cost > 0 and fresh then
  redis.call('SET', KEYS[1], cost, 'PX', window)
elseif cost > 0 then
  redis.call('INCRBY', KEYS[1], cost)
end
return { 1, limit - used - cost, left * 1000, 0, 0 }
]]

-- ARGV: limit, milliseconds of a window.  A hash: number of the window, used in it and in the last one.
M.sliding = [[
local limit, window, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local t = redis.call('TIME')
local ms = t[1] * 1000 + math.floor(t[2] / 1000)
local number, left = math.floor(ms / window), window - ms % window
local h = redis.call('HMGET', KEYS[1], 'w', 'n', 'l')
local w, n, l = tonumber(h[1] or 0), tonumber(h[2] or 0), tonumber(h[3] or 0)
if w < number then
  l = w + 1 == number and n or 0
  w, n = number, 0
elseif w > number then
  left = window
end
local used = n + math.ceil(l * left / window)
if used + cost > limit then
  local allowed, retry = limit - cost, left + window
  if allowed >= n and l > 0 then
    retry = math.max(0, left - math.floor((allowed - n) * window / l))
  elseif allowed >= 0 and n > 0 then
    retry = left + window - math.floor(allowed * window / n)
  end
  return { 0, math.max(0, limit - used), (left + (n > 0 and window or 0)) * 1000, retry * 1000, 0 }
end
if cost > 0 then
  redis.call('HSET', KEYS[1], 'w', string.format('%.0f', w), 'n', n + cost, 'l', l)
  redis.call('PEXPIRE', KEYS[1], 2 * window)
end
return { 1, limit - used - cost, (left + (n + cost > 0 and window or 0)) * 1000, 0, 0 }
]]

-- ARGV: limit, milliseconds that a lease lasts.  A sorted set of leases by their end.
M.concurrency = [[
local limit, lasts, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local t = redis.call('TIME')
local ms = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', ms))
local used = redis.call('ZCARD', KEYS[1])
if used + cost > limit then
  return { 0, math.max(0, limit - used), 0, 1000000, 0 }
end
for i = 1, cost do
  redis.call('ZADD', KEYS[1], string.format('%.0f', ms + lasts), ARGV[4] .. ':' .. i)
end
if cost > 0 then redis.call('PEXPIRE', KEYS[1], lasts) end
return { 1, limit - used - cost, 0, 0, 0 }
]]

-- ARGV: name of the lease, its cost.
M.release = [[
local n = 0
for i = 1, tonumber(ARGV[2]) do n = n + redis.call('ZREM', KEYS[1], ARGV[1] .. ':' .. i) end
return n
]]

return M
