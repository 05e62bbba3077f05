--- Stops asking an upstream that fails: 503 with Retry-After at once, until a probe shows that it works.
--
--   closed --too many failures in the window--> open --after open_for--> half-open --success--> closed
--                                                 \_____________________ failure of the probe ____/
--
-- All workers share the state of a key. The key is the route's pattern, a name that several routes share, or
-- what a function(req) returns. A failure is one of `statuses`, or an answer that the gateway had to give
-- in the upstream's place (502, 503, 504). In the half-open state one request at a time is let through.
-- The counts are those of the window under way and of the one before it.
--
--   gw.group("/orders", { { "circuit_breaker", key = "orders", error_ratio = 0.5 } }, function()
--     gw.route("GET /:id", { to = "orders" })
--   end)
local gw = require "moonlatch"

local M = { name = "circuit_breaker" }

M.config = {
  key = { "string", "function", optional = true,
    doc = "A name, or function(req) -> name of at most 200 bytes (else none); or the route's pattern." },
  error_ratio = { "number", default = 0.5, min = 0.01, max = 1, doc = "Share of failures that opens it." },
  min_requests = { "integer", default = 20, min = 1, max = 1000000,
    doc = "Requests in the window before the share counts." },
  window = { "seconds", default = 10, min = 0.1, max = 3600, unit = "seconds", doc = "Length of a window." },
  open_for = { "seconds", default = 10, min = 0.1, max = 3600, unit = "seconds",
    doc = "How long nothing is asked." },
  probe_timeout = { "seconds", default = 30, min = 0.1, max = 3600, unit = "seconds",
    doc = "After so long a probe that did not end is taken for lost, and another one may go." },
  statuses = { "list", of = "integer", default = { 500, 502, 503, 504 },
    doc = "Statuses of the upstream that are failures." },
}

local KEY_MAX = 200

local function key_function(key)
  if type(key) == "function" then return key end
  if key then return function() return key end end
  return function(req) return req.route end
end

local function refusal(left_s)
  local res = gw.error(503, "circuit_open", "The service behind this gateway is failing; try again later")
  res:set_header("Retry-After", math.max(1, math.ceil(left_s)))
  return res
end

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req, next) -> res
function M.new(conf)
  local dict, key_of, window = gw.shared("circuit_breaker"), key_function(conf.key), conf.window
  local statuses = {}
  for _, status in ipairs(conf.statuses) do statuses[status] = true end

  local function is_failure(res)
    if res.from == "gateway" then return res.status >= 502 and res.status <= 504 end
    return statuses[res.status] == true
  end

  -- What was counted under name in this window and the last one, after adding by.
  local function count(key, name, by)
    local now = math.floor(gw.now() / window)
    local id = ("%s:%s:%d"):format(key, name, now)
    local sum = by > 0 and dict:incr(id, by, 2 * window) or dict:get(id) or 0
    return sum + (dict:get(("%s:%s:%d"):format(key, name, now - 1)) or 0)
  end

  local function clear(key)
    local now = math.floor(gw.now() / window)
    for _, name in ipairs { "n", "f" } do
      dict:delete(("%s:%s:%d"):format(key, name, now))
      dict:delete(("%s:%s:%d"):format(key, name, now - 1))
    end
  end

  local function open(key, why)
    dict:set(key .. ":until", gw.now() + conf.open_for, conf.open_for * 10 + 3600)
    gw.log.warn("circuit breaker opened", { key = key, why = why, seconds = conf.open_for })
  end

  local function note(key, res)
    local failed = is_failure(res)
    local n = count(key, "n", 1)
    if not failed then return end
    local failures = count(key, "f", 1)
    if n >= conf.min_requests and failures / n >= conf.error_ratio and not dict:get(key .. ":until") then
      open(key, ("%d of %d requests failed"):format(failures, n))
    end
  end

  -- Half-open: one request goes, and decides.  When its client leaves, or a script fails, the next one may.
  local function probe(key, req, next)
    local slot, mine = key .. ":probe", gw.random_hex(8)
    if not dict:add(slot, mine, conf.probe_timeout) then return refusal(1) end
    local function release()
      if dict:get(slot) == mine then dict:delete(slot) end
    end
    req:on_done(release)
    local res = next()
    release()
    if is_failure(res) then
      open(key, "the probe failed")
    else
      clear(key)
      dict:delete(key .. ":until")
      gw.log.info("circuit breaker closed", { key = key })
    end
    return res
  end

  return function(req, next)
    local key = key_of(req)
    if type(key) ~= "string" or #key > KEY_MAX then return next() end
    local open_until = dict:get(key .. ":until")
    if open_until then
      local left_s = open_until - gw.now()
      if left_s > 0 then return refusal(left_s) end
      return probe(key, req, next)
    end
    local res = next()
    note(key, res)
    return res
  end
end

return M
