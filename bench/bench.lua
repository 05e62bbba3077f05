--- CPU per request of a gateway's process tree, peers alternated within each round.
--
-- usage: luajit bench/bench.lua PROGRAM ROUNDS SECONDS
-- The gateway is pinned to CPU 0 with one worker; load (wrk) and backend (nginx) to the last CPU.
-- Wall times on a shared machine are noise; CPU time of /proc/PID/task/*/schedstat is not.
local program, rounds, seconds = arg[1], tonumber(arg[2]), tonumber(arg[3])
package.path = "./?.lua;" .. package.path
local gateway = require "spec.support.gateway"
local load_cpu = tonumber(io.popen("nproc"):read("*l")) - 1

local base = gateway.folder()
local backend = gateway.free_port()

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
    daemon off; worker_processes 1; pid %s/%s.pid; error_log %s/%s.err; events { worker_connections 4096; }
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

-- scenario -> peer -> function(port) that starts it and returns its pid
local scenarios = {
  proxy = {
    nginx = function(port)
      return nginx("nginx-proxy", 0, ([[upstream b { server 127.0.0.1:%d; keepalive 256; keepalive_requests 100000000; }
        server { listen 127.0.0.1:%d backlog=4096; location / { proxy_http_version 1.1;
          proxy_set_header Connection ""; proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr;
          proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
          proxy_set_header X-Forwarded-Proto $scheme; proxy_pass http://b; } }]]):format(backend, port))
    end,
    haproxy = function(port)
      local conf = write("haproxy.cfg", ([[
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
]]):format(port, backend))
      return spawn("haproxy", 0, { "haproxy", "-f", conf })
    end,
    moonlatch = function(port)
      local argv = site("proxy", ([[local gw = require "moonlatch"
        gw.settings { access_log = "off" }
        gw.listen { host = "127.0.0.1", port = %d }
        gw.upstream("b", { "http://127.0.0.1:%d", keepalive = 256, preserve_host = true })
        %s
        gw.route("* /*rest", { to = "b" })]]):format(port, backend, eight))
      return spawn("moonlatch-proxy", 0, { program, unpack(argv) })
    end,
  },
  hello = {
    nginx = function(port)
      return nginx("nginx-hello", 0, ([[server { listen 127.0.0.1:%d backlog=4096;
        location / { default_type application/json; add_header X-Path $uri;
          return 200 '{"status":"ok"}'; } }]]):format(port))
    end,
    moonlatch = function(port)
      local argv = site("hello", ([[local gw = require "moonlatch"
        gw.settings { access_log = "off" }
        gw.listen { host = "127.0.0.1", port = %d }
        gw.route("* /*rest", { respond = function(req)
          return gw.response(200, '{"status":"ok"}',
                             { ["content-type"] = "application/json", ["x-path"] = req.path }) end })]]):format(port))
      return spawn("moonlatch-hello", 0, { program, unpack(argv) })
    end,
  },
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

local function answers(port)
  return lines("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:" .. port .. "/") == "200"
end

local function load(port)
  local text = lines(("taskset -c %d wrk -t1 -c64 -d%d http://127.0.0.1:%d/api/doctors?page=1"):format(
                     load_cpu, seconds, port))
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

local function measure(start)
  local port = gateway.free_port()
  local pid = start(port)
  gateway.eventually(function() return answers(port) end, "first answer")
  load(port) -- warm-up
  local before = cpu_s(pid)
  local count = load(port)
  local per_request = (cpu_s(pid) - before) / count * 1e6
  stop(pid)
  return per_request
end

local backend_pid = nginx("backend", load_cpu, ([[server { listen 127.0.0.1:%d backlog=4096;
  location / { default_type application/json; return 200 '{"success":true,"data":[{"id":"d1","name":"Dr. Ada Lin"}]}'; } }]]):format(backend))
gateway.eventually(function() return answers(backend) end, "backend")

for _, scenario in ipairs { "proxy", "hello" } do
  local figures = {}
  for _ = 1, rounds do
    for peer, start in pairs(scenarios[scenario]) do
      figures[peer] = figures[peer] or {}
      table.insert(figures[peer], measure(start))
    end
  end
  local reference = median(figures.nginx)
  for peer, values in pairs(figures) do
    print(("%-6s %-10s %6.1f us CPU per request   %.2f x nginx"):format(
          scenario, peer, median(values), median(values) / reference))
  end
end

stop(backend_pid)
gateway.stop_all()
