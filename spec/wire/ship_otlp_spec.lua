--- Logs and traces to a collector by OTLP/HTTP, and the trace that a request belongs to.
local collector = require "spec.support.collector"
local gateway = require "spec.support.gateway"

local TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

local function site(settings, routes)
  return ([[
    local gw = require "moonlatch"
    gw.settings { service = "api", access_log = "-", %s }
    gw.listen { port = PORT }
    gw.mount("metrics", { allow = { "127.0.0.1" } })
    gw.route("GET /ok", function(req) return gw.response(200, "fine") end)
    gw.route("GET /fail", function(req) return gw.response(500, "no") end)
    gw.route("GET /trace", function(req)
      gw.log.warn("in it")
      return gw.response(200, gw.json.encode(req.trace or {}))
    end)
    %s
  ]]):format(settings, routes or "")
end

local function start(settings, routes, files)
  files = files or {}
  files["gateway.lua"] = site(settings, routes)
  return gateway.start(files, { args = { "--workers", "1" } })
end

-- key -> value of a list of attributes
local function plain(attributes)
  local all = {}
  for _, a in ipairs(attributes) do
    local v = a.value
    all[a.key] = v.stringValue or v.intValue or v.doubleValue
    if all[a.key] == nil then all[a.key] = v.boolValue end
  end
  return all
end

