--- A gateway with policies in front of an upstream that the same program plays.
--
--   local g = policy.start {
--     use = [[ { "cors", origins = { "https://a.example" } } ]],      -- for everything below /p
--     up = [[ return gw.response(200, "body", { ["X-A"] = "1" }) ]],  -- what the upstream does with req
--   }
--   g:ask("GET /p/x")                                                 -- see spec/support/gateway.lua
--
-- all = policies of gw.use (also for requests without a route), routes = more text for gateway.lua inside
-- of the group, top = text behind gw.listen, inside = more policies of the group, written after `use`.
-- It runs in a simulation, or, with MOONLATCH_TEST=e2e, as the real program; policy.gettime() is the clock.
local gateway = require "spec.support.gateway"
local socket = require "socket"

local M = { free_port = gateway.free_port, simulated = os.getenv("MOONLATCH_TEST") ~= "e2e" }
local world = M.simulated and require "spec.support.simulated" or gateway
M.eventually, M.gettime = world.eventually, world.gettime or socket.gettime

--- Lets a moment pass.
function M.pause(seconds)
  if M.simulated then world.pause(seconds) else socket.select(nil, nil, seconds) end
end

function M.stop_all()
  world.stop_all()
  gateway.stop_all() -- also folders
end

--- For a test of processes, other programs or parallel workers: it is pending in a simulation.
function M.real_only(what)
  if M.simulated then world.skip(what) end
end

local site = [[
local gw = require "moonlatch"
gw.listen { host = "127.0.0.1", port = PORT, trusted_proxies = { "127.0.0.1" } }
gw.upstream("up", { "http://127.0.0.1:PORT/up", max_fails = 0, retries = 0 })
gw.upstream("dead", { "http://127.0.0.1:PORT9", max_fails = 0, retries = 0 })
%s
gw.use { %s }
gw.group("/p", { %s }, function()
  gw.route("* /*rest", { to = "up" })
  gw.route("* /dead", { to = "dead" })
  gw.route("* /boom", { respond = function() error("boom") end })
  %s
end)
gw.route("* /up/*rest", { respond = function(req)
  %s
end })
]]

--- The files of such a site.
function M.files(t)
  return { ["gateway.lua"] = site:format(t.top or "", t.all or "", t.use or "", t.routes or "",
                                         t.up or 'return gw.response(200, "ok")') }
end

--- Starts it, with t.workers (1) processes.
function M.start(t)
  if (t.workers or 1) > 1 then M.real_only "more than one worker" end
  return world.start(M.files(t), { args = { "--workers", tostring(t.workers or 1) }, env = t.env })
end

--- What `check` says of a site with these policies: text, exit code.
function M.check(t)
  local dir = gateway.folder()
  for name, text in pairs(M.files(t)) do
    gateway.write(dir .. "/" .. name, (text:gsub("%f[%w]PORT%d*%f[^%w]", "8080")))
  end
  local p = io.popen(("%s check %s 2>&1; echo exit=$?"):format(gateway.binary, dir))
  local text = p:read("*a")
  p:close()
  return text, tonumber(text:match("exit=(%d+)%s*$"))
end

return M
