--- How many requests a client may make: those over the limit are answered with 429.
--
-- All workers count together, in memory that survives reloads; with `redis`, all gateways that use the same
-- server do, exactly. While Redis fails, each gateway admits its `share` of the limit by itself, and answers
-- carry `X-RateLimit-Degraded: local`. Where it is impossible to count at all (the site's own key function
-- raises, say) the request passes and the log has a warning.
--
-- `headers = "draft6"` sends what express-rate-limit does with `standardHeaders: true`: RateLimit-Policy,
-- -Limit, -Remaining and -Reset, and Retry-After with a refusal; `"draft8"` RateLimit and RateLimit-Policy
-- (without a partition key, which would tell a hash of the client's address); `"legacy"` X-RateLimit-*. Of
-- several limits on one route a request has to pass all; the headers tell of the one with the least left
-- (draft8: of all), and replace those of the upstream. Numbers of draft6 and legacy that a client may read in
-- another origin have to be exposed by cors.
--
-- Counters belong to the place of the policy in the site (the n-th limit with this algorithm and window), or
-- to its `name`: limits with one name share them.
--
--   gw.use { { "rate_limit", limit = 2000, window = 900, skip = { "/health", "GET /metrics" } } }
--   gw.route("POST /login", { { "rate_limit", algorithm = "gcra", limit = 10, burst = 5 }, to = "auth" })
local core = require "moonlatch.core"
local gw = require "moonlatch"
local subject = require "moonlatch.subject"

local M = { name = "rate_limit" }

local limit_headers = core.limit_headers

M.config = {
  algorithm = { "string", default = "fixed", one_of = { "fixed", "gcra", "sliding", "concurrency" },
    doc = "A window that begins with a client's first request; a bucket of `burst` that fills evenly; this "
      .. "window's and, fading, the last one's; or `limit` at a time." },
  limit = { "integer", default = 100, min = 1, doc = "Requests per window, or at a time." },
  window = { "seconds", default = 60, min = 0.001, unit = "seconds",
    doc = "Length of a window; sliding: whole seconds; concurrency in Redis: the longest a request counts." },
  burst = { "integer", optional = true, min = 1, doc = "gcra: requests at once; `limit` when not given." },
  nodelay = { "boolean", default = true,
    doc = "gcra: `false` lets requests of a burst wait until they flow evenly." },
  key = subject.key, ipv6_prefix = subject.ipv6_prefix, skip = subject.skip, skip_if = subject.skip_if,
  cost = { "integer", "function", default = 1, min = 0, max = 16777215,
    doc = "What a request counts, or a function(req) that says so (a whole number, 0 and more)." },
  headers = { "string", default = "draft6", one_of = { "draft6", "draft8", "legacy", "none" },
    doc = "Which headers tell what is left." },
  status = { "integer", default = 429, min = 400, max = 599, doc = "Status of a refusal." },
  body = { "table", "string", "function", optional = true,
    doc = "Body of a refusal: a table (JSON), a text or a function(req, info) that gives one of them; "
      .. "otherwise `{ error, message, retryAfter }`. info: limit remaining reset retry_after degraded." },
  on_limited = { "function", optional = true, doc = "function(req, info), called for each refusal." },
  name = { "string", optional = true, min = 1, max = 200, doc = "Name of the counters, also in draft8." },
  redis = { "any", optional = true, doc = "What gw.redis returned: count there." },
  fallback = { "table", default = {},
    doc = "`{ share = 0.5 }`: this gateway's part of the limit while Redis fails; 1 when not given." },
}

-- ---- headers ----

local function ceil_text(seconds) return tostring(math.ceil(seconds)) end

-- "15min", as express-rate-limit names its windows in draft8.
local function duration(s)
  if s < 60 then return ("%gsec"):format(s) end
  if s < 3600 then return ("%gmin"):format(s / 60) end
  if s < 86400 then return ("%ghr%s"):format(s / 3600, s > 3600 and "s" or "") end
  return ("%gday%s"):format(s / 86400, s > 86400 and "s" or "")
end

-- What the headers say, without what changes from request to request.
local function labels(conf, limiter)
  local window = ceil_text(conf.window)
  local with_window = conf.algorithm ~= "concurrency"
  local burst = conf.burst and conf.burst ~= conf.limit and ";burst=" .. conf.burst or ""
  local function of(limit)
    local name = conf.name or limit .. (with_window and "-in-" .. duration(conf.window) or "-at-once")
    name = '"' .. name:gsub("[^%w ._:/-]", "_") .. '"'
    return { limit = limit, with_window = with_window, name = name,
             policy6 = limit .. (with_window and ";w=" .. window or "") .. burst,
             policy8 = name .. "; q=" .. limit .. (with_window and "; w=" .. window or "") }
  end
  return of(conf.limit), limiter.fallback and of(limiter.fallback.limit)
end

local writers = {
  none = function() end,
  draft6 = function(res, least)
    local label = least.label
    limit_headers(res, label.policy6, label.limit, least.remaining, label.with_window and least.reset or nil)
  end,
  legacy = function(res, least)
    res:set_header("X-RateLimit-Limit", tostring(least.label.limit))
    res:set_header("X-RateLimit-Remaining", tostring(least.remaining))
    if least.label.with_window then res:set_header("X-RateLimit-Reset", ceil_text(gw.now() + least.reset)) end
  end,
  draft8 = function(res, _, first)
    local left, policies, it = {}, {}, first
    while it do
      left[#left + 1] = it.label.name .. "; r=" .. it.remaining
        .. (it.label.with_window and "; t=" .. ceil_text(it.reset) or "")
      policies[#policies + 1] = it.label.policy8
      it = it.inner
    end
    res:set_header("RateLimit", table.concat(left, ", "))
    res:set_header("RateLimit-Policy", table.concat(policies, ", "))
  end,
}

-- What the limits of one route said of a request is a chain, from the outermost inwards.
local function least_of(first)
  local least, it = first, first.inner
  while it do
    if it.remaining < least.remaining or (it.remaining == least.remaining and it.reset > least.reset) then
      least = it
    end
    it = it.inner
  end
  return least
end

local function append(first, it)
  while first.inner do first = first.inner end
  first.inner = it
end

-- ---- refusals ----

local function default_body(_, info)
  return { error = "Too many requests", message = "Rate limit exceeded. Please try again later.",
           retryAfter = info.retry_after }
end

local function refuse(req, conf, it, retry)
  local info = { limit = it.label.limit, remaining = it.remaining, reset = it.reset,
                 retry_after = math.max(1, math.ceil(retry)), degraded = it.degraded }
  local body = conf.body or default_body
  if conf.on_limited then conf.on_limited(req, info) end
  if type(body) == "function" then body = body(req, info) end
  return gw.response(conf.status, body), tostring(info.retry_after)
end

-- ---- the policy ----

local made = 0 -- where there is but one, no request meets two

local function limiter_of(conf)
  return gw.ratelimit { algorithm = conf.algorithm, limit = conf.limit, window = conf.window,
                        burst = conf.burst, prefix = conf.name, redis = conf.redis, fallback = conf.fallback }
end

local function caught(ok, allowed, ...)
  if ok then return allowed, ... end
  return nil, allowed ~= nil and allowed or "an error without a message"
end

-- function(req): what limiter:count gives; nil when the request is not counted, nil and a reason when that
-- was not possible.
local function counter(conf, limiter)
  local key_of, cost = subject.key_of(conf.key, conf.ipv6_prefix), conf.cost
  if type(conf.key) ~= "function" and type(cost) == "number" then
    return function(req) return limiter:count(key_of(req), cost) end
  end
  local function count(req)
    local key = key_of(req)
    if key == nil then return nil end
    return limiter:count(key, type(cost) == "number" and cost or cost(req))
  end
  return function(req) return caught(pcall(count, req)) end
end

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req, next) -> res
function M.new(conf)
  if not conf.nodelay and conf.algorithm ~= "gcra" then error('nodelay is for algorithm = "gcra"', 0) end
  local limiter = limiter_of(conf)
  local skipped, write = subject.skipper(conf.skip, conf.skip_if), writers[conf.headers]
  local count, warn = counter(conf, limiter), subject.warner("rate_limit")
  local label, alone = labels(conf, limiter)
  local told, draft6 = conf.headers ~= "none", conf.headers == "draft6"
  made = made + 1

  local function go_on(req, next, delay, lease)
    if lease then req:on_done(function() lease:release() end) end
    if delay > 0 and not conf.nodelay then gw.sleep(delay) end
    return next()
  end

  return function(req, next)
    if skipped and skipped(req) then return nil end
    local allowed, remaining, reset, retry, delay, lease, degraded = count(req)
    if allowed == nil then
      if remaining ~= nil then warn(remaining) end
      return nil
    end
    if allowed and not told then return go_on(req, next, delay, lease) end
    if allowed and draft6 and made == 1 and not degraded then -- the usual case, without a table
      local res = go_on(req, next, delay, lease)
      limit_headers(res, label.policy6, label.limit, remaining, label.with_window and reset or nil)
      return res
    end
    local it = { label = degraded and alone or label, remaining = remaining, reset = reset,
                 degraded = degraded or false, inner = nil }
    local ctx = told and req.ctx
    local first = ctx and ctx.rate_limits
    if first then append(first, it) elseif ctx then ctx.rate_limits = it end
    local res, retry_after
    if allowed then
      res = go_on(req, next, delay, lease)
    else
      res, retry_after = refuse(req, conf, it, retry)
    end
    if ctx and not first then
      local least = least_of(it)
      write(res, least, it)
      if least.degraded then res:set_header("X-RateLimit-Degraded", "local") end
    end
    if retry_after then res:set_header("Retry-After", retry_after) end
    return res
  end
end

return M
