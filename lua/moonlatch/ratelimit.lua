--- gw.ratelimit{}: limits that all workers count together, or all gateways that share a Redis.
--
--   local limiter = gw.ratelimit { algorithm = "gcra", limit = 100, window = 60, burst = 20 }  -- at load
--   local r = limiter:take(req.ip)     --> { allowed, limit, remaining, reset, retry_after, degraded }
--
-- algorithm   "gcra" (a bucket of `burst` that fills evenly), "fixed" (a window that begins with a key's
--             first request), "sliding" (this window's and, fading, the last one's; whole seconds) or
--             "concurrency" (`limit` at a time: take() also gives `lease`, which lease:release() ends)
-- prefix      the name of the counters; limiters with one name share them.  Without it they are counted as
--             the n-th limiter of their kind in the site, which survives a reload that keeps the order
-- redis       of gw.redis: one atomic script and one round trip per request, by the clock of the server (5.0
--             or later).  There a lease lasts for `window` at most
-- fallback    { share = 0.25 }: while Redis fails, this gateway counts by itself and admits that part of the
--             limit (1: all of it), `degraded` is true, and Redis is tried again every 5 seconds
local core = require "moonlatch.core"
local options = require "moonlatch.options"
local scripts = require "moonlatch.ratelimit_scripts"
local where = require "moonlatch.where"

local M = {}

local OPEN_S, PROBE_S, NOTED_S = 5, 5, 60

M.config = {
  algorithm = { "string", default = "gcra", one_of = { "gcra", "fixed", "sliding", "concurrency" } },
  limit = { "integer", min = 1 },
  window = { "seconds", default = 60, min = 0.001, unit = "seconds" },
  burst = { "integer", optional = true, min = 1 },
  redis = { "any", optional = true },
  prefix = { "string", optional = true, min = 1, max = 200 },
  fallback = { "table", default = {} },
}
M.fallback = { share = { "number", default = 1, check = function(share)
  if share <= 0 or share > 1 then return "must be more than 0 and at most 1" end
end } }

-- ---- what all limiters have ----

local Limiter = {}
Limiter.__index = Limiter

--- Counts, without a table: allowed, remaining, reset, retry_after, delay, lease, degraded; or nil, code when
-- it was not possible to count.  delay (gcra): seconds this request is too early for an even flow.
function Limiter:count(key, cost) return self.core:count(key, cost) end

--- Counts cost (1) for a key; nil, code when it was not possible to count.
function Limiter:take(key, cost)
  local allowed, remaining, reset, retry_after, delay, lease, degraded = self:count(key, cost)
  if allowed == nil then return nil, remaining end
  return { allowed = allowed, limit = degraded and self.fallback.limit or self.limit, remaining = remaining,
           reset = reset, retry_after = not allowed and retry_after or nil, delay = delay, lease = lease,
           degraded = degraded or false }
end

local function in_memory(conf, name)
  local burst = conf.algorithm == "gcra" and conf.burst or nil
  return setmetatable({ limit = conf.limit, core = core.limiter { name = name, algorithm = conf.algorithm,
      limit = conf.limit, window = conf.window, burst = burst } }, Limiter)
end

-- ---- is Redis there? ----

local Breaker = {}
Breaker.__index = Breaker

local function new_breaker(name)
  return setmetatable({ name = name, open_until = 0, probe_until = 0,
                        notes = core.shared("moonlatch.ratelimit") }, Breaker)
end

-- Closed, or open for long enough that one request may try.  Who tries may be cancelled, so trying ends by
-- itself.
function Breaker:closed()
  if self.open_until == 0 then return true end
  local now = core.mono()
  if now < self.open_until or now < self.probe_until then return false end
  self.probe_until = now + PROBE_S
  return true
end

-- One line for all workers: whoever notes it first writes it.
function Breaker:failed(code, message)
  self.open_until, self.probe_until = core.mono() + OPEN_S, 0
  local key = "down:" .. self.name
  if self.notes:add(key, core.random_hex(8), NOTED_S) then
    core.log("warn", "rate limits are counted by this gateway alone: Redis failed",
             { code = tostring(code), error = tostring(message) })
  else
    self.notes:set(key, self.notes:get(key), NOTED_S)
  end
end

function Breaker:worked()
  if self.open_until == 0 then return end
  self.open_until, self.probe_until = 0, 0
  local key = "down:" .. self.name
  local episode = self.notes:get(key)
  if episode and self.notes:add("up:" .. episode, true, NOTED_S) then
    self.notes:delete(key)
    core.log("warn", "rate limits are counted in Redis again")
  end
end

-- ---- counting in Redis ----

local InRedis = setmetatable({}, { __index = Limiter })
InRedis.__index = InRedis

local function whole(n) return ("%.0f"):format(n) end

local arguments = {
  gcra = function(conf)
    local interval = math.ceil(conf.window * 1e6 / conf.limit)
    return { whole(interval), whole(interval * (conf.burst or conf.limit)) }
  end,
  fixed = function(conf) return { whole(conf.limit), whole(math.ceil(conf.window * 1000)) } end,
}
arguments.sliding, arguments.concurrency = arguments.fixed, arguments.fixed

local Lease = {}
Lease.__index = Lease

