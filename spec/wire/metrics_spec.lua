--- Metrics of the real program: what is counted under which labels, what survives what, and what Prometheus makes
-- of it.
local cjson = require "cjson"
local gateway = require "spec.support.gateway"
local pki = require "spec.support.pki"
local redis = require "spec.support.redis"
local posix = { signal = require "posix.signal", wait = require "posix.sys.wait" }
local upstream = require "spec.support.upstream"

local head = [[
  local gw = require "moonlatch"
  gw.settings { service = "shop", shutdown_timeout = 2 }
  gw.listen { port = PORT, host = "127.0.0.1" }
  gw.mount("metrics")
]]

local function start(text, more)
  local files = { ["gateway.lua"] = head .. text }
  for name, file in pairs(more or {}) do files[name] = file end
  return gateway.start(files)
end

local function page(g, accept)
  local answer = g:ask("GET /metrics", { headers = accept and ("Accept: %s\r\n"):format(accept) or "" })
  assert.equal(200, answer.status)
  return answer.body, answer
end

-- The value of a series, written as it is exposed; nil when there is none.
local function value(g, series)
  for line in page(g):gmatch("[^\n]+") do
    if line:sub(1, #series + 1) == series .. " " then return tonumber(line:sub(#series + 2)) end
  end
end

local function counted(g, series, n)
  gateway.eventually(function() return value(g, series) == n end, series .. " is " .. n)
end

local function requests(method, route, status)
  return ('http_requests_total{method="%s",route="%s",status_code="%d",service="shop"}'):format(method, route, status)
end

local function workers(g) return cjson.decode((g:command("status", "--json"))).workers end

local function reload(g) return select(2, g:command("reload", "--wait")) end

describe("metrics of requests", function()
  teardown(gateway.stop_all)
  local g
  setup(function()
    g = start [[
      gw.use { "request_id" }
      gw.route("GET|DELETE /things/:id", { respond = function() return gw.response(200, "x") end })
      gw.route("* /files/*rest", { name = "/files/*", respond = function(req)
        if req.query == "wait" then gw.sleep(60) end
        return gw.response(404)
      end })
    ]]
  end)

  it("are labelled with the pattern or the name of the route", function()
    for id = 1, 20 do g:get("/things/" .. id) end
    g:ask("DELETE /things/1")
    g:get("/files/a/b")
    g:get("/files/c")
    counted(g, requests("GET", "/things/:id", 200), 20)
    counted(g, requests("DELETE", "/things/:id", 200), 1)
    counted(g, requests("GET", "/files/*", 404), 2)
    assert.is_nil(page(g):find("/things/1", 1, true))
  end)

  it("have one name for all unknown paths, methods and refusals", function()
    g:get("/nowhere/1")
    g:get("/nowhere/2")
    g:ask("BREW /pot")
    g:raw("GET / HTTP/1.1\r\n\r\n")
    counted(g, requests("GET", "unmatched", 404), 2)
    counted(g, requests("OTHER", "unmatched", 404), 1)
    counted(g, requests("GET", "unmatched", 400), 1)
  end)

  it("count a preflight as unmatched: it is no request of the route", function()
    g:ask("OPTIONS /files/x", { headers = "Origin: https://a.example\r\nAccess-Control-Request-Method: PUT\r\n" })
    counted(g, requests("OPTIONS", "unmatched", 404), 1)
  end)

  it("count requests of HTTP/2 in the same way", function()
    os.execute(("curl -s -o /dev/null --http2-prior-knowledge http://127.0.0.1:%d/files/h2 -X PUT"):format(g.port))
    counted(g, requests("PUT", "/files/*", 404), 1)
  end)

  it("count a client that left as 499", function()
    local s = g:connect()
    s:send("GET /files/x?wait HTTP/1.1\r\nHost: a\r\n\r\n")
    gateway.eventually(function()
      return (value(g, 'active_connections{service="shop"}') or 0) >= 2
    end, "the connection")
    s:close()
    counted(g, requests("GET", "/files/*", 499), 1)
  end)

  it("have the buckets of the dashboards, and finer ones before them", function()
    g:get("/things/1")
    local bounds = {}
    for bound in page(g):gmatch('http_request_duration_seconds_bucket{method="GET",route="/things/:id",'
                                .. 'status_code="200",service="shop",le="([^"]+)"}') do
      bounds[#bounds + 1] = bound
    end
    assert.equal("0.001 0.005 0.01 0.025 0.05 0.1 0.3 0.5 0.7 1 3 5 7 10 +Inf", table.concat(bounds, " "))
  end)
end)

describe("metrics", function()
  after_each(gateway.stop_all)

  local echo = 'gw.route("GET /", { respond = function() return gw.response(200, "x") end })\n'

  it("survive a worker that is killed, and reloads", function()
    local g = start(echo)
    for _ = 1, 40 do g:get("/") end
    counted(g, requests("GET", "/", 200), 40)
    local before = workers(g)
    for _, w in ipairs(before) do posix.signal.kill(w.pid, posix.signal.SIGKILL) end
    gateway.eventually(function()
      local now = workers(g)
      return now[1].state == "serving" and now[2].state == "serving" and now[1].pid ~= before[1].pid
        and now[2].pid ~= before[2].pid
    end, "new workers")
    g:get("/")
    counted(g, requests("GET", "/", 200), 41)
    assert.equal(2, value(g, "moonlatch_worker_restarts_total"))
    g:save("gateway.lua", head .. echo .. "-- another one")
    assert.equal(0, reload(g))
    g:get("/")
    counted(g, requests("GET", "/", 200), 42)
    assert.equal(1, value(g, "moonlatch_reloads_total"))
    assert.equal(2, value(g, "moonlatch_generation"))
  end)

  it("tell of reloads that failed", function()
    local g = start(echo)
    g:save("gateway.lua", "nonsense")
    assert.not_equal(0, reload(g))
    gateway.eventually(function() return value(g, "moonlatch_reload_failures_total") >= 1 end, "a failure")
    assert.equal(0, value(g, "moonlatch_last_reload_successful"))
    assert.equal(1, value(g, "moonlatch_generation"))
  end)

  it("tell which middleware refuses, fails and takes time", function()
    local g = start([[
      gw.use { "guard", "around" }
      gw.route("GET /", { respond = function() return gw.response(200, "x") end })
      gw.route("GET /error", { { "broken" }, respond = function() return gw.response(200, "x") end })
      gw.route("GET /handler", { respond = function() error("not a middleware's") end })
    ]], {
      ["middleware/guard.lua"] = [[local gw = require "moonlatch"
        return { new = function() return function(req)
          if req:header("x-refuse") then return gw.response(tonumber(req:header("x-refuse"))) end
        end end }]],
      ["middleware/around.lua"] = [[local gw = require "moonlatch"
        return { new = function() return function(_, next)
          local n = 0
          for i = 1, 1e6 do n = n + i % 7 end
          gw.sleep(0.02)
          return next()
        end end }]],
      ["middleware/broken.lua"] = 'return { new = function() return function(_, next) next() error("x") end end }',
    })
    local function of(what, name)
      return value(g, ('moonlatch_middleware_%s_total{middleware="%s"}'):format(what, name))
    end
    for _ = 1, 5 do g:get("/") end
    g:get("/", "X-Refuse: 403\r\n")
    g:get("/", "X-Refuse: 302\r\n")
    for _ = 1, 3 do g:get("/error") end
    g:get("/handler")
    gateway.eventually(function() return of("errors", "broken") == 3 end, "errors of broken")
    assert.equal(1, of("denials", "guard"))
    assert.equal(0, of("denials", "around"))
    assert.equal(0, of("errors", "around"))
    assert.equal(0, of("errors", "guard"))
    assert.truthy(of("cpu_seconds", "around") > of("cpu_seconds", "guard"))
    assert.truthy(of("wall_seconds", "around") >= 0.02)
    assert.truthy(of("wall_seconds", "around") > of("wall_seconds", "guard"))
  end)

  it("tell of upstreams: requests, failures, further tries, latency, health, connections", function()
    local up = upstream.listen()
    local g = start(('gw.upstream("back", { "%s", "http://127.0.0.1:1" })\n'
                     .. 'gw.route("GET /", { to = "back" })'):format(up:url()))
    local client = g:connect()
    client:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    local s = up:accept()
    upstream.head(s)
    s:send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert.equal("HTTP/1.1 200 OK", client:receive("*l"))
    local at = ('upstream="back",server="%s"'):format(up:url())
    assert.equal(1, value(g, ("moonlatch_upstream_requests_total{%s}"):format(at)))
    assert.equal(0, value(g, ("moonlatch_upstream_errors_total{%s}"):format(at)))
    assert.equal(1, value(g, ("moonlatch_upstream_up{%s}"):format(at)))
    assert.equal(1, value(g, 'moonlatch_upstream_latency_seconds_count{upstream="back"}'))
    counted(g, ("moonlatch_upstream_idle_connections{%s}"):format(at), 1)
    local dead = 'upstream="back",server="http://127.0.0.1:1"'
    local tries = value(g, 'moonlatch_upstream_retries_total{upstream="back"}')
    assert.equal(tries, value(g, ("moonlatch_upstream_errors_total{%s}"):format(dead)))
    assert.equal(1 - tries, value(g, ("moonlatch_upstream_up{%s}"):format(dead)))
    client:close()
    s:close()
    up:close()
  end)

  it("tell which limits are counted alone, as Redis fails", function()
    local r = redis.start {}
    finally(redis.stop_all)
    local g = start(([[
      gw.use { { "rate_limit", limit = 1000, window = 60, name = "orders",
                 redis = gw.redis("redis://127.0.0.1:%d", { timeout = 0.2, connect_timeout = 0.2 }) } }
    ]]):format(r.port) .. echo)
    local function of(what)
      for line in page(g):gmatch("[^\n]+") do
        local n = line:match("^moonlatch_limiter_" .. what .. '{limiter="orders[^"]*"} (%d+)$')
        if n then return tonumber(n) end
      end
    end
    g:get("/")
    assert.equal(0, of "degraded")
    r:kill()
    gateway.eventually(function()
      g:get("/")
      return of "degraded" == 1
    end, "degraded")
    assert.truthy(of "fallbacks_total" >= 1)
  end)

  it("tell when certificates expire", function()
    local dir = gateway.folder()
    local pair = pki.certificate(dir, "one", pki.authority(dir, "ca"), { "one.test" }, { days = 30 })
    local g = gateway.start { ["gateway.lua"] = head .. ('gw.listen { host = "127.0.0.1", port = PORT2, '
      .. 'tls = { cert = %q, key = %q } }\n'):format(pair.cert, pair.key) }
    local at = value(g, ('moonlatch_tls_certificate_expiry_timestamp_seconds{listener="127.0.0.1:%d"}')
                        :format(g.ports.PORT2))
    assert.truthy(math.abs(at - os.time() - 30 * 86400) < 3600, tostring(at))
  end)

  it("are shown to allowed addresses only", function()
    local g = gateway.start { ["gateway.lua"] = [[
      local gw = require "moonlatch"
      gw.listen { port = PORT, host = "127.0.0.1" }
      gw.mount("metrics", { path = "/m", allow = { "192.0.2.0/24" } })
    ]] }
    assert.equal(404, (g:get("/m")))
  end)

  it("are not shown through a proxy that nobody trusts, whose address would be allowed", function()
    local g = start(echo .. 'gw.mount("status")\n')
    for _, trace in ipairs { "X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1", "Via: 1.1 x",
                             "X-Real-IP: 192.0.2.1" } do
      assert.equal(404, (g:get("/metrics", trace .. "\r\n")))
      assert.equal(404, (g:get("/status", trace .. "\r\n")))
    end
    assert.equal(200, (g:get("/metrics")))
    assert.equal(200, (g:get("/status")))
  end)

  it("are OpenMetrics for who asks for it", function()
    local g = start(echo)
    local text, answer = page(g, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert.equal("application/openmetrics-text; version=1.0.0; charset=utf-8", answer.headers["content-type"])
    assert.truthy(text:find("# TYPE http_requests counter\n", 1, true))
    assert.equal("# EOF\n", text:sub(-6))
    text, answer = page(g)
    assert.equal("text/plain; version=0.0.4; charset=utf-8", answer.headers["content-type"])
    assert.truthy(text:find("# TYPE http_requests_total counter\n", 1, true))
  end)

  it("are those that docs/metrics.md lists, and no others", function()
    local documented, shown = {}, {}
    for name in gateway.read("docs/metrics.md"):gmatch("\n| `([%w_]+)`") do documented[name] = true end
    local g = start('gw.settings { ship = { elasticsearch = { url = "http://127.0.0.1:1" } } }\n'
      .. 'gw.upstream("back", { "http://127.0.0.1:1" })\ngw.use { "request_id" }\n'
      .. 'gw.ratelimit { limit = 1, redis = gw.redis "redis://127.0.0.1:1" }\n' .. echo)
    g:get("/")
    for name in page(g):gmatch("# TYPE (%S+)") do shown[name] = true end
    for name in pairs(shown) do assert(documented[name], name .. " is not in docs/metrics.md") end
    for name in pairs(documented) do assert(shown[name], name .. " is in docs/metrics.md only") end
  end)
end)

describe("metrics of scripts", function()
  after_each(gateway.stop_all)

  local site = [[
    local operations = gw.metrics.counter { name = "graphql_operations_total", help = "Operations",
      labels = { "operation_name", "status" }, max_series = 3 }
    local sizes = gw.metrics.histogram { name = "body_bytes", help = "Size", buckets = { 10, 100 } }
    local open = gw.metrics.gauge { name = "carts", help = "Open carts", merge = "last" }
    gw.route("GET /count/:name", { respond = function(req)
      operations:inc { operation_name = req.params.name, status = true }
      sizes:observe(50)
      open:set(#req.params.name)
      return gw.response(200, "x")
    end })
    gw.route("GET /wrong", { respond = function() operations:inc { operation_name = "x" } end })
  ]]

  it("are counted by all workers, up to as many series as they may have", function()
    local g = start(site)
    for i = 1, 30 do g:get("/count/n" .. i) end
    counted(g, 'graphql_operations_total{operation_name="other",status="other"}', 27)
    assert.equal(1, value(g, 'graphql_operations_total{operation_name="n1",status="true"}'))
    assert.is_nil(value(g, 'graphql_operations_total{operation_name="n4",status="true"}'))
    assert.equal(27, value(g, 'moonlatch_metrics_other_total{metric="graphql_operations_total"}'))
    assert.equal(30, value(g, 'body_bytes_bucket{le="100"}'))
    assert.equal(0, value(g, 'body_bytes_bucket{le="10"}'))
    assert.equal(3, value(g, "carts"))
  end)

  it("go on counting after a reload, and may not become something else", function()
    local g = start(site)
    g:get("/count/a")
    counted(g, 'graphql_operations_total{operation_name="a",status="true"}', 1)
    g:save("gateway.lua", head .. "-- the same\n" .. site)
    assert.equal(0, reload(g))
    g:get("/count/a")
    counted(g, 'graphql_operations_total{operation_name="a",status="true"}', 2)
    g:save("gateway.lua", head .. site:gsub('"status" }', '"state" }'):gsub("status = true", "state = true"))
    local text, code = g:command("reload", "--wait")
    assert.not_equal(0, code)
    assert.truthy(text:find("graphql_operations_total is in use since the gateway was started", 1, true))
    assert.truthy(text:find("gateway.lua:%d+: gw.metrics.counter"))
    g:get("/count/a")
    counted(g, 'graphql_operations_total{operation_name="a",status="true"}', 3)
  end)

  it("need all of their labels", function()
    local g = start(site)
    assert.equal(500, (g:get("/wrong")))
    g:wait_for_log([[the label \"status\" is missing]])
  end)
end)

describe("health", function()
  after_each(gateway.stop_all)

  it("is not ready without a server of a required upstream", function()
    local g = start([[
      gw.upstream("back", { "http://127.0.0.1:1" })
      gw.route("GET /", { to = "back" })
      gw.mount("health", { require = { "back" } })
    ]])
    assert.equal(200, (g:get("/readyz")))
    assert.equal(503, (g:get("/")))
    local status, body = g:get("/readyz")
    assert.equal(503, status)
    assert.same({ status = "unavailable", upstreams = { "back" } }, cjson.decode(body))
    assert.equal(200, (g:get("/livez")))
    assert.equal(200, (g:get("/health")))
  end)

  it("is not ready while the gateway ends but still accepts", function()
    local g = gateway.start { ["gateway.lua"] = [[
      local gw = require "moonlatch"
      gw.settings { shutdown_delay = 5 }
      gw.listen { port = PORT, host = "127.0.0.1" }
      gw.mount("health")
    ]] }
    assert.equal(200, (g:get("/readyz")))
    g:signal("TERM")
    gateway.eventually(function() return (g:get("/readyz")) == 503 end, "503")
    assert.equal(200, (g:get("/livez")))
  end)

  it("requires upstreams that exist", function()
    local dir = gateway.folder()
    gateway.write(dir .. "/gateway.lua", 'local gw = require "moonlatch"\n'
                  .. 'gw.mount("health", { require = { "bakc" } })\ngw.upstream("back", { "http://127.0.0.1:1" })\n')
    local p = io.popen(gateway.binary .. " check " .. dir .. " 2>&1")
    local text = p:read("*a")
    p:close()
    assert.truthy(text:find('gateway.lua:2: unknown upstream "bakc" (did you mean "back"?)', 1, true), text)
  end)
end)

describe("Prometheus", function()
  after_each(gateway.stop_all)

  local function run(command)
    local p = io.popen(command .. " 2>&1; echo exit=$?")
    local text = p:read("*a")
    p:close()
    return text, tonumber(text:match("exit=(%d+)%s*$"))
  end

  it("finds nothing to complain about (promtool)", function()
    local g = start('gw.upstream("back", { "http://127.0.0.1:1" })\ngw.use { "request_id" }\n'
                    .. 'gw.route("GET /", { to = "back" })')
    g:get("/")
    local file = gateway.folder() .. "/page"
    gateway.write(file, page(g))
    assert.equal("exit=0\n", (run("promtool check metrics < " .. file)))
  end)

  it("scrapes, and the dashboard's expressions give sane values", function()
    local g = start('gw.route("GET /", { respond = function() gw.sleep(0.02) return gw.response(200, "x") end })')
    local dir, port = gateway.folder(), gateway.free_port()
    gateway.write(dir .. "/prometheus.yml", ("global: { scrape_interval: 1s }\nscrape_configs:\n"
      .. "  - job_name: gateway\n    static_configs: [ { targets: ['127.0.0.1:%d'] } ]\n"):format(g.port))
    local pid = gateway.spawn({ "prometheus", "--config.file=" .. dir .. "/prometheus.yml",
      "--storage.tsdb.path=" .. dir .. "/data", "--web.listen-address=127.0.0.1:" .. port }, nil, dir .. "/log")
    finally(function()
      posix.signal.kill(pid, posix.signal.SIGKILL)
      posix.wait.wait(pid)
    end)
    local function query(expression)
      local ok, answer = pcall(g.ask, g, "GET /api/v1/query?query=" .. expression:gsub("[^%w]", function(c)
        return ("%%%02X"):format(c:byte())
      end), { port = port })
      if not ok or answer.status ~= 200 then return nil end
      local first = cjson.decode(answer.body).data.result[1]
      return first and tonumber(first.value[2])
    end
    local rate, p95
    gateway.eventually(function()
      g:get("/")
      rate = query('sum(rate(http_requests_total{route="/"}[1m]))')
      p95 = query('histogram_quantile(0.95, sum(rate(http_request_duration_seconds_bucket{route="/"}[1m])) by (le))')
      return rate and rate > 0 and p95 == p95 and p95
    end, "values; " .. gateway.read(dir .. "/log"), 60)
    assert.truthy(rate < 100)
    assert.truthy(p95 > 0.01 and p95 <= 1, tostring(p95))
    assert.equal(1, query('up{job="gateway"}'))
  end)
end)
