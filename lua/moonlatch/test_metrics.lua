--- app.metrics: the page that a scraper gets, taken apart.
--
--   app.metrics("moonlatch_requests_total", { status = "200" })   sum of the samples that have these labels
--   app.metrics.moonlatch_requests_total                          all samples: { labels =, value = }
local M = {}

local escapes = { n = "\n" }

local function labels_of(text)
  local labels = {}
  for name, value in text:gmatch('([%a_][%w_]*)="(.-[^\\]?)"[,}]') do
    labels[name] = value:gsub("\\(.)", function(c) return escapes[c] or c end)
  end
  return labels
end

local numbers = { ["+Inf"] = math.huge, ["-Inf"] = -math.huge, NaN = 0 / 0 }

-- Name, labels, value of a line.  A value of a label may hold a brace.
local function sample_of(line)
  local name, rest = line:match("^([%a_:][%w_:]*)(.*)$")
  local inside, value = rest:match("^(%b{}) (%S+)")
  if not inside then inside, value = rest:match("^({.*}) (%S+)") end
  if not inside then inside, value = "", rest:match("^ (%S+)") end
  return name, { labels = labels_of(inside), value = numbers[value] or tonumber(value) }
end

local function has(sample, labels)
  for name, value in pairs(labels) do
    if sample.labels[name] ~= tostring(value) then return false end
  end
  return true
end

local Page = { __call = function(self, name, labels)
  local sum = 0
  for _, sample in ipairs(self[name] or {}) do
    if has(sample, labels or {}) then sum = sum + sample.value end
  end
  return sum
end }

--- @param text of Prometheus
function M.parse(text)
  local page = {}
  for line in text:gmatch("[^\n]+") do
    if line:sub(1, 1) ~= "#" then
      local name, sample = sample_of(line)
      page[name] = page[name] or {}
      table.insert(page[name], sample)
    end
  end
  return setmetatable(page, Page)
end

return M
