--- CPU per request of a gateway's process tree, peers alternated within each round.
--
-- usage: luajit bench/bench.lua PROGRAM ROUNDS SECONDS [SCENARIO...]
-- The gateway is pinned to CPU 0 with one worker; load (wrk) and backend (nginx) to the last CPU.
-- Wall times on a shared machine are noise; CPU time of /proc/PID/task/*/schedstat is much less so.
--
--   proxy       GET with browser headers over kept connections; moonlatch with eight Lua middlewares
--   hello       an answer made by the script; nginx answers a constant
--   big-down    10 MB answers, big-up 10 MB requests: MB per second of CPU
--   routes      the first and the last of 1,000 routes with a parameter
local program, rounds, seconds = arg[1], tonumber(arg[2]), tonumber(arg[3])
package.path = "./?.lua;" .. package.path
local gateway = require "spec.support.gateway"
local load_cpu = tonumber(io.popen("nproc"):read("*l")) - 1

local base = gateway.folder()
local backend, sink = gateway.free_port(), gateway.free_port()

local function write(name, text)
  gateway.write(base .. "/" .. name, text)
  return base .. "/" .. name
end

local function spawn(name, cpu, argv)
  local pinned = { "taskset", "-c", tostring(cpu) }
  for _, word in ipairs(argv) do pinned[#pinned + 1] = word end
  return gateway.spawn(pinned, {}, base .. "/" .. name .. ".log")
end

local function nginx(name, cpu, server)
  local conf = write(name .. ".conf", ([[
    user root; daemon off; worker_processes 1; pid %s/%s.pid; error_log %s/%s.err; events { worker_connections 4096; }
    http { access_log off; keepalive_requests 100000000; client_body_temp_path %s/b; proxy_temp_path %s/p;
      fastcgi_temp_path %s/f; uwsgi_temp_path %s/u; scgi_temp_path %s/s; %s }
  ]]):format(base, name, base, name, base, base, base, base, base, server))
  return spawn(name, cpu, { "nginx", "-c", conf, "-e", base .. "/" .. name .. ".err" })
end

local function site(name, text)
  write(name .. "/gateway.lua", text)
  return { "run", base .. "/" .. name, "--workers", "1", "--control", base .. "/" .. name .. ".sock" }
end

local eight = [[
gw.use {
  function(req) req.ctx.start = gw.now() end,
  function(req) if req.method == "TRACE" then return gw.error(405, "method_not_allowed") end end,
  function(req) if req:header("x-blocked") then return gw.error(403, "forbidden") end end,
  function(req) req:remove_header("x-user-id") end,
  function(req) req:set_header("x-gateway", "moonlatch") end,
  function(req) if #req.path > 4096 then return gw.error(414, "uri_too_long") end end,
  function(_, next) local res = next() res:set_header("x-frame-options", "DENY") return res end,
  function(_, next) local res = next() res:set_header("x-content-type-options", "nosniff") return res end,
}
]]

local nginx_proxy = [[upstream b { server 127.0.0.1:%d; keepalive 256; keepalive_requests 100000000; }
  server { listen 127.0.0.1:%d backlog=4096; client_max_body_size 64m; location / { proxy_http_version 1.1;
    proxy_request_buffering off; proxy_set_header Connection ""; proxy_set_header Host $host;
    proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme; proxy_pass http://b; } }]]

local haproxy_proxy = [[
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option forwardfor
  http-reuse always
frontend f
  bind 127.0.0.1:%d
  default_backend b
backend b
  server s 127.0.0.1:%d pool-max-conn -1
]]

local function moonlatch(name, port, routes, target)
  local argv = site(name, ([[local gw = require "moonlatch"
    gw.settings { access_log = "off" }
    gw.listen { host = "127.0.0.1", port = %d, limits = { body = 64 * 1024 * 1024 } }
    gw.upstream("b", { "http://127.0.0.1:%d", keepalive = 256, preserve_host = true })
    %s]]):format(port, target or backend, routes))
  return spawn("moonlatch-" .. name, 0, { program, unpack(argv) })
end

local function proxies(routes, target)
  target = target or backend
  return {
    nginx = function(port) return nginx("nginx-proxy", 0, nginx_proxy:format(target, port)) end,
    haproxy = function(port)
      local conf = write("haproxy.cfg", haproxy_proxy:format(port, target))
      return spawn("haproxy", 0, { "haproxy", "-f", conf })
    end,
    moonlatch = function(port) return moonlatch("proxy", port, routes, target) end,
  }
end

local hello = [[gw.route("* /*rest", { respond = function(req)
  return gw.response(200, '{"status":"ok"}',
                     { ["content-type"] = "application/json", ["x-path"] = req.path }) end })]]

local thousand = [[for n = 1, 1000 do gw.route(("* /r%04d/:id/items"):format(n), { to = "b" }) end]]

local function only_moonlatch(name, routes)
  return { moonlatch = function(port) return moonlatch(name, port, routes) end }
end

local upload = write("upload.lua", [[wrk.method = "POST" wrk.body = ("x"):rep(10 * 1024 * 1024)]])
local to_b = 'gw.route("* /*rest", { to = "b" })'

-- name, peers, path, connections, more of wrk's arguments, what is counted
local scenarios = {
  { "proxy", proxies(eight .. to_b), "/api/doctors?page=1", 64 },
  { "hello", { moonlatch = only_moonlatch("hello", hello).moonlatch, nginx = function(port)
    return nginx("nginx-hello", 0, ([[server { listen 127.0.0.1:%d backlog=4096;
      location / { default_type application/json; add_header X-Path $uri;
        return 200 '{"status":"ok"}'; } }]]):format(port))
  end }, "/hello", 64 },
  { "big-down", proxies(to_b), "/big", 4, "", "MB" },
  { "big-up", proxies(to_b, sink), "/up", 4, "-s " .. upload, "MB" },
  { "routes-first", only_moonlatch("routes", thousand), "/r0001/7/items", 64 },
  { "routes-last", only_moonlatch("routes", thousand), "/r1000/7/items", 64 },
}

local function lines(command)
  local p = io.popen(command)
  local text = p:read("*a")
  p:close()
  return text
end

local function tree(pid, out)
  out[#out + 1] = pid
  for child in lines("cat /proc/" .. pid .. "/task/*/children 2>/dev/null"):gmatch("%d+") do
    tree(tonumber(child), out)
  end
  return out
