--- What RFC 9111 says of a response: may it be kept, how long is it fresh, what may be done with a stale one.
--
-- Pure: it knows fields and times, no requests and no store.  Fields are a list of { name, value }.
local M = {}

local FOREVER = 2 ^ 31 -- RFC 9111 section 1.2.2: as good as any larger number

-- ---- Cache-Control ----

-- A number of seconds; what is none makes the response stale (RFC 9111 section 4.2.1).
local function seconds(text)
  if type(text) ~= "string" or not text:find("^%d+$") then return 0 end
  return math.min(tonumber(text), FOREVER)
end

local timed = { ["max-age"] = true, ["s-maxage"] = true, ["min-fresh"] = true,
                ["stale-while-revalidate"] = true, ["stale-if-error"] = true }

local function note(found, name, value)
  if timed[name] then
    value = seconds(value)
    found[name] = math.min(found[name] or FOREVER, value)
  elseif name == "max-stale" then
    found[name] = value == nil and FOREVER or seconds(value)
  else
    found[name] = true -- also no-cache="field": the strict reading is always allowed
  end
end

--- The directives of Cache-Control fields: name -> true, or seconds.
-- @param values list of field values
function M.directives(values)
  local found = {}
  for _, text in ipairs(values) do
    local at = 1
    while at <= #text do
      local name, after = text:match("^[%s,]*([^%s,=\"]+)()", at)
      if not name then break end
      local value, past = text:match('^%s*=%s*"([^"]*)"()', after)
      if not value then value, past = text:match("^%s*=%s*([^%s,]*)()", after) end
      note(found, name:lower(), value)
      at = past or after
    end
  end
  return found
end

-- ---- dates (RFC 9110 section 5.6.7) ----

local months = { jan = 1, feb = 2, mar = 3, apr = 4, may = 5, jun = 6, jul = 7, aug = 8, sep = 9, oct = 10,
                 nov = 11, dec = 12 }

-- Days since 1970 of a date of the Gregorian calendar.
local function days(year, month, day)
  if month <= 2 then year, month = year - 1, month + 12 end
  return 365 * year + math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
    + math.floor((153 * (month - 3) + 2) / 5) + day - 1 - 719468
end

local function full_year(text)
  local year = tonumber(text)
  if #text == 4 then return year end
  return year + (year < 70 and 2000 or 1900)
end

--- Seconds since 1970, or nil when it is no date of HTTP.
function M.date(text)
  local day, month, year, h, m, s =
    text:match("^%a+, (%d%d)[ -](%a%a%a)[ -](%d%d%d?%d?) (%d%d):(%d%d):(%d%d) GMT$")
  if not day then
    month, day, h, m, s, year = text:match("^%a%a%a (%a%a%a) ([ %d]%d) (%d%d):(%d%d):(%d%d) (%d%d%d%d)$")
  end
  local number = month and months[month:lower()]
  if not number then return nil end
  return days(full_year(year), number, tonumber(day)) * 86400 + h * 3600 + m * 60 + s
end

-- ---- fields ----

