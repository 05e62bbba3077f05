--- `why`, `explain`, `generations` and `top` as text for people: more functions of cli.lua, its argument.
--
-- They get the decoded JSON of an answer (null is a light userdata) and return text that ends with a newline
-- and holds no control character that a terminal would obey.
local M = ...

local function known(value)
  if type(value) == "userdata" then return nil end
  return value
end

local function text(value)
  value = known(value)
  return value == nil and "-" or (tostring(value):gsub("[%c\127]", "?"))
end

local function list_of(value) return type(value) == "table" and value or {} end

local function ms(value)
  value = tonumber(known(value))
  if not value then return "-" end
  return (value < 10 and "%.2f ms" or value < 1000 and "%.1f ms" or "%.0f ms"):format(value)
end

-- ---- why ----

local function outcome_of(e)
  local reason = known(e.reason)
  return ("%s%s%s"):format(text(e.status), reason and " (" .. text(reason) .. ")" or "",
                           e.slow == true and ", slow" or "")
end

local function steps_of(e, lines)
  local rows = {}
  for i, s in ipairs(list_of(e.steps)) do
    rows[i] = { "  " .. text(s.name), text(s.outcome) .. (known(s.status) and " " .. text(s.status) or ""),
                known(s.cpuMs) and ms(s.cpuMs) or "", known(s.wallMs) and ms(s.wallMs) or "", text(s.at) }
  end
  if #rows == 0 then return end
  lines[#lines + 1] = M.table({ "  MIDDLEWARE", "DECIDED", "CPU", "WALL", "AT" }, rows,
                              { CPU = true, WALL = true })
end

local function tries_of(e, lines)
  for _, t in ipairs(list_of(e.upstreamTries)) do
    lines[#lines + 1] = ("  asked %s: %s after %s%s"):format(text(t.server),
      known(t.error) and text(t.error) or text(t.status), ms(t.ms),
      t.reused == true and ", connection kept" or "")
  end
end

local function changes_of(e, lines)
  for _, c in ipairs(list_of(e.headerChanges)) do
    lines[#lines + 1] = ("  %s: %s %s%s%s"):format(text(c.of), text(c.change), text(c.name),
      known(c.value) and ": " .. text(c.value) or "", known(c.by) and "   by " .. text(c.by) or "")
  end
end

