--- How many requests a client may make, and when it has to wait: the hospital's numbers.
--
--   RATE_LIMIT_MAX 2000, RATE_LIMIT_WINDOW_MS 900000
--   SLOWDOWN_AFTER 100, SLOWDOWN_DELAY_MS 500, SLOWDOWN_MAX_MS 20000, SLOWDOWN_WINDOW_MS 900000
--   SLOW_DOWN_IMPL   v1: each request waits SLOWDOWN_DELAY_MS longer than the one before; v3: always as long
--   REDIS_URL, REDIS_PASSWORD, REDIS_PREFIX     several gateways count together there
--
-- Requests wait only when SLOWDOWN_AFTER or SLOW_DOWN_IMPL is set: with the numbers above a client that
-- waits for its answers gets 165 requests into 15 minutes, and the limit of 2000 means nothing (`moonlatch
-- check` and the log say so).  /health and /metrics, exactly these, are not counted.
local gw = require "moonlatch"

local M = {}

local free = { "/health", "/metrics" }

local function seconds(name, default_ms)
  return gw.env.number(name, default_ms) / 1000
end

local function redis()
  local url = gw.env("REDIS_URL", nil)
  if not url then return nil end
  return gw.redis(url, { password = gw.env("REDIS_PASSWORD", nil), timeout = 0.25, connect_timeout = 0.25 })
end

local function rate_limit()
  return { "rate_limit", limit = gw.env.number("RATE_LIMIT_MAX", 2000),
           window = seconds("RATE_LIMIT_WINDOW_MS", 900000), skip = free,
           redis = redis(), name = gw.env("REDIS_PREFIX", "") .. "rl" }
end

local function slow_down()
  local kind = gw.env("SLOW_DOWN_IMPL", nil)
  local after = gw.env.number("SLOWDOWN_AFTER", kind and 100 or nil)
  if not after then return nil end
  if kind and kind ~= "v1" and kind ~= "v3" then error("SLOW_DOWN_IMPL must be v1 or v3, not " .. kind) end
  local each = seconds("SLOWDOWN_DELAY_MS", 500)
  local growing = kind ~= "v3"
  return { "slow_down", delay_after = after, delay_step = growing and each or nil,
           delay_fixed = not growing and each or nil, max_delay = seconds("SLOWDOWN_MAX_MS", 20000),
           window = seconds("SLOWDOWN_WINDOW_MS", 900000), skip = free, name = "slow" }
end

--- The policies in the order of the chain.
M.chain = { rate_limit() }
M.chain[2] = slow_down()

return M
