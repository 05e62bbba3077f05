--- A shared HTTP cache (RFC 9111) in front of everything inside of it, used by all workers.
--
-- What an upstream declares cacheable (`Cache-Control`, `Expires`) is kept in the shared memory, over
-- reloads, and answered from there as long as it is fresh, also to HEAD, and with 304 to clients that have it
-- already. A stale response that has an `ETag` or `Last-Modified` is revalidated. Nothing is guessed: a
-- response that states no lifetime is kept only with `default_ttl`.
--
-- One request at a time fetches a URL, the others wait for what it brings, at most `wait`. What turned out
-- not to be cacheable is not waited for during the next seconds.
--
-- `stale-while-revalidate` answers at once and asks in the background, `stale-if-error` covers 500, 502,
-- 503, 504 and an upstream that is gone; the options of these names count where a response says nothing.
--
-- A request with `Authorization`, with a `req.user`, or with a session gets and leaves only what says that
-- it is for everybody (`public`, `s-maxage` or `must-revalidate`, RFC 9111 section 3.5); nothing is kept by
-- `default_ttl` when the request has such or a cookie. What else tells clients apart, as a field that
-- `forward_auth` sets, has to be in `Vary` or in `key`.
--
-- `private`, `no-store`, `Vary: *`, `Set-Cookie` and event streams are never kept, nor what varies by a
-- field that a policy inside has changed. Requests with a range, a body, `no-store`, an upgrade or
-- `If-Match` pass through.
--
-- Another method (not GET, HEAD, OPTIONS) that succeeds removes what is kept of its URL, and of `Location`
-- and `Content-Location` on the same host. `PURGE` of a URL does so for clients in `purge`, where a route
-- or `gw.use` lets that method come here.
--
-- A response that may be kept is read before it is passed on, up to `max_body`; a larger one streams on and
-- is not kept. One that broke off is never kept. Bodies lie in the shared memory in parts of 16 KiB, and
-- what is least used goes first: give `shared_memory` of the settings 8 MiB or more. Put policies that refuse
-- (jwt, rate_limit) around it: what is inside does not run for answers from here. Every answer has `X-Cache`:
-- HIT, MISS, STALE, REVALIDATED or BYPASS.
--
--   gw.group("/catalogue", { { "cache", stale_if_error = 600, purge = { "10.0.0.0/8" } } }, function()
--     gw.route("* /*rest", { to = "api" })
--   end)
local cache_store = require "moonlatch.cache_store"
local freshness = require "moonlatch.freshness"
local gw = require "moonlatch"

local M = { name = "cache" }

local function status_complaint(list)
  for _, status in ipairs(list) do
    if status < 200 or status > 599 or status == 206 or status == 304 then
      return ("has %d, which can not be kept"):format(status)
    end
  end
end

M.config = {
  name = { "string", default = "default", min = 1, max = 100,
    doc = "Caches of one name share what they keep." },
  key = { "function", optional = true,
    doc = "function(req) -> text that belongs to the key, beside scheme, host, path and query." },
  bypass = { "function", optional = true, doc = "function(req): true when the cache is not to be used." },
  default_ttl = { "seconds", default = 0, max = 31536000, unit = "seconds",
    doc = "Lifetime of responses that state none; 0 does not keep them." },
  max_ttl = { "seconds", default = 86400, min = 1, max = 31536000, unit = "seconds",
    doc = "Longest lifetime." },
  keep = { "seconds", default = 3600, max = 31536000, unit = "seconds",
    doc = "How long a stale response that can be revalidated stays." },
  stale_while_revalidate = { "seconds", default = 0, max = 31536000, unit = "seconds",
    doc = "Answer with what is stale for no longer, and ask in the background." },
  stale_if_error = { "seconds", default = 0, max = 31536000, unit = "seconds",
    doc = "Answer with what is stale for no longer when the upstream fails." },
  wait = { "seconds", default = 5, min = 0.01, max = 60, unit = "seconds",
    doc = "How long a request waits for another one that fetches the same." },
  max_body = { "size", default = 262144, min = 1, max = 4194304, unit = "bytes", doc = "Largest body." },
  statuses = { "list", of = "integer", default = { 200, 203, 204, 300, 301, 302, 307, 308, 404, 410 },
    check = status_complaint, doc = "Statuses of responses that may be kept." },
  ignore_client = { "boolean", default = false,
    doc = "Ignore Cache-Control and Pragma of requests, so that clients can not make the upstream work." },
  strip_set_cookie = { "boolean", default = false,
    doc = "Keep responses with Set-Cookie, without that field; the first client still gets it." },
  purge = { "list", of = "string", default = {}, doc = "Networks whose clients may PURGE; none by default." },
  header = { "string", default = "X-Cache", doc = "Name of the field that tells what happened.",
    check = function(name)
      if not name:find("^[%w!#$%%&'*+.^_`|~-]+$") then return "is no name of a header" end
    end },
}

