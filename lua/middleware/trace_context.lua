--- Takes part in distributed traces: `traceparent` and `tracestate` of the W3C Trace Context recommendation.
--
-- A well-formed `traceparent` goes on to the upstream with the same trace id and a parent id of our own, and
-- with the sender's `tracestate` when that is well formed. A malformed or missing one begins a new trace, as
-- section 4.3 of the recommendation demands, and then the `tracestate` is dropped. `req.ctx.trace` has
-- `id`, `parent` (nil in a new trace), `span` and `sampled` for other policies and for log lines. The access
-- log gets `traceId` and `spanId`. Where the site has the setting `tracing`, the core does all of this: then
-- the policy only tells what the core has decided, and `sample` and `accept_from` count no more.
--
--   gw.use { { "trace_context", sample = 0.1, response_header = "traceresponse" } }
--   gw.route("GET /x", function(req)
--     gw.log.info("seen", { traceId = req.ctx.trace.id })
--     return gw.response(204)
--   end)
local gw = require "moonlatch"

local M = { name = "trace_context" }

M.config = {
  sample = { "number", default = 1, min = 0, max = 1,
    doc = "Share of the traces begun here that say `sampled`; those of others keep what they say." },
  accept_from = { "list", of = "string", optional = true,
    doc = "Networks of peers whose traces are continued; without it, everybody's." },
  response_header = { "string", optional = true, min = 1,
    doc = "Name of a response header that tells the client the trace." },
}

local ZERO_TRACE, ZERO_SPAN = ("0"):rep(32), ("0"):rep(16)

local function hex(digits) return ("[0-9a-f]"):rep(digits) end

local FORM = "^(" .. hex(2) .. ")%-(" .. hex(32) .. ")%-(" .. hex(16) .. ")%-(" .. hex(2) .. ")(.*)$"

-- trace id, parent id, flags (number) of a traceparent, or nothing
local function parse(text)
  local version, trace, parent, flags, more = text:match(FORM)
  if not version or version == "ff" or trace == ZERO_TRACE or parent == ZERO_SPAN then return end
  if more ~= "" and (version == "00" or more:sub(1, 1) ~= "-") then return end
  return trace, parent, tonumber(flags, 16)
end

local function member_ok(member)
  local key, value = member:match("^([^=]*)=(.*)$")
  if not key or value == "" or #value > 256 or value:find("[^\32-\126]") or value:find("[,=]") then
    return false
  end
  local tenant, system = key:match("^([a-z0-9][a-z0-9_*/-]*)@([a-z][a-z0-9_*/-]*)$")
  if tenant then return #tenant <= 241 and #system <= 14 end
  return #key <= 256 and key:find("^[a-z][a-z0-9_*/-]*$") ~= nil
end

-- The tracestate of all its lines as one, or nil when it is malformed or empty.
local function state_of(req)
  local members, seen = {}, {}
  for member in (table.concat(req:header_values("tracestate"), ",") .. ","):gmatch("[ \t]*([^,]-)[ \t]*,") do
    if member ~= "" then
      local key = member:match("^[^=]*")
      if seen[key] or not member_ok(member) or #members == 32 then return nil end
      seen[key] = true
      members[#members + 1] = member
    end
  end
  return #members > 0 and table.concat(members, ",") or nil
end

-- The trace that the request belongs to: { id, parent, span, sampled, state }.
local function continued(req)
  local lines = req:header_values("traceparent")
  if #lines ~= 1 then return nil end
  local trace, parent, flags = parse(lines[1])
  if not trace then return nil end
  return { id = trace, parent = parent, sampled = flags % 2 == 1, state = state_of(req) }
end

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req, next) -> res
function M.new(conf)
  local peers = conf.accept_from and gw.networks(conf.accept_from)
  local name = conf.response_header

  return function(req, next)
    local own = req.trace
    local trace = own or (not peers or peers:has(req.peer_ip)) and continued(req)
    if not trace then
      trace = { id = gw.random_hex(16), sampled = gw.random() < conf.sample }
    end
    if not own then
      trace.span = gw.random_hex(8)
      req:log_field("traceId", trace.id)
      req:log_field("spanId", trace.span)
    end
    req.ctx.trace = trace
    local text = ("00-%s-%s-%s"):format(trace.id, trace.span, trace.sampled and "01" or "00")
    if not own then
      req:set_header("traceparent", text)
      req:set_header("tracestate", trace.state)
    end
    if not name then return next() end
    local res = next()
    res:set_header(name, text)
    return res
  end
end

return M
