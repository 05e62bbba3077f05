--- Answers 503 with Retry-After while the service is being worked on, but for those who do the work.
--
-- The answer is JSON, or the page `html` for who prefers HTML. Because it is a policy, switching it on is one
-- saved file (or one variable of the environment and a reload): no connection breaks.
--
--   gw.use { { "maintenance", enabled = gw.env.boolean("MAINTENANCE", false), retry_after = 600,
--              allow = { "10.0.0.0/8" }, except = { "/health" } } }
local gw = require "moonlatch"

local M = { name = "maintenance" }

M.config = {
  enabled = { "boolean", default = true, doc = "Whether the service is closed." },
  retry_after = { "integer", default = 300, min = 1, max = 31536000, unit = "seconds",
    doc = "Retry-After: when to come back." },
  allow = { "list", of = "string", default = {}, doc = "Networks whose clients are served as ever." },
  except = { "list", of = "string", default = {},
    doc = "Paths that are served as ever, each exactly as written." },
  message = { "string", default = "The service is under maintenance", doc = "`message` of the JSON answer." },
  html = { "string", optional = true, min = 1, doc = "A whole HTML page for browsers." },
}

local function prefers_html(req)
  local accept = req:header("accept")
  if not accept then return false end
  local html, json = accept:find("text/html", 1, true), accept:find("application/json", 1, true)
  return html ~= nil and (json == nil or html < json)
end

local function answer(req, conf)
  local res
  if conf.html and prefers_html(req) then
    res = gw.response(503, conf.html, { ["Content-Type"] = "text/html; charset=utf-8" })
  else
    res = gw.error(503, "maintenance", conf.message)
  end
  res:set_header("Retry-After", conf.retry_after)
  res:set_header("Cache-Control", "no-store")
  if conf.html then res:set_header("Vary", "Accept") end
  return res
end

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req) -> res or nothing
function M.new(conf)
  local allow, except = gw.networks(conf.allow), {}
  for _, path in ipairs(conf.except) do except[path] = true end
  if not conf.enabled then return function(_) end end

  return function(req)
    if except[req.path] or allow:has(req.ip) then return end
    return answer(req, conf)
  end
end

return M