local function why_one(e)
  local path = text(e.path) .. (e.pathCut == true and "..." or "")
  if known(e.query) then path = path .. "?" .. text(e.query) end
  local lines = {
    ("%s  %s  %s %s"):format(text(e.id), text(e.at), text(e.method), path),
    ("  status %s in %s; from %s on %s, %s%s"):format(outcome_of(e), ms(e.ms), text(e.ip), text(e.listener),
      text(e.protocol), e.tls == true and " over TLS" or ""),
    ("  route %s%s; generation %s, worker %s"):format(text(e.route),
      known(e.routeAt) and " at " .. text(e.routeAt) or "", text(e.generation), text(e.worker)),
  }
  if known(e.decidedBy) then lines[#lines + 1] = "  decided by " .. text(e.decidedBy) end
  if known(e.error) then lines[#lines + 1] = "  error: " .. text(e.error) end
  if known(e.upstream) then
    lines[#lines + 1] = ("  upstream %s, server %s, tries %s"):format(text(e.upstream), text(e.server),
                                                                       text(e.tries))
  end
  steps_of(e, lines)
  tries_of(e, lines)
  changes_of(e, lines)
  if e.kept == "recent" then
    lines[#lines + 1] = '  no more is kept of it: one of 64 is traced; why = "all" in gw.settings traces all'
  end
  return table.concat(lines, "\n")
end

--- `moonlatch why`
function M.why(answer)
  local parts = {}
  for i, e in ipairs(list_of(answer.exchanges)) do parts[i] = why_one(e) end
  return #parts > 0 and table.concat(parts, "\n\n") .. "\n" or "no exchange yet\n"
end

-- ---- explain ----

local function shown(value)
  if type(value) == "table" then
    local parts, names = {}, {}
    if #value > 0 then
      for i, entry in ipairs(value) do parts[i] = shown(entry) end
    else
      for name in pairs(value) do names[#names + 1] = name end
      table.sort(names)
      for i, name in ipairs(names) do parts[i] = text(name) .. " = " .. shown(value[name]) end
    end
    return #parts > 0 and "{ " .. table.concat(parts, ", ") .. " }" or "{}"
  end
  return type(value) == "string" and '"' .. text(value) .. '"' or text(value)
end

local function route_text(r)
  local conditions = {}
  for i, c in ipairs(list_of(r.conditions)) do
    conditions[i] = ("%s %s%s"):format(text(c.of), text(c.name),
                                       known(c.value) and "=" .. text(c.value) or "")
  end
  return ("%s %s%s%s"):format(text(r.method), text(r.pattern),
                             known(r.host) and " host " .. text(r.host) or "",
                             #conditions > 0 and " if " .. table.concat(conditions, ", ") or "")
end

local function upstream_lines(u, lines)
  local names = {}
  lines[#lines + 1] = ("upstream %s (%s) at %s"):format(text(u.name), text(u.balance), text(u.at))
  for _, s in ipairs(list_of(u.servers)) do
    lines[#lines + 1] = ("  %s weight %s%s"):format(text(s.url), text(s.weight),
                                                     s.backup == true and ", backup" or "")
  end
  for name in pairs(list_of(u.options)) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do names[i] = name .. " " .. text(u.options[name]) end
  lines[#lines + 1] = "  " .. table.concat(names, ", ")
end

local function outcome_line(e)
  local r = known(e.route)
  if r then return ("route %s at %s"):format(route_text(r), text(r.at)) end
  if e.outcome == "method" then return "no route takes the method: 405, Allow: " .. text(e.allow) end
  if e.outcome == "options" then return "no route of its own: 204, Allow: " .. text(e.allow) end
  return "no route: 404"
end

--- `moonlatch explain`
function M.explain(e)
  local lines = { ("%s %s%s"):format(text(e.request.method), text(e.request.path),
    e.request.host ~= "" and " for " .. text(e.request.host) or "") }
  local listener = known(e.listener)
  if listener then lines[2] = ("listener %s at %s"):format(text(listener.name), text(listener.at)) end
  lines[#lines + 1] = outcome_line(e)
  if e.notHere == true then lines[#lines + 1] = "  which this listener has not: 404" end
  for i, m in ipairs(list_of(e.middlewares)) do
    lines[#lines + 1] = ("%3d. %s %s at %s"):format(i, text(m.name), shown(m.options), text(m.at))
  end
  lines[#lines + 1] = "then " .. text(e.handler)
  if known(e.upstream) then upstream_lines(e.upstream, lines) end
  if #list_of(e.candidates) > 0 then lines[#lines + 1] = "other routes:" end
  for _, c in ipairs(list_of(e.candidates)) do
    lines[#lines + 1] = ("  %s at %s: %s"):format(route_text(c), text(c.at), text(c.why))
  end
  local more = (tonumber(known(e.candidateCount)) or 0) - #list_of(e.candidates)
  if more > 0 then lines[#lines + 1] = ("  and %d more"):format(more) end
  return table.concat(lines, "\n") .. "\n"
end

-- ---- generations ----

local function changes_text(g)
  local parts = {}
  for i, c in ipairs(list_of(known(g.changes))) do parts[i] = text(c.change) .. " " .. text(c.file) end
  local more = (tonumber(known(g.changeCount)) or 0) - #parts
  if more > 0 then parts[#parts + 1] = ("and %d more"):format(more) end
  if known(g.rollbackTo) then table.insert(parts, 1, "rollback to " .. text(g.rollbackTo)) end
  return #parts > 0 and table.concat(parts, ", ") or "-"
end

--- `moonlatch generations`
function M.generations(answer)
  local rows = {}
  for i, g in ipairs(list_of(answer.generations)) do
    rows[i] = { text(g.generation), text(g.state), text(g.hash), text(g.since), text(g.exchanges),
                changes_text(g) }
  end
  return M.table({ "GENERATION", "STATE", "CONTENT", "SINCE", "IN HAND", "WHAT CHANGED" }, rows,
                 { GENERATION = true, ["IN HAND"] = true }) .. "\n"
end

-- ---- top ----

-- { "name" -> list of { labels, value } } of a page
local function page(bytes)
  local series = {}
  for line in bytes:gmatch("[^\n]+") do
    local name, labels, value = line:match("^([%w_:]+)(%b{}) (%S+)")
    if not name then name, value = line:match("^([%w_:]+) (%S+)") end
    if name then
      local parsed = {}
      for key, v in (labels or ""):gmatch('([%w_]+)="([^"]*)"') do parsed[key] = v end
      series[name] = series[name] or {}
      table.insert(series[name], { labels = parsed, value = tonumber(value) or 0, key = labels or "" })
    end
  end
  return series
end

-- What a series grew by, for each set of labels.
local function growth(before, after, name)
  local old, list = {}, {}
  for _, s in ipairs(before[name] or {}) do old[s.key] = s.value end
  for _, s in ipairs(after[name] or {}) do
    list[#list + 1] = { labels = s.labels, value = math.max(s.value - (old[s.key] or 0), 0) }
  end
  return list
end

local function sum_by(list, key)
  local sums = {}
  for _, s in ipairs(list) do
    local k = key(s.labels)
    if k then sums[k] = (sums[k] or 0) + s.value end
  end
  return sums
end

-- The value below which that share is, by the buckets { le -> count }; nil when nothing came.
local function quantile(buckets, share)
  local bounds, total = {}, buckets["+Inf"] or 0
  if total <= 0 then return nil end
  for le in pairs(buckets) do
    if le ~= "+Inf" then bounds[#bounds + 1] = le end
  end
  table.sort(bounds, function(a, b) return tonumber(a) < tonumber(b) end)
  local wanted, lower, below = share * total, 0, 0
  for _, le in ipairs(bounds) do
    local n, upper = buckets[le], tonumber(le)
    if n >= wanted then
      return n > below and lower + (upper - lower) * (wanted - below) / (n - below) or upper
    end
    lower, below = upper, n
  end
  return lower
end

local function latency(list, route)
  return sum_by(list, function(l) return (route == nil or l.route == route) and l.le or nil end)
end

local function sorted(sums, max)
  local rows = {}
  for name, n in pairs(sums) do rows[#rows + 1] = { name, n } end
  table.sort(rows, function(a, b)
    if a[2] ~= b[2] then return a[2] > b[2] end
    return a[1] < b[1]
  end)
  for i = #rows, max + 1, -1 do rows[i] = nil end
  return rows
end

-- index -> seconds of CPU time
local function cpu_of(status)
  local cpu = {}
  for _, w in ipairs(list_of(status.workers)) do cpu[w.index] = tonumber(known(w.cpuSeconds)) end
  return cpu
end

local function workers_of(t, seconds)
  local before, list = cpu_of(t.statusBefore), {}
  for i, w in ipairs(list_of(t.status.workers)) do
    local now, old = tonumber(known(w.cpuSeconds)), before[w.index]
    list[i] = { index = w.index, pid = w.pid, connections = w.connections,
                cpuPercent = now and old and math.max(now - old, 0) / seconds * 100 or 0 }
  end
  return list
end

local function measure(t)
  local before, after = page(t.before), page(t.after)
  local seconds = math.max(tonumber(t.seconds) or 1, 0.001)
  local requests = growth(before, after, "http_requests_total")
  local buckets = growth(before, after, "http_request_duration_seconds_bucket")
  local whole = latency(buckets)
  local result = { seconds = seconds, classes = {}, routes = {}, upstreams = {},
                   workers = workers_of(t, seconds), generation = t.status.generation,
                   uptime = t.status.uptime }
  local total = 0
  for class, n in pairs(sum_by(requests, function(l) return (l.status_code or "?"):sub(1, 1) .. "xx" end)) do
    result.classes[class] = n / seconds
    total = total + n
  end
  result.rps = total / seconds
  result.p50, result.p99 = quantile(whole, 0.5), quantile(whole, 0.99)
  for i, row in ipairs(sorted(sum_by(requests, function(l) return l.route end), 10)) do
    local one = latency(buckets, row[1])
    result.routes[i] = { route = row[1], rps = row[2] / seconds, p50 = quantile(one, 0.5),
                         p99 = quantile(one, 0.99) }
  end
  local function server(l) return (l.upstream or "?") .. " " .. (l.server or "?") end
  local errors = sum_by(growth(before, after, "moonlatch_upstream_errors_total"), server)
  local tries = sum_by(growth(before, after, "moonlatch_upstream_requests_total"), server)
  for i, row in ipairs(sorted(tries, 10)) do
    result.upstreams[i] = { server = row[1], rps = row[2] / seconds,
                            errors = (errors[row[1]] or 0) / seconds }
  end
  return result
end

local function rate(n) return ("%.1f"):format(n or 0) end

local function classes_text(classes)
  local parts = {}
  for _, class in ipairs { "1xx", "2xx", "3xx", "4xx", "5xx" } do
    if classes[class] then parts[#parts + 1] = class .. " " .. rate(classes[class]) end
  end
  return #parts > 0 and table.concat(parts, ", ") or "no requests"
end

local function seconds_text(s) return s and ms(s * 1000) or "-" end

--- `moonlatch top`
function M.top(t)
  local m = measure(t)
  local lines = {
    ("moonlatch, generation %s, up %s"):format(text(m.generation), M.duration(m.uptime)),
    ("%s requests/s; p50 %s, p99 %s; %s"):format(rate(m.rps), seconds_text(m.p50), seconds_text(m.p99),
                                                 classes_text(m.classes)),
  }
  local rows = {}
  for i, r in ipairs(m.routes) do
    rows[i] = { text(r.route), rate(r.rps), seconds_text(r.p50), seconds_text(r.p99) }
  end
  lines[#lines + 1] = "\n" .. M.table({ "ROUTE", "REQ/S", "P50", "P99" }, rows,
                                      { ["REQ/S"] = true, P50 = true, P99 = true })
  if #m.upstreams > 0 then
    rows = {}
    for i, u in ipairs(m.upstreams) do rows[i] = { text(u.server), rate(u.rps), rate(u.errors) } end
    lines[#lines + 1] = "\n" .. M.table({ "UPSTREAM SERVER", "REQ/S", "ERRORS/S" }, rows,
                                        { ["REQ/S"] = true, ["ERRORS/S"] = true })
  end
  rows = {}
  for i, w in ipairs(m.workers) do
    rows[i] = { text(w.index), text(w.pid), ("%.0f%%"):format(w.cpuPercent), text(w.connections) }
  end
  lines[#lines + 1] = "\n" .. M.table({ "WORKER", "PID", "CPU", "CONNECTIONS" }, rows,
                                      { WORKER = true, PID = true, CPU = true, CONNECTIONS = true })
  return table.concat(lines, "\n") .. "\n"
end

--- The same as JSON; encode is cjson's.
function M.top_json(t, encode) return encode(measure(t)) .. "\n" end

return M