end

-- CPU seconds of the process tree.
local function cpu_s(pid)
  local sum = 0
  for _, p in ipairs(tree(pid, {})) do
    for ns in lines("cat /proc/" .. p .. "/task/*/schedstat 2>/dev/null"):gmatch("(%d+) %d+ %d+\n") do
      sum = sum + tonumber(ns)
    end
  end
  return sum / 1e9
end

local function answers(port, path)
  return lines("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:" .. port .. path) == "200"
end

local headers = table.concat({ "", "'Accept: application/json'", "'Accept-Language: en-US,en;q=0.5'",
  "'Accept-Encoding: gzip, deflate, br'", "'Referer: https://hospital.example.com/doctors'",
  "'User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0'",
  "'Cookie: session=abcdefabcdefabcdef'" }, " -H ")

-- Requests that were answered, all of them well.
local function load(port, scenario)
  local _, _, path, connections, more = unpack(scenario)
  local text = lines(("taskset -c %d wrk -t1 -c%d -d%d --timeout 30s %s %s http://127.0.0.1:%d%s"):format(
                     load_cpu, connections, seconds, headers, more or "", port, path))
  assert(not text:find("Non%-2xx") and not text:find("Socket errors"), text)
  return tonumber(text:match("(%d+) requests in"))
end

local function median(values)
  table.sort(values)
  return values[math.ceil(#values / 2)]
end

local function stop(pid)
  for _, p in ipairs(tree(pid, {})) do require("posix.signal").kill(p, 9) end
  require("posix.sys.wait").wait(pid)
end

-- Microseconds of CPU per request, or MB per second of CPU.
local function measure(start, scenario)
  local port = gateway.free_port()
  local pid = start(port)
  gateway.eventually(function() return answers(port, scenario[3]) end, "first answer")
  load(port, scenario) -- warm-up
  local before = cpu_s(pid)
  local count = load(port, scenario)
  local used_s = cpu_s(pid) - before
  stop(pid)
  if scenario[6] == "MB" then return count * 10 * 1.048576 / used_s end
  return used_s / count * 1e6
end

local function wanted(name)
  if not arg[4] then return true end
  for i = 4, #arg do
    if arg[i] == name or name:find("^" .. arg[i] .. "%-") then return true end
  end
end

local function run(scenario)
  local figures = {}
  for _ = 1, rounds do
    for peer, start in pairs(scenario[2]) do
      figures[peer] = figures[peer] or {}
      table.insert(figures[peer], measure(start, scenario))
    end
  end
  local reference = figures.nginx and median(figures.nginx)
  for _, peer in ipairs { "nginx", "haproxy", "moonlatch" } do
    if figures[peer] then
      local value = median(figures[peer])
      print(("%-13s %-10s %8.1f %s%s"):format(scenario[1], peer, value,
            scenario[6] == "MB" and "MB per CPU second" or "us CPU per request",
            reference and ("   %.2f x nginx"):format(value / reference) or ""))
    end
  end
end

write("files/big", ("x"):rep(10 * 1024 * 1024))
local backend_pid = nginx("backend", load_cpu, ([[server { listen 127.0.0.1:%d backlog=4096;
  client_max_body_size 64m; root %s/files; location = /big { sendfile on; }
  location / { default_type application/json;
    return 200 '{"success":true,"data":[{"id":"d1","name":"Dr. Ada Lin"}]}'; } }]]):format(backend, base))
gateway.eventually(function() return answers(backend, "/") end, "backend")

-- Takes uploads whole before it answers, which nginx without a further server does not.
local sink_pid = spawn("sink", load_cpu, { program, unpack(site("sink", ([[local gw = require "moonlatch"
  gw.settings { access_log = "off" }
  gw.listen { host = "127.0.0.1", port = %d, limits = { body = 64 * 1024 * 1024 } }
  gw.route("* /*rest", function(req)
    local body = req:text { max = 64 * 1024 * 1024 }
    return gw.response(200, tostring(#body))
  end)]]):format(sink))) })
gateway.eventually(function() return answers(sink, "/") end, "sink")

for _, scenario in ipairs(scenarios) do
  if wanted(scenario[1]) then run(scenario) end
end

stop(sink_pid)
stop(backend_pid)
gateway.stop_all()
