--- Asks the upstream again when it failed, with pauses that grow, and never so often that it does harm.
--
-- A request is tried again when the answer is the gateway's own 502, 503 or 504 (`errors`), or has one of
-- `statuses` and no Retry-After. Only methods that may be repeated (RFC 9110 section 9.2.2) are, unless
-- `methods` says more. A body of up to `max_body` bytes is kept to be sent again; a request with a larger one
-- has one attempt. Pauses are random, up to `backoff` doubled with each attempt, so clients that failed
-- together do not come back together.
--
-- The budget: each request adds `budget` to an account of at most `reserve`, each retry takes 1 from it, and
-- without credit there are no retries. So retries are at most 20 % of the requests beyond the first ten: an
-- upstream that is down is not asked three times as often. The account is that of one worker.
--
--   gw.group("/api", { { "timeout", seconds = 10 }, { "retry", attempts = 3 } }, function()
--     gw.route("GET /orders", { to = "orders" })
--   end)
local gw = require "moonlatch"

local M = { name = "retry" }

M.config = {
  attempts = { "integer", default = 2, min = 2, max = 10, doc = "Attempts in all." },
  statuses = { "list", of = "integer", default = {},
    doc = "Statuses of the upstream after which to try again." },
  errors = { "boolean", default = true, doc = "Try again when no answer of the upstream came." },
  methods = { "list", of = "string", default = { "GET", "HEAD", "OPTIONS", "PUT", "DELETE" },
    doc = "Methods that may be repeated." },
  backoff = { "seconds", default = 0.05, max = 60, unit = "seconds",
    doc = "Longest pause before attempt 2." },
  max_backoff = { "seconds", default = 1, max = 60, unit = "seconds", doc = "Longest pause at all." },
  max_body = { "size", default = 65536, max = 16777216, unit = "bytes",
    doc = "Largest request body that is kept to be sent again." },
  budget = { "number", default = 0.2, min = 0, max = 10, doc = "Retries per request." },
  reserve = { "integer", default = 10, min = 0, max = 100000, doc = "Retries that are possible at once." },
}

local function set_of(list)
  local set = {}
  for _, value in ipairs(list) do set[value] = true end
  return set
end

local gateway_errors = set_of { 502, 503, 504 }

-- function(res) -> is it worth another attempt?
local function judge(conf)
  local statuses = set_of(conf.statuses)
  return function(res)
    local status = res.status
    if res.from == "gateway" then return conf.errors and gateway_errors[status] end
    return statuses[status] and res:header("retry-after") == nil
  end
end

-- Can the request be sent again?  Keeps its body.
local function repeatable(req, max_body)
  if not req:header("content-length") and not req:header("transfer-encoding") then return true end
  return req:body { max = max_body } ~= nil
end

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req, next) -> res
function M.new(conf)
  local methods, failed, credit = set_of(conf.methods), judge(conf), conf.reserve

  local function pause(attempt)
    local longest = math.min(conf.max_backoff, conf.backoff * 2 ^ (attempt - 1))
    gw.sleep(longest * gw.random())
  end

  return function(req, next)
    credit = math.min(conf.reserve, credit + conf.budget)
    if not methods[req.method] or not repeatable(req, conf.max_body) then return next() end
    local attempt, res = 1, next()
    while attempt < conf.attempts and failed(res) and credit >= 1 do
      credit = credit - 1
      pause(attempt)
      attempt = attempt + 1
      res = next()
    end
    return res
  end
end

return M