--- Gives back what is held; does not wait for Redis.
function Lease:release()
  if self.released then return end
  self.released = true
  local limiter, key, id, cost = self.limiter, self.key, self.id, self.cost
  core.spawn(function()
    local ok, code, message = limiter.redis:eval(scripts.release, { key }, { id, whole(cost) })
    if ok == nil then limiter.breaker:failed(code, message) end
  end)
end

local function decide(self, key, cost)
  local id = self.algorithm == "concurrency" and core.random_hex(12) or ""
  local reply, code, message = self.redis:eval(self.script, { key },
                                               { self.arguments[1], self.arguments[2], whole(cost), id })
  if type(reply) ~= "table" then return nil, code, message end
  local allowed = reply[1] == 1
  local lease = nil
  if allowed and id ~= "" then
    lease = setmetatable({ limiter = self, key = key, id = id, cost = cost }, Lease)
  end
  return allowed, reply[2], reply[3] / 1e6, reply[4] / 1e6, reply[5] / 1e6, lease
end

-- The gauge of this limiter, where it changes: 1 while it counts alone.
local function tell(self, degraded)
  if self.degraded == degraded then return end
  self.degraded = degraded
  self.metrics.degraded:set({ limiter = self.name }, degraded and 1 or 0)
end

local function locally(self, key, cost)
  tell(self, true)
  self.metrics.fallbacks:inc { limiter = self.name }
  local allowed, remaining, reset, retry_after, delay, lease = self.fallback:count(key, cost)
  if allowed == nil then return nil, remaining end
  return allowed, remaining, reset, retry_after, delay, lease, true
end

function InRedis:count(key, cost)
  cost = cost or 1
  if not self.breaker:closed() then return locally(self, key, cost) end
  local allowed, remaining, reset, retry_after, delay, lease = decide(self, self.prefix .. key .. "}", cost)
  if allowed == nil then
    self.breaker:failed(remaining, reset)
    return locally(self, key, cost)
  end
  self.breaker:worked()
  tell(self, false)
  return allowed, remaining, reset, retry_after, delay, lease
end

local function part(n, share) return n and math.max(1, math.floor(n * share)) end

-- Every limiter in Redis of a generation counts in the same two.
local function new_metrics()
  return {
    degraded = core.metric { kind = "gauge", name = "moonlatch_limiter_degraded", merge = "max", fresh = true,
                             help = "Whether a worker counts a limit alone, as Redis fails",
                             labels = { "limiter" } },
    fallbacks = core.metric { kind = "counter", name = "moonlatch_limiter_fallbacks_total", merge = "sum",
                              help = "Requests whose limit this gateway counted alone, as Redis fails",
                              labels = { "limiter" } },
  }
end

local function in_redis(conf, name, share, breaker, metrics)
  local alone = { algorithm = conf.algorithm, window = conf.window, limit = part(conf.limit, share),
                  burst = part(conf.burst, share) }
  return setmetatable({ limit = conf.limit, algorithm = conf.algorithm, redis = conf.redis, breaker = breaker,
                        metrics = metrics, name = name,
                        script = scripts[conf.algorithm], arguments = arguments[conf.algorithm](conf),
                        prefix = name .. ":{", fallback = in_memory(alone, name .. "/alone") }, InRedis)
end

-- ---- gw.ratelimit ----

local function check_redis(redis, what)
  if redis ~= nil and not pcall(function() return assert(redis.eval) end) then
    where.fail(what .. ': option "redis" must be what gw.redis returned')
  end
end

-- An option that would do nothing is a mistake.
local function idle_options(conf, what)
  if conf.burst and conf.algorithm ~= "gcra" then where.fail(what .. ': burst is for algorithm = "gcra"') end
  if next(conf.fallback) and not conf.redis then where.fail(what .. ": fallback is for limits in Redis") end
end

local function checked(schema, given, what)
  local conf, wrong = options.check(schema, given)
  if not conf then where.fail(what .. ": " .. wrong) end
  return conf
end

--- For one generation.
-- @return function(given) -> limiter
function M.new()
  local ordinals, breakers, breaker_count, metrics = {}, {}, 0, nil

  local function name_of(conf)
    local kind = ("%s/%g"):format(conf.algorithm, conf.window)
    if conf.prefix then return conf.prefix .. ":" .. kind end
    ordinals[kind] = (ordinals[kind] or 0) + 1
    return ("limit:%d:%s"):format(ordinals[kind], kind)
  end

  local function breaker_of(redis)
    if not breakers[redis] then
      breaker_count = breaker_count + 1
      breakers[redis] = new_breaker(tostring(breaker_count))
    end
    return breakers[redis]
  end

  return function(given)
    local what = "gw.ratelimit"
    local conf = checked(M.config, given, what)
    local share = checked(M.fallback, conf.fallback, what .. ": fallback").share
    check_redis(conf.redis, what)
    idle_options(conf, what)
    local name = name_of(conf)
    local ok, limiter = pcall(in_memory, conf, name)
    if not ok then where.fail(what .. ": " .. where.without_ours(limiter)) end
    if conf.redis == nil then return limiter end
    metrics = metrics or new_metrics()
    return in_redis(conf, name, share, breaker_of(conf.redis), metrics)
  end
end

return M