local function records(c)
  local list = {}
  for _, body in ipairs(c:bodies("/v1/logs")) do
    for _, r in ipairs(body.resourceLogs[1].scopeLogs[1].logRecords) do
      r.attributes = plain(r.attributes)
      list[#list + 1] = r
    end
  end
  return list
end

local function spans(c)
  local list = {}
  for _, body in ipairs(c:bodies("/v1/traces")) do
    for _, s in ipairs(body.resourceSpans[1].scopeSpans[1].spans) do
      s.attributes = plain(s.attributes)
      list[#list + 1] = s
    end
  end
  return list
end

local function find(list, test)
  for _, it in ipairs(list) do
    if test(it) then return it end
  end
end

local function wait_for(list, test, what)
  return gateway.eventually(function() return find(list(), test) end, what)
end

describe("logs by OTLP", function()
  teardown(gateway.stop_all)

  it("are records with severity, time, attributes and a resource", function()
    local c = collector.start()
    local g = start(([[ship = { otlp = { url = %q, interval = 0.05, headers = { ["X-Tenant"] = "t1" },
      resource = { ["deployment.environment.name"] = "test", replicas = 3 } } } ]]):format(c.url))
    g:ask("GET /ok?token=s3cret&x=1")
    g:ask("GET /fail")
    g:ask("GET /trace")
    local r = wait_for(function() return records(c) end, function(it) return it.attributes.statusCode == "200" end, "a record")
    assert.same({ 9, "info", "request" }, { r.severityNumber, r.severityText, r.body.stringValue })
    assert.same({ "GET", "/ok?token=[redacted]&x=1", "api" }, { r.attributes.method, r.attributes.url, r.attributes.service })
    assert.is_true(math.abs(tonumber(r.timeUnixNano) / 1e9 - os.time()) < 60)
    r = wait_for(function() return records(c) end, function(it) return it.attributes.statusCode == "500" end, "an error")
    assert.equal(17, r.severityNumber)
    r = wait_for(function() return records(c) end, function(it) return it.body.stringValue == "in it" end, "an event")
    assert.equal(13, r.severityNumber)
    local resource = plain(c:bodies("/v1/logs")[1].resourceLogs[1].resource.attributes)
    assert.same({ ["service.name"] = "api", ["deployment.environment.name"] = "test", replicas = "3" }, resource)
    local head = c:heads("/v1/logs")[1]
    assert.same({ "t1", "application/json", "gzip" },
      { head["x-tenant"], head["content-type"], head["content-encoding"] })
  end)

  it("are sent again after 429, 502, 503 and 504, and given up after others, as the specification demands", function()
    local c = collector.start()
    local g = start(("ship = { otlp = { url = %q, interval = 0.05, timeout = 1 } }"):format(c.url))
    local function value_of(name)
      return tonumber(g:ask("GET /metrics").body:match("\n" .. name:gsub("%p", "%%%0") .. " (%S+)")) or 0
    end
    c:say { status = 503 }
    g:ask("GET /ok?first")
    gateway.eventually(function() return value_of('moonlatch_log_ship_failures_total{to="otlp"}') >= 1 end, "a failure")
    c:say {}
    wait_for(function() return records(c) end, function(it) return it.attributes.url == "/ok?first" end, "the record")
    c:say { status = 400 }
    g:ask("GET /ok?second")
    gateway.eventually(function() return value_of('moonlatch_log_refused_total{to="otlp"}') >= 1 end, "refused")
    c:say { partial = { partialSuccess = { rejectedLogRecords = "1", errorMessage = "so" } } }
    local before = value_of('moonlatch_log_refused_total{to="otlp"}')
    g:ask("GET /ok?third")
    gateway.eventually(function() return value_of('moonlatch_log_refused_total{to="otlp"}') > before end, "one refused")
  end)
end)

describe("tracing", function()
  teardown(gateway.stop_all)

  local slow = [[
    return { name = "slow", config = {}, new = function()
      return function(req, next)
        require("moonlatch").sleep(0.05)
        return next()
      end
    end }
  ]]

  local inner = [[
    return { name = "inner", config = {}, new = function()
      return function(req) req:set_path("/trace") end
    end }
  ]]

  it("makes spans of the request, of middlewares that waited, and of each try", function()
    local c, service = collector.start(), collector.start()
    local dead = gateway.free_port()
    local g = start(("tracing = { otlp = { url = %q, interval = 0.05 } }"):format(c.url), ([[
      gw.upstream("svc", { "http://127.0.0.1:%d", %q, retries = 1 })
      gw.route("POST /v1/logs", { "slow", "request_id", to = "svc" })
    ]]):format(dead, service.url), { ["middleware/slow.lua"] = slow })
    for i = 1, 2 do
      assert.equal(200, g:ask("POST /v1/logs?key=s3cret&i=" .. i, { body = "{}", headers =
        ("traceparent: 00-%s-%s-01\r\ntracestate: a=b\r\n"):format(TRACE, PARENT) }).status)
    end
    local request = wait_for(function() return spans(c) end, function(s) return s.kind == 2 end, "the request's span")
    assert.same({ TRACE, PARENT, "POST /v1/logs" }, { request.traceId, request.parentSpanId, request.name })
    local a = request.attributes
    assert.same({ "POST", "/v1/logs", "/v1/logs", "200", "http", "1.1" }, { a["http.request.method"], a["http.route"],
      a["url.path"], a["http.response.status_code"], a["url.scheme"], a["network.protocol.version"] })
    assert.equal("key=[redacted]&i=1", a["url.query"])
    assert.is_nil(request.status)
    local waited = wait_for(function() return spans(c) end, function(s) return s.kind == 1 end, "the middleware's span")
    assert.equal("middleware slow", waited.name)
    assert.equal(request.spanId, waited.parentSpanId)
    local took = (tonumber(waited.endTimeUnixNano) - tonumber(waited.startTimeUnixNano)) / 1e9
    assert.is_true(took >= 0.045 and took < 5)
    assert.is_nil(find(spans(c), function(s) return s.name == "middleware request_id" end))
    local failed = wait_for(function() return spans(c) end, function(s) return s.kind == 3 and s.status end, "a failed try")
    assert.equal(tostring(dead), failed.attributes["server.port"])
    assert.equal(2, failed.status.code)
    assert.truthy(failed.attributes["error.type"])
    local good = wait_for(function() return spans(c) end, function(s)
      return s.kind == 3 and s.attributes["http.response.status_code"] == "200"
    end, "a try that went well")
    assert.equal(TRACE, good.traceId)
    assert.equal(tostring(service.port), good.attributes["server.port"])
    assert.is_nil(good.attributes["url.full"]:find("s3cret", 1, true))
  end)

  it("tells the upstream the span of its try, the log and scripts the ids", function()
    local c = collector.start()
    local g = start(("tracing = { otlp = { url = %q, interval = 0.05 } }"):format(c.url), [[
      gw.upstream("self", { "http://127.0.0.1:PORT" })
      gw.route("GET /out", { "inner", to = "self" })
    ]], { ["middleware/inner.lua"] = inner })
    local first = require("cjson").decode(g:ask("GET /trace").body)
    assert.equal(32, #first.id)
    assert.is_nil(first.parent)
    assert.is_true(first.sampled)
    local log = g:wait_for_log('"/trace"')
    assert.truthy(log:find('"message":"in it".-"traceId":"' .. first.id .. '","spanId":"' .. first.span .. '"'))
    assert.truthy(log:find('"url":"/trace".-"traceId":"' .. first.id .. '","spanId":"' .. first.span .. '"'))
    g:ask("GET /out")
    local client = wait_for(function() return spans(c) end, function(s) return s.kind == 3 end, "the try")
    local behind = wait_for(function() return spans(c) end, function(s)
      return s.kind == 2 and s.parentSpanId == client.spanId
    end, "the span behind it")
    assert.equal(client.traceId, behind.traceId)
  end)

  it("heeds the sender's decision, and its own share of new traces", function()
    local c = collector.start()
    local g = start(("tracing = { otlp = { url = %q, interval = 0.05 }, sample = 0 }"):format(c.url))
    local new = require("cjson").decode(g:ask("GET /trace").body)
    assert.is_false(new.sampled)
    local unsampled = require("cjson").decode(g:ask("GET /trace", { headers =
      ("traceparent: 00-%s-%s-00\r\n"):format(TRACE, PARENT) }).body)
    assert.same({ TRACE, PARENT, false }, { unsampled.id, unsampled.parent, unsampled.sampled })
    local sampled = require("cjson").decode(g:ask("GET /trace", { headers =
      ("traceparent: 00-%s-%s-01\r\n"):format(TRACE, PARENT) }).body)
    wait_for(function() return spans(c) end, function(s) return s.spanId == sampled.span end, "its span")
    assert.equal(1, #spans(c))
  end)

  it("begins a new trace for a malformed parent, or one of a peer that is not believed", function()
    local c = collector.start()
    local g = start(("tracing = { otlp = { url = %q }, accept_from = { \"192.0.2.0/24\" } }"):format(c.url))
    local h = start(("tracing = { otlp = { url = %q } }"):format(c.url))
    local function id(of, parent)
      return require("cjson").decode(of:ask("GET /trace", { headers = "traceparent: " .. parent .. "\r\n" }).body).id
    end
    assert.not_equal(TRACE, id(g, ("00-%s-%s-01"):format(TRACE, PARENT)))
    assert.equal(TRACE, id(h, ("00-%s-%s-01"):format(TRACE, PARENT)))
    assert.equal(TRACE, id(h, ("cc-%s-%s-01-more"):format(TRACE, PARENT)))
    for _, bad in ipairs {
      ("00-%s-%s-01-more"):format(TRACE, PARENT), ("ff-%s-%s-01"):format(TRACE, PARENT),
      ("00-%s-%s-01"):format(TRACE:upper(), PARENT), ("00-%s-%s"):format(TRACE, PARENT),
      ("00-%s-%s-01"):format(("0"):rep(32), PARENT), ("00-%s-%s-01"):format(TRACE, ("0"):rep(16)),
      ("00-%s-%s-01\r\ntraceparent: 00-%s-%s-01"):format(TRACE, PARENT, TRACE, PARENT), "x",
    } do
      assert.not_equal(TRACE, id(h, bad))
    end
  end)

  it("is nothing at all when it is off", function()
    local g = start("")
    assert.equal("{}", g:ask("GET /trace").body)
    assert.is_nil(g:output():find("traceId", 1, true))
  end)
end)
