--- Where examples/hospital answers otherwise than the hospital's Node stack, and why: read by judge.lua, and
-- told in docs/hospital.md.  A difference that is in no row here is a mistake.
--
-- cases, field: Lua patterns of what the runner prints, for whole names; why: the number of the finding, or the
-- reason.
local M = {}

local any = ".*"

M.rows = {
  -- answers of services
  { cases = any, field = ".*headers%.x%-powered%-by", why = "20: what runs behind the gateway is nobody's business" },
  { cases = any, field = ".*headers%.access%-control%-expose%-headers", why = "47: pages may read limits and request ids" },
  { cases = "rate%-limit/.*", field = ".*body%.retryAfter", why = "41: computed, in seconds" },
  { cases = "rate%-limit/refusal%-head", field = "headers%.content%-length%.0", why = "41: that body is shorter" },
  { cases = "rate%-limit/xff%-.*", field = any, why = "41: and so the runner asks again, of addresses that were counted" },

  -- CORS
  { cases = "cors/preflight.*", field = "headers%.content%-length", why = "RFC 9110 8.6: a 204 has no Content-Length" },
  { cases = "security%-headers/preflight", field = "headers%.content%-length",
    why = "RFC 9110 8.6: a 204 has no Content-Length" },
  { cases = "cors/options%-no%-origin", field = any, why = "36: only a real preflight is answered by CORS" },
  { cases = "auth/method%-options", field = any, why = "36: only a real preflight is answered by CORS" },

  -- limits
  { cases = "health/.*", field = "headers%.ratelimit%-.*", why = "16: exactly /health is not counted" },
  { cases = "rate%-limit/metrics%-slash", field = any, why = "16: exact paths; /metrics/ is no path of ours" },

  -- paths
  { cases = "auth/login%-encoded", field = any, why = "35: routed as it is forwarded, escapes of letters decoded" },
  { cases = "auth/prefix%-encoded%-letter", field = any, why = "35: routed as it is forwarded, escapes of letters decoded" },
  { cases = "auth/prefix%-encoded%-slash", field = any, why = "35: an escaped slash is refused (docs/http.md)" },
  { cases = "proxying/path%-encoded", field = any, why = "35: an escaped slash and broken escapes are refused" },
  { cases = "auth/prefix%-upper", field = any, why = "35: paths have a case (RFC 3986 6.2.2.1)" },
  { cases = "proxying/path%-upper", field = any, why = "35: paths have a case (RFC 3986 6.2.2.1)" },

  -- tokens
  { cases = "auth/nbf%-string", field = "body%.message", why = "the message does not name the claim; 401 as well" },

  -- what the services get
  { cases = "proxying/forwarded.*", field = "body%.echo%.headers.*", why = "21: what strangers say is replaced" },
  { cases = "proxying/real%-ip", field = "body%.echo%.headers.*", why = "21: what strangers say is replaced" },
  { cases = "proxying/headers%-cookie%-two", field = "body%.echo%.headers.*", why = "fields stay as they came (RFC 9110 5.3)" },
  { cases = "proxying/headers%-repeated", field = "body%.echo%.headers.*", why = "fields stay as they came (RFC 9110 5.3)" },
  { cases = "proxying/headers%-underscore", field = "body%.echo%.headers.*",
    why = "names with underscores are dropped: many programs take them for names with hyphens" },
  { cases = "security%-headers/request%-id%-.*", field = any,
    why = "a request id is taken from trusted proxies only" },

  -- metrics
  { cases = "metrics/families", field = "families%.http_request_duration_seconds%.le%..*",
    why = "finer buckets come before those of the guide: most answers take less than 0.1 s" },
  { cases = "metrics/accept%-openmetrics", field = "headers%.content%-type%.0",
    why = "who prefers OpenMetrics gets it" },
  { cases = "metrics/post", field = any, why = "405 with Allow (RFC 9110 15.5.6): the path is there" },

  -- logs
  { cases = "logs/.*", field = "records%.%d+%.@?timestamp", why = "11: the name of the guide's mapping" },
  { cases = "logs/.*", field = "records%.%d+%.requestId", why = "a request id is taken from trusted proxies only" },
  { cases = "logs/.*", field = "records%.%d+%.responseTime", why = "11: milliseconds with their fraction" },
  { cases = "logs/.*", field = "records%.%d+%.bytes.*", why = "11: more fields beside the mapped ones" },
  { cases = "logs/.*", field = "records%.%d+%.upstream.*", why = "11: more fields beside the mapped ones" },
  { cases = "logs/.*", field = "records%.%d+%.generation", why = "11: more fields beside the mapped ones" },
  { cases = "logs/.*", field = "records%.%d+%.ip", why = "11: more fields beside the mapped ones" },
  { cases = "logs/.*", field = "records%.%d+%.protocol", why = "11: more fields beside the mapped ones" },
  { cases = "logs/.*", field = "records%.%d+%.reason", why = "11: more fields beside the mapped ones" },
  { cases = "logs/.*", field = "records%.%d+%.route", why = "11: more fields beside the mapped ones" },
  { cases = "logs/.*", field = "records%.%d+%.server", why = "11: more fields beside the mapped ones" },
  { cases = "logs/.*", field = "records%.%d+%.tries", why = "11: more fields beside the mapped ones" },

  -- the balancer
  { cases = "lb/.*", field = "headers%.server", why = "20: what runs here is nobody's business" },
  { cases = "lb/.*", field = "headers%.content%-security%-policy.*", why = "14: one value, on everything" },
  { cases = "lb/.*", field = "headers%.strict%-transport%-security.*", why = "14: one value, on everything" },
  { cases = "lb/.*", field = "headers%.x%-.*", why = "14: one value of each, on everything" },
  { cases = "lb/.*", field = "headers%.cross%-origin%-.*", why = "14: also on the page" },
  { cases = "lb/.*", field = "headers%.origin%-agent%-cluster.*", why = "14: also on the page" },
  { cases = "lb/.*", field = "headers%.referrer%-policy.*", why = "14: also on the page" },
  { cases = "lb/.*", field = "headers%.ratelimit%-.*", why = "40: they tell of the limit that is nearer, here the edge's" },
  { cases = "lb/.*", field = "headers%.vary%..*", why = "46: merged" },
  { cases = "lb/api%-.*", field = "body%.echo%.headers.*", why = "21: what strangers say is replaced" },
  { cases = "lb/.*", field = "headers%.content%-type.*",
    why = "text has a charset, JavaScript its type of RFC 9239, refusals are JSON" },
  { cases = "lb/.*", field = "headers%.cache%-control.*", why = "11: one value; the page itself is asked for anew" },
  { cases = "lb/static%-.*", field = "headers%.expires", why = "Cache-Control says it (RFC 9111 5.3)" },
  { cases = "lb/static%-post", field = "headers%.allow", why = "RFC 9110 15.5.6: a 405 says what is allowed" },
  { cases = "lb/graphql%-prefix", field = any, why = "44: exact paths; everything else is the page" },
  { cases = "lb/health%-host", field = any, why = "44: exact paths; everything else is the page" },
  { cases = "lb/redirect%-.*", field = any, why = "45: 308, with a body of its own" },

  -- connections
  { cases = "websocket/service%-path", field = "handshake%.status",
    why = "an upgrade that no route takes is an ordinary request (RFC 9110 7.8)" },
  { cases = "proxying/response%-chunked", field = ".*", why = "a small answer that is whole has a length" },
  { cases = "http/http10%-chunked%-upstream", field = ".*", why = "a small answer that is whole has a length" },
  { cases = "http/.*", field = "headers%.keep%-alive", why = "Keep-Alive is no field of HTTP/1.1 (RFC 9112 C.2.2)" },
  { cases = "http/leading%-crlf", field = "headers%.connection", why = "HTTP/1.1 stays open without saying so" },
  { cases = "http/expect%-unknown", field = "closed", why = "closed after 417, as the body may still come" },
  { cases = "http/pipelining", field = ".*ratelimit%-remaining.*", why = "each request is counted when it is its turn" },
  { cases = "proxying/method%-unknown", field = "closed", why = "the request was well formed: the connection stays" },
}

--- Groups that are compared: those of the policies.
M.groups = { "auth", "cors", "health", "http", "lb", "logs", "metrics", "proxying", "rate-limit", "security-headers", "slow-down",
             "websocket" }

return M
