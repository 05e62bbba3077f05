--- A gateway with the policy `cache` in front of an upstream that tells how often it was asked.
--
-- What is stale is made so by the upstream's Age, not by waiting.
local policy = require "spec.support.policy"

local M = {}

-- The upstream adds each argument h=Name:value to its answer, has the status of ?status, and answers 304 when
-- If-None-Match or If-Modified-Since is ?now.  What /ctl?name=value has set goes over its arguments.
local up = [[
  local told = gw.shared "told"
  local n = gw.shared("seen"):incr(req.path, 1)
  local function arg(name) return told:get(name) or req.args[name] end
  local headers = { ["X-N"] = tostring(n), ["X-Method"] = req.method, ["X-Got"] =
    (req:header("if-none-match") or "-") .. " " .. (req:header("if-modified-since") or "-") }
  local list = told:get("h") or req.args.h or {}
  for _, text in ipairs(type(list) == "table" and list or { list }) do
    local name, value = text:match("^([^:]+):(.*)$")
    headers[name] = headers[name] and { headers[name], value } or value
  end
  for _ = 1, 2000 do
    if not told:get "hold" or req.method ~= "GET" then break end
    gw.sleep(0.005)
  end
  local now = arg "now"
  if now and (req:header("if-none-match") == now or req:header("if-modified-since") == now) then
    return gw.response(304, nil, headers)
  end
  local size = tonumber(arg "size" or 0)
  return gw.response(tonumber(arg "status" or 200), "n=" .. n .. ("x"):rep(size), headers)
]]

local control = [[
  gw.route("GET /ctl", function(req)
    local told = gw.shared "told"
    told:clear()
    for name, value in pairs(req.args) do told:set(name, value) end
    return gw.response(200, "ok")
  end)
  gw.route("GET /n", function(req) return gw.response(200, tostring(gw.shared("seen"):get(req.args.path) or 0)) end)
]]

function M.start(options, t)
  t = t or {}
  return policy.start {
    workers = t.workers or 1, up = up, top = control .. (t.top or ""), routes = t.routes, all = t.all,
    use = (t.before or "") .. [[ { "cache", ]] .. (options or "") .. " } " .. (t.inside or ""),
  }
end

function M.escape(text)
  return (text:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end))
end

function M.query(fields, more)
  local parts = {}
  for _, field in ipairs(fields) do parts[#parts + 1] = "h=" .. M.escape(field) end
  return "?" .. table.concat(parts, "&") .. (more and "&" .. more or "")
end

function M.get(g, target, headers) return g:ask("GET /p" .. target, { headers = headers }) end

-- what X-Cache says, and how often the upstream had been asked when it made this body
function M.got(res) return res.headers["x-cache"] .. " " .. (res.body:match("^n=(%d+)") or "") end

function M.count(g, path) return tonumber(g:ask("GET /n?path=/up/p" .. path).body) end

function M.tell(g, text) assert(g:ask("GET /ctl?" .. text).body == "ok") end

M.fresh = M.query { "Cache-Control:max-age=60" }
M.STALE = "Age:100"

-- Asks twice; what came of the second request.
function M.twice(g, target, headers, second)
  M.get(g, target, headers)
  return M.got(M.get(g, target, second or headers))
end

return M