local UNCACHEABLE_TTL, FAILED_TTL = 10, 1
local safe = { GET = true, HEAD = true, OPTIONS = true, TRACE = true }
local failures = { [500] = true, [502] = true, [503] = true, [504] = true }
-- Fields of a 304 that must not replace those of the response (RFC 9111 section 3.2).
local of_body = { ["content-length"] = true, ["content-encoding"] = true, ["content-type"] = true,
                  ["content-range"] = true }
-- Fields that are not kept; of framing and of one transfer.
local dropped = { ["set-cookie"] = true, age = true, ["content-length"] = true }
-- Fields of a response that a 304 does not repeat (RFC 9110 section 15.4.5).
local not_in_304 = { ["content-length"] = true, ["content-encoding"] = true, ["content-type"] = true,
                     ["content-language"] = true, ["content-range"] = true }

-- ---- a request: { env, req, url, cc, authorized, none_match, since, variant } ----

local function joined(req, name)
  local values = req:header_values(name)
  return #values > 0 and table.concat(values, ", ") or nil
end

local function url_of(env, req, path, query)
  local extra = env.conf.key and tostring(env.conf.key(req)) or ""
  return cache_store.hash(table.concat({ req.scheme, req.host or "", path, query or "", extra }, "\n"))
end

local function directives_of(env, req)
  if env.conf.ignore_client then return {} end
  local values = req:header_values("cache-control")
  local cc = freshness.directives(values)
  local pragma = #values == 0 and req:header("pragma")
  if pragma and pragma:lower():find("no-cache", 1, true) then cc["no-cache"] = true end
  return cc
end

local function is_personal(req)
  local session = req.ctx.session
  return req:header("authorization") ~= nil or req.user ~= nil
    or (type(session) == "table" and session.is_new == false)
end

local function call_of(env, req)
  local c = { env = env, req = req, cc = directives_of(env, req), personal = is_personal(req) }
  c.url = url_of(env, req, req.path, req.query)
  c.none_match, c.since = joined(req, "if-none-match"), req:header("if-modified-since")
  c.mark = env.store:mark(c.url)
  return c
end

local function passes(env, req)
  local length = req:header("content-length")
  return (env.conf.bypass and env.conf.bypass(req)) or req:header("range") or req:header("upgrade")
    or req:header("if-match") or req:header("if-unmodified-since") or req:header("transfer-encoding")
    or (length and length ~= "0") or directives_of(env, req)["no-store"]
end

local function find(c)
  local e, variant = c.env.store:find(c.url, c.req)
  c.variant = variant
  if e and c.personal and not e.shared then return nil end
  return e
end

-- ---- answers ----