--- name (lower case) -> its values joined by ", ", and the list of Cache-Control's values.
local function index(fields)
  local of, control = {}, {}
  for _, field in ipairs(fields) do
    local name, value = field[1]:lower(), field[2]
    of[name] = of[name] and of[name] .. ", " .. value or value
    if name == "cache-control" then control[#control + 1] = value end
  end
  return of, control
end

--- Names that Vary lists: sorted, in lower case, separated by commas; nil for "*".
local function vary_of(text)
  local names, seen = {}, {}
  for name in (text or ""):gmatch("[^%s,]+") do
    name = name:lower()
    if name == "*" then return nil end
    if not seen[name] then names[#names + 1] = name end
    seen[name] = true
  end
  table.sort(names)
  return table.concat(names, ",")
end

-- ---- lifetime and age (RFC 9111 section 4.2) ----

-- nil: the response says nothing
local function stated_lifetime(cc, of, date)
  local said = cc["s-maxage"] or cc["max-age"]
  if said then return said end
  if not of.expires then return nil end
  local expires = M.date(of.expires)
  return expires and math.max(0, expires - date) or 0
end

local function initial_age(of, date, asked, now)
  local told = of.age and of.age:match("^%s*(%d+)")
  return math.max(0, now - date, (told and math.min(tonumber(told), FOREVER) or 0) + now - asked)
end

-- What a directive allows beyond the lifetime, or what the site allows by itself: not against s-maxage, which
-- says that a shared cache has to ask (RFC 9111 section 5.2.2.10).
local function grace(cc, name, otherwise)
  if cc["must-revalidate"] or cc["proxy-revalidate"] then return 0 end
  return cc[name] or (cc["s-maxage"] and 0 or otherwise)
end

-- May a shared cache keep it at all?  (RFC 9111 sections 3 and 3.5)
local function allowed(cc, of, rules)
  if cc["no-store"] or cc.private or of["content-range"] then return false end
  if rules.authorized and not (cc.public or cc["s-maxage"] or cc["must-revalidate"]) then return false end
  return not (of["content-type"] or ""):lower():find("^%s*text/event%-stream")
end

--- Describes a response that may be kept.
-- @param fields list of { name, value }
-- @param rules { asked = time of the request, now =, authorized = bool, default_ttl =, max_ttl =,
--   stale_while_revalidate =, stale_if_error =, keep = seconds that stale ones with a validator stay }
-- @return nil when it must not be kept, or is of no use; else { base = time at which its age was 0, lifetime,
--   no_cache, strict, shared, immutable, swr, sie, by_s_maxage, etag, modified, vary, ttl }
function M.describe(fields, rules)
  local of, control = index(fields)
  local cc, vary = M.directives(control), vary_of(of.vary)
  if not vary or not allowed(cc, of, rules) then return nil end
  local date = of.date and M.date(of.date) or rules.now
  local age, stated = initial_age(of, date, rules.asked, rules.now), stated_lifetime(cc, of, date)
  if not stated and rules.default_ttl == 0 and not cc["no-cache"] then return nil end -- nobody allowed it
  local lifetime = math.min(stated or rules.default_ttl, rules.max_ttl)
  local e = {
    base = rules.now - age, lifetime = lifetime, no_cache = cc["no-cache"], vary = vary,
    strict = cc["must-revalidate"] or cc["proxy-revalidate"], immutable = cc.immutable,
    shared = cc.public or cc["s-maxage"] ~= nil or cc["must-revalidate"], by_s_maxage = cc["s-maxage"] ~= nil,
    swr = grace(cc, "stale-while-revalidate", rules.stale_while_revalidate),
    sie = grace(cc, "stale-if-error", rules.stale_if_error),
    etag = of.etag, modified = of["last-modified"],
  }
  local validator = e.etag or e.modified
  if e.no_cache and not validator then return nil end
  e.ttl = math.max(0, lifetime - age) + math.max(e.swr, e.sie, validator and rules.keep or 0)
  return e.ttl > 0 and e or nil
end

--- Age in seconds, and how long it is still fresh (negative: stale for so long).
function M.age(e, now)
  local age = math.max(0, now - e.base)
  return age, e.lifetime - age
end

--- What may be done with an entry that was asked for with these directives.
-- @return "HIT", "STALE", "REFRESH" (serve it stale, ask in the background) or nil: ask first
function M.verdict(e, cc, now)
  local age, left = M.age(e, now)
  if e.no_cache or cc["no-cache"] then return nil end
  local limit = cc["max-age"]
  if limit == 0 and e.immutable and left > 0 then limit = nil end -- a plain reload (RFC 8246)
  if (limit and age > limit) or (cc["min-fresh"] and left < cc["min-fresh"]) then return nil end
  if left > 0 then return "HIT" end
  if e.strict then return nil end
  if -left <= e.swr then return "REFRESH" end
  if cc["max-stale"] and not e.by_s_maxage and -left <= cc["max-stale"] then return "STALE" end
end

--- May it be served although asking failed?
function M.may_replace_error(e, cc, now)
  if e.no_cache or e.strict then return false end
  local _, left = M.age(e, now)
  local client = not e.by_s_maxage and cc["stale-if-error"] or 0
  return -left <= math.max(e.sie, client)
end

-- ---- conditions of clients (RFC 9110 section 13) ----

local function matches_tag(list, etag)
  if list:match("^%s*(.-)%s*$") == "*" then return true end
  local plain = etag and etag:gsub("^W/", "")
  for tag in list:gmatch('"[^"]*"') do
    if tag == plain then return true end
  end
  return false
end

--- Is what the client has still good?
-- @param none_match, since values of If-None-Match and If-Modified-Since, or nil
function M.not_modified(none_match, since, etag, modified)
  if none_match then return matches_tag(none_match, etag) end
  if not since or not modified then return false end
  local mark, changed = M.date(since), M.date(modified)
  return mark ~= nil and changed ~= nil and changed <= mark
end

--- Do two entity tags name the same (weak comparison)?
function M.same_tag(a, b)
  return (a:gsub("^W/", "")) == (b:gsub("^W/", ""))
end

return M
