--- What a running gateway answered to the command line, as text for people.
--
-- The functions get the decoded JSON of the answer (null is a light userdata) and return text that
-- ends with a newline and holds no control character that a terminal would obey.
local M = {}

local function known(value)
  if type(value) == "userdata" then return nil end
  return value
end

local function text(value)
  value = known(value)
  return value == nil and "-" or (tostring(value):gsub("[%c\127]", "?"))
end

local function count(value)
  return ("%d"):format(tonumber(known(value)) or 0)
end

--- "2 d 3 h", "3 h 4 min", "4 min 5 s", "5 s"
function M.duration(seconds)
  local s = math.floor(tonumber(known(seconds)) or 0)
  local parts = {
    { math.floor(s / 86400), "d" }, { math.floor(s / 3600) % 24, "h" },
    { math.floor(s / 60) % 60, "min" }, { s % 60, "s" },
  }
  for i, part in ipairs(parts) do
    if part[1] > 0 and i < #parts then
      return ("%d %s %d %s"):format(part[1], part[2], parts[i + 1][1], parts[i + 1][2])
    end
  end
  return ("%d s"):format(s)
end

--- Columns as wide as their longest cell.  A name in `right` is that of a column of numbers.
function M.table(names, rows, right)
  local width, lines = {}, {}
  table.insert(rows, 1, names)
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do width[i] = math.max(width[i] or 0, #cell) end
  end
  for n, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do
      local pad = (" "):rep(width[i] - #cell)
      cells[i] = right[names[i]] and pad .. cell or cell .. pad
    end
    lines[n] = table.concat(cells, "  "):gsub("%s+$", "")
  end
  return table.concat(lines, "\n")
end

local numbers = {
  WORKER = true, PID = true, GENERATION = true, CONNECTIONS = true, REQUESTS = true, RESTARTS = true,
  ["IN FLIGHT"] = true, ERRORS = true, WEIGHT = true,
}

local function workers(list)
  local rows = {}
  for i, w in ipairs(list) do
    rows[i] = { count(w.index), text(w.pid), text(w.state), count(w.generation), count(w.connections),
                count(w.requests), count(w.restarts) }
  end
  return M.table({ "WORKER", "PID", "STATE", "GENERATION", "CONNECTIONS", "REQUESTS", "RESTARTS" },
                 rows, numbers)
end

-- "up, 3 s ago"; of a server that is not checked "-"
local function check_of(u)
  local check = known(u.check)
  if not check then return "-" end
  local ago = known(check.ago)
  return text(check.state) .. (ago and (", %s ago"):format(M.duration(ago)) or "")
end

local function state_of(u)
  return text(u.state) .. (u.backup == true and ", backup" or "") .. (u.listed == false and ", removed" or "")
end

local function upstreams(list)
  local rows = {}
  for i, u in ipairs(list) do
    rows[i] = { text(u.group), text(u.server), state_of(u), count(u.weight), count(u.inFlight),
                count(u.requests), count(u.errors), check_of(u), text(u.lastError), text(u.lastErrorAt) }
  end
  return M.table({ "UPSTREAM", "SERVER", "STATE", "WEIGHT", "IN FLIGHT", "REQUESTS", "ERRORS", "CHECK",
                   "LAST ERROR", "AT" }, rows, numbers)
end

-- Lines of a text that may hold newlines, each behind an indent.
local function indented(value)
  local lines = {}
  for line in (known(value) or ""):gmatch("[^\n]+") do lines[#lines + 1] = "  " .. text(line) end
  return table.concat(lines, "\n")
end

local function list_of(value)
  return type(value) == "table" and value or {}
end

local function head(s)
  local lines = {
    ("moonlatch %s, pid %s, up %s%s"):format(text(s.version), text(s.pid), M.duration(s.uptime),
                                             s.stopping == true and ", stopping" or ""),
    ("generation %s (%s), loaded %s; %s reloads, %s failed"):format(count(s.generation), text(s.hash),
      text(s.loadedAt), count(s.reloads), count(s.reloadFailures)),
  }
  local listeners = {}
  for i, listener in ipairs(list_of(s.listeners)) do listeners[i] = text(listener) end
  lines[3] = "listening on " .. (#listeners > 0 and table.concat(listeners, ", ") or "nothing")
  return lines
end

--- `moonlatch status`
function M.status(s)
  local lines = head(s)
  local last = known(s.lastReload)
  if last and last.ok == false then
    lines[#lines + 1] = ("the last reload, at %s, failed:"):format(text(last.at))
    lines[#lines + 1] = indented(last.error)
  end
  for _, note in ipairs(list_of(s.notes)) do lines[#lines + 1] = "note: " .. text(note) end
  lines[#lines + 1] = "\n" .. workers(list_of(s.workers))
  if #list_of(s.upstreams) > 0 then lines[#lines + 1] = "\n" .. upstreams(s.upstreams) end
  return table.concat(lines, "\n") .. "\n"
end

--- `moonlatch reload --wait` when the site is live.
function M.reloaded(r)
  local line = ("generation %s (%s) is live%s"):format(count(r.generation), text(r.hash),
    r.unchanged == true and ", nothing had changed" or "")
  local notes = indented(r.notes)
  return line .. "\n" .. (notes ~= "" and notes .. "\n" or "")
end

--- `moonlatch drain` and `undrain`
function M.drained(r)
  local s = r.server
  local line = "%s %s is %s, %s in flight%s\n"
                     return line:format(text(s.group), text(s.server), state_of(s), count(s.inFlight),
                                                 r.changed == true and "" or "; nothing had changed")
end

--- `moonlatch upgrade`
function M.upgraded(r)
  return ("process %s serves\n"):format(count(r.pid))
end

--- A question that the gateway refused.
function M.refused(r)
  local lines = indented(r.error):gsub("^  ", ""):gsub("\n  ", "\n")
  return lines .. "\n"
end

return M