local function fields_of(res)
  local fields = {}
  for name, value in res:each_header() do fields[#fields + 1] = { name, value } end
  return fields
end

-- A response with these fields but those whose names are in `without`.
local function response(status, body, fields, without)
  local headers, spelled, typed = {}, {}, false
  for _, field in ipairs(fields) do
    local lower = field[1]:lower()
    typed = typed or lower == "content-type"
    if not without[lower] then
      local name = spelled[lower] or field[1]
      spelled[lower] = name
      headers[name] = headers[name] or {}
      table.insert(headers[name], field[2])
    end
  end
  local res = gw.response(status, body, headers)
  if not typed and body then res:remove_header("Content-Type") end -- which was not known then either
  return res
end

local function has_already(c, status, etag, modified)
  return status == 200 and freshness.not_modified(c.none_match, c.since, etag, modified)
end

local function answer(c, e, body, cookies)
  local res
  if has_already(c, e.status, e.etag, e.modified) then
    res = response(304, nil, e.fields, not_in_304)
  else
    res = response(e.status, body ~= "" and body or nil, e.fields, dropped)
  end
  local age = freshness.age(e, gw.now())
  res:set_header("Age", ("%d"):format(math.floor(age)))
  if cookies and #cookies > 0 then res:set_header("Set-Cookie", cookies) end
  return res
end

-- The upstream's response to a request from which the client's conditions were taken.
local function fulfil(c, res)
  if not c.taken or not has_already(c, res.status, res:header("etag"), res:header("last-modified")) then
    return res
  end
  return response(304, nil, fields_of(res), not_in_304)
end

-- ---- keeping ----

-- With the date at which it was made: the one that it is sent at would make it look new.
local function kept_fields(fields)
  local kept, dated = {}, false
  for _, field in ipairs(fields) do
    local name = field[1]:lower()
    dated = dated or name == "date"
    if not dropped[name] then kept[#kept + 1] = field end
  end
  if not dated then kept[#kept + 1] = { "Date", os.date("!%a, %d %b %Y %H:%M:%S GMT", gw.now()) } end
  return kept
end

local function describe(c, status, fields, asked)
  local conf = c.env.conf
  local guess = conf.default_ttl > 0 and not c.personal and not c.req:header("cookie")
  local e = freshness.describe(fields, {
    asked = asked, now = gw.now(), authorized = c.personal, default_ttl = guess and conf.default_ttl or 0,
    max_ttl = conf.max_ttl, keep = conf.keep, stale_while_revalidate = conf.stale_while_revalidate,
    stale_if_error = conf.stale_if_error,
  })
  if e then e.status, e.fields = status, kept_fields(fields) end
  return e
end

local function storable(c, res, asked)
  if c.req.method ~= "GET" or res.from == "gateway" or not c.env.statuses[res.status] then return nil end
  if res:header("set-cookie") and not c.env.conf.strip_set_cookie then return nil end
  return describe(c, res.status, fields_of(res), asked)
end

local function release(c)
  if c.unlock then c.unlock() end
  c.unlock = nil
end

-- Those who wait may go, each for himself.
local function give_up(c, ttl)
  if not c.personal and c.req.method == "GET" then c.env.store:set_uncacheable(c.url, ttl) end
  release(c)
end

local function put(c, e, body)
  local done, why = c.env.store:put(c.url, c.req, c.before, e, body, c.mark)
  if not done then gw.log.debug("cache: not kept", { why = why, path = c.req.path }) end
  release(c)
end

local function may_stand_in(c, e)
  return e and c.body and freshness.may_replace_error(e, c.cc, gw.now())
end

-- What came is kept, if it may be and is whole.
local function keep(c, stale, res, asked)
  local e = storable(c, res, asked)
  local length = tonumber(res:header("content-length"))
  if not e or (length and length > c.env.conf.max_body) then
    give_up(c, failures[res.status] and FAILED_TTL or UNCACHEABLE_TTL)
    return fulfil(c, res), "MISS"
  end
  local body, code = res:body { max = c.env.conf.max_body } -- as it came, with its coding
  if not body then
    give_up(c, code == "too_large" and UNCACHEABLE_TTL or FAILED_TTL)
    if code ~= "too_large" and may_stand_in(c, stale) then return answer(c, stale, c.body), "STALE" end
    return fulfil(c, res), "MISS"
  end
  put(c, e, body)
  return fulfil(c, res), "MISS"
end

-- ---- asking the upstream ----

local function set_conditions(req, none_match, since)
  req:set_header("If-None-Match", none_match)
  req:set_header("If-Modified-Since", since)
end

-- The entry with the fields of the 304 (RFC 9111 section 4.3.4).
local function freshen(c, e, res, asked)
  local replaced, fields, cookies = { date = true }, {}, res:header_values("set-cookie")
  for _, field in ipairs(fields_of(res)) do
    local name = field[1]:lower()
    if not of_body[name] then
      replaced[name] = true
      fields[#fields + 1] = field
    end
  end
  for _, field in ipairs(e.fields) do
    if not replaced[field[1]:lower()] then fields[#fields + 1] = field end
  end
  local fresh = describe(c, e.status, fields, asked)
  if fresh then
    put(c, fresh, c.body)
  else
    c.env.store:invalidate(c.url)
    give_up(c, UNCACHEABLE_TTL)
    fresh = e
  end
  return answer(c, fresh, c.body, cookies), "REVALIDATED"
end

-- next() with conditions of our own, or none, in the place of the client's.
local function ask(c, e, next)
  local req = c.req
  local take = req.method == "GET" and (e or not (c.personal or c.uncacheable))
  if not take then return next() end
  c.taken = true
  set_conditions(req, e and e.etag, e and not e.etag and e.modified or nil)
  local res = next()
  set_conditions(req, c.none_match, c.since)
  return res
end

local function is_other(e, res)
  local tag = res:header("etag")
  return e.etag and tag and not freshness.same_tag(e.etag, tag)
end

-- @return res, what X-Cache says
local function forward(c, e, next)
  c.body = e and c.env.store:body(e)
  if not c.body then e = nil end
  local can_revalidate = e and c.req.method == "GET" and (e.etag or e.modified)
  local asked = gw.now()
  c.before = cache_store.snapshot(c.req)
  local res = ask(c, can_revalidate and e or nil, next)
  c.personal = c.personal or is_personal(c.req) -- a policy inside may know the client
  if res.status == 304 and can_revalidate then
    if not is_other(e, res) then return freshen(c, e, res, asked) end
    asked = gw.now()
    res = ask(c, nil, next) -- it speaks of another representation than ours
  end
  if failures[res.status] and may_stand_in(c, e) then
    give_up(c, FAILED_TTL)
    return answer(c, e, c.body), "STALE"
  end
  return keep(c, e, res, asked)
end

-- A copy of the request goes on behind the client's back.
local function refresh(c, e, next)
  local unlock = c.env.store:lock(c.url, c.variant, c.env.conf.wait)
  if not unlock then return end
  local ctx, user = c.req.ctx, c.req.user
  local started, code = gw.detach(function(req)
    for key, value in pairs(ctx) do req.ctx[key] = value end
    req.user = user
    req:on_done(unlock)
    local again = { env = c.env, req = req, url = c.url, cc = {}, personal = c.personal, variant = c.variant,
                    mark = c.mark, unlock = unlock }
    set_conditions(req, nil, nil)
    return (forward(again, e, next))
  end)
  if started then return end
  unlock()
  if code ~= "cancelled" then gw.log.warn("cache: no refresh in the background", { code = code }) end
end

-- ---- one fetch at a time ----

-- Waits until somebody else's fetch ended.
-- @return the new entry, if that one may be used | nil, true: nobody fetches any more
local function await(c, before)
  local store, pause, deadline = c.env.store, 0.002, gw.mono() + c.env.conf.wait
  while gw.mono() < deadline do
    gw.sleep(pause)
    pause = math.min(pause * 1.5, 0.05)
    local locked = store:is_locked(c.url, c.variant)
    local e = find(c)
    if e and e.id ~= before and freshness.verdict(e, c.cc, gw.now()) then return e end
    if not locked then return nil, true end
  end
  return nil, false
end

local function is_plain(c)
  local cc = c.cc
  return c.req.method == "GET" and not c.personal and not (cc["no-cache"] or cc["max-age"] or cc["min-fresh"])
end

local function lead(c, e, next, unlock)
  c.unlock = unlock
  c.req:on_done(unlock) -- also when the client leaves
  local res, how = forward(c, e, next)
  release(c)
  return res, how
end

local function fetch(c, e, next)
  local store = c.env.store
  c.uncacheable = store:is_uncacheable(c.url)
  if c.uncacheable or not is_plain(c) then return forward(c, e, next) end
  local unlock = store:lock(c.url, c.variant, c.env.conf.wait)
  if unlock then return lead(c, e, next, unlock) end
  local new, ended = await(c, e and e.id)
  local body = new and store:body(new)
  if body then return answer(c, new, body), "HIT" end
  if not ended and e and freshness.may_replace_error(e, c.cc, gw.now()) then
    body = store:body(e)
    if body then return answer(c, e, body), "STALE" end
  end
  return forward(c, e, next)
end

-- ---- requests ----

local function serve(c, next)
  local e = find(c)
  local how = e and freshness.verdict(e, c.cc, gw.now())
  local body = how and c.env.store:body(e)
  if body then
    if how == "REFRESH" then
      refresh(c, e, next)
      how = "STALE"
    end
    return answer(c, e, body), how
  end
  if c.cc["only-if-cached"] then
    return gw.error(504, "not_cached", "There is no usable stored response"), "MISS"
  end
  return fetch(c, e, next)
end

-- Removes what the target of a Location on the same host has.
local function invalidate_target(env, req, value)
  if not value then return end
  local scheme, host, rest = value:match("^(%a[%w+.-]*)://([^/?#]*)([^#]*)")
  if scheme and (scheme:lower() ~= req.scheme or host:lower():gsub(":%d+$", "") ~= req.host) then return end
  local path, query = (rest or value:match("^/[^#]*") or ""):match("^([^?]*)%??(.*)$")
  if value:find("^//") then return end
  if path == "" and not scheme then return end
  env.store:invalidate(url_of(env, req, path == "" and "/" or path, query))
end

local function change(env, req, next)
  local res = next()
  if safe[req.method] or res.status >= 400 then return res end
  env.store:invalidate(url_of(env, req, req.path, req.query))
  invalidate_target(env, req, res:header("location"))
  invalidate_target(env, req, res:header("content-location"))
  return res
end

local function purge(env, req)
  if not env.purgers:has(req.ip) then
    return gw.error(403, "purge_forbidden", "This address may not purge")
  end
  local was = env.store:invalidate(url_of(env, req, req.path, req.query))
  return gw.response(was and 200 or 404, { purged = was })
end

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req, next) -> res
function M.new(conf)
  local longest = conf.max_ttl + math.max(conf.keep, conf.stale_while_revalidate, conf.stale_if_error)
  local env = { conf = conf, statuses = {}, store = cache_store.new(conf.name, longest) }
  for _, status in ipairs(conf.statuses) do env.statuses[status] = true end
  env.purgers = #conf.purge > 0 and gw.networks(conf.purge)

  return function(req, next)
    local method, how = req.method, "BYPASS"
    local res
    if method == "PURGE" and env.purgers then return purge(env, req) end
    if method ~= "GET" and method ~= "HEAD" then
      res = change(env, req, next)
    elseif passes(env, req) then
      res = next()
    else
      res, how = serve(call_of(env, req), next)
    end
    res:set_header(conf.header, how)
    return res
  end
end

return M
