-- soak.lua MOONLATCH [MINUTES]: load for minutes on the real program, and 100 reloads under load.
--
-- Proxying over HTTP/1.1 and over HTTP/2 with TLS, through policies, beside WebSockets.  Prints numbers, and fails when a
-- request fails, or when memory grows: RSS of all workers, in a pause after load, by less than 1 MB per million requests,
-- and no more over 80 reloads than over so many requests.
local gateway = require "spec.support.gateway"
local posix = { signal = require "posix.signal", wait = require "posix.sys.wait" }
local socket = require "socket"
local websocket = require "spec.support.websocket"

gateway.binary = assert(arg[1], "usage: soak.lua MOONLATCH [MINUTES]")
local minutes = tonumber(arg[2] or "4")
local RELOADS, WARM_RELOADS, SOCKETS, MB = 100, 20, 8, 1024 * 1024
local SLACK = 2 * MB -- of two workers: what the pages of an allocator differ by from pause to pause

local UPSTREAM = [[
local gw = require "moonlatch"
gw.settings { access_log = "off" }
gw.listen { host = "127.0.0.1", port = PORT }
gw.route("GET /*rest", { respond = function() return gw.response(200, ("x"):rep(1024)) end })
]]

local SITE = [[
local gw = require "moonlatch"
gw.settings { access_log = "/dev/null", shutdown_timeout = 5 }
gw.listen { host = "127.0.0.1", port = PORT }
gw.listen { host = "127.0.0.1", port = PORT2, tls = "self-signed" }
gw.upstream("up", { "http://127.0.0.1:%d" })
gw.mount("metrics")
gw.use { "request_id", "security_headers", { "rate_limit", limit = 16000000, window = 60 },
  function(req, next)
    local res = next()
    res.headers["X-Version"] = "%d"
    return res
  end }
gw.route("GET /ws", { respond = gw.websocket({}, function(ws)
  for message in ws:messages() do ws:send(message) end
end) })
gw.route("GET /*rest", { to = "up" })
]]

local function workers(g)
  local pids = {}
  for pid in g:command("status", "--json"):gmatch('"pid":%s*(%d+)') do
    if tonumber(pid) ~= g.pid then pids[#pids + 1] = pid end
  end
  return pids
end

local function rss(pids)
  local sum = 0
  for _, pid in ipairs(pids) do
    sum = sum + assert(tonumber(gateway.read("/proc/" .. pid .. "/statm"):match("^%d+ (%d+)")), "a worker is gone") * 4096
  end
  return sum
end

--- RSS when it does not change any more.
local function rss_at_rest(pids)
  local last, same = 0, 0
  gateway.eventually(function()
    socket.select(nil, nil, 0.2)
    local now = rss(pids)
    same, last = now == last and same + 1 or 0, now
    return same >= 5
  end, "rest", 60)
  return last
end

local function load_on(g, tls, seconds)
  local out = gateway.folder() .. "/out"
  local url = tls and ("https://127.0.0.1:%d/x"):format(g.ports.PORT2) or ("http://127.0.0.1:%d/x"):format(g.port)
  local argv = { "h2load", "-c", "16", "-m", tls and "4" or "1", "-D", tostring(seconds), url }
  if not tls then table.insert(argv, 2, "--h1") end
  return { pid = gateway.spawn(argv, nil, out), out = out }
end

local function is_over(job)
  job.over = job.over or posix.wait.wait(job.pid, posix.wait.WNOHANG) == job.pid
  return job.over
end

--- Requests that were answered with 2xx; the others.
local function outcome(job)
  local text = gateway.read(job.out)
  local good = tonumber(text:match("status codes: (%d+) 2xx"))
  local total, failed, errored, timeout = text:match("requests: (%d+) total.- (%d+) failed, (%d+) errored, (%d+) timeout")
  assert(good and total, text)
  local other = 0
  for n in text:match("status codes:([^\n]*)"):gmatch("(%d+) [345]xx") do other = other + tonumber(n) end
  return good, tonumber(failed) + tonumber(errored) + tonumber(timeout) + other
end

local sockets, echoes = {}, 0
local function echo_all(g)
  for i = 1, SOCKETS do
    sockets[i] = sockets[i] or websocket.open(g:connect(), "/ws")
    sockets[i]:send(1, "message " .. i)
    assert(sockets[i]:frame().payload == "message " .. i, "a WebSocket is broken")
    echoes = echoes + 1
  end
end

--- Load for so long, with step() beside it; requests, failures.
local function under_load(g, seconds, step)
  local jobs = { load_on(g, false, seconds), load_on(g, true, seconds) }
  repeat
    echo_all(g)
    step()
  until is_over(jobs[1]) and is_over(jobs[2])
  local a, bad_a = outcome(jobs[1])
  local b, bad_b = outcome(jobs[2])
  return a + b, bad_a + bad_b
end

local function pause() socket.select(nil, nil, 0.05) end

local function say(...) print((...):format(select(2, ...))) io.stdout:flush() end

local function run()
  local up = gateway.start({ ["gateway.lua"] = UPSTREAM }, { args = { "--workers", "1" } })
  local g = gateway.start({ ["gateway.lua"] = SITE:format(up.port, 0) })
  local pids, bad = workers(g), {}
  local function check(good, text, ...)
    say((good and "ok      " or "NOT ok  ") .. text, ...)
    if not good then bad[#bad + 1] = text:format(...) end
  end

  local seconds = math.max(5, math.floor(minutes * 60 / 4))
  local warm, lost = under_load(g, seconds, pause)
  local before = rss_at_rest(pids)
  say("warm up: %d requests, %d failed, %.1f MB", warm, lost, before / MB)

  local count, failed = under_load(g, 2 * seconds, pause)
  local after = rss_at_rest(pids)
  local slope = (after - before) / MB / (count / 1e6)
  check(failed == 0, "%d requests in %d s, %d failed", count, 2 * seconds, failed)
  check(slope < 1 or after - before < SLACK / 4, "RSS %.2f -> %.2f MB: %.3f MB per million requests", before / MB, after / MB,
    slope)

  local function reloads(first, last)
    local job_s, n = math.max(5, math.floor(seconds / 2)), first
    local total, gone = 0, 0
    while n <= last do
      local a, b = under_load(g, job_s, function()
        if n > last then return pause() end
        g:save("gateway.lua", SITE:format(up.port, n))
        local text, code = g:command("reload", "--wait")
        assert(code == 0, text)
        n = n + 1
      end)
      total, gone = total + a, gone + b
    end
    return total, gone, rss_at_rest(pids)
  end

  local _, lost_warm, base = reloads(1, WARM_RELOADS)
  local total, lost_late, last = reloads(WARM_RELOADS + 1, RELOADS)
  check(lost_warm + lost_late == 0, "%d reloads under load, %d requests meanwhile, %d failed", RELOADS, total,
    lost_warm + lost_late)
  check(last - base < SLACK + total, "RSS %.2f MB after %d reloads, %.2f MB after %d", base / MB, WARM_RELOADS, last / MB,
    RELOADS)
  local now = workers(g)
  table.sort(now) table.sort(pids)
  check(table.concat(now, " ") == table.concat(pids, " "), "the workers are those of the begin")
  say("        %d messages over %d WebSockets", echoes, SOCKETS)
  return #bad == 0
end

local good, err = xpcall(run, debug.traceback)
gateway.stop_all()
if not good then io.stderr:write(err, "\n") end
os.exit(good and err and 0 or 1)
