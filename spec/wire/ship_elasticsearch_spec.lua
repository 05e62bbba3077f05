--- Lines on their way to Elasticsearch: complete and once while it works, bounded and counted while it does not,
-- and no request ever waits for it.
local collector = require "spec.support.collector"
local gateway = require "spec.support.gateway"
local socket = require "socket"

local function site(ship, more)
  return ([[
    local gw = require "moonlatch"
    gw.settings { service = "api", shutdown_timeout = 5, %s,
      ship = { elasticsearch = { interval = 0.05, timeout = 1, %s } } }
    gw.listen { port = PORT }
    gw.mount("metrics", { allow = { "127.0.0.1" } })
    gw.route("GET /ok/:n", function(req) return gw.response(200, "fine") end)
    gw.route("GET /fail", function(req) return gw.response(500, "no") end)
    gw.route("GET /say", function(req) gw.log.warn("said", { n = 7 }) return gw.response(204) end)
  ]]):format(more or 'access_log = "off"', ship)
end

local function start(c, ship, opts)
  opts = opts or {}
  return gateway.start({ ["gateway.lua"] = site(("url = %q, %s"):format(c.url, ship or ""), opts.settings) },
    { args = { "--workers", tostring(opts.workers or 1) } })
end

local function value_of(g, name)
  local page = g:ask("GET /metrics").body
  return tonumber(page:match("\n" .. name:gsub("%p", "%%%0") .. " (%S+)")) or 0
end

local function ask(g, from, to)
  for i = from, to do assert.equal(200, g:ask("GET /ok/" .. i).status) end
end

-- Waits for n documents of requests to /ok; sorted by their number
local function wait_for(c, n)
  return gateway.eventually(function()
    local list = {}
    for _, it in ipairs(c:documents()) do
      local number = (it.doc.url or ""):match("^/ok/(%d+)")
      if number then list[#list + 1] = tonumber(number) end
    end
    table.sort(list)
    return #list >= n and list
  end, n .. " documents")
end

local function numbers(from, to)
  local list = {}
  for i = from, to do list[#list + 1] = i end
  return list
end

describe("logs to Elasticsearch", function()
  teardown(gateway.stop_all)

  it("has the template before the first batch, and an index per day", function()
    local c = collector.start()
    local g = start(c, 'username = "elastic", password = "p:w"')
    ask(g, 1, 3)
    g:ask("GET /say")
    assert.same(numbers(1, 3), wait_for(c, 3))
    local templates = c:templates()
    assert.equal(1, #templates)
    assert.equal("hospital-logs", templates[1].name)
    assert.same({ "hospital-logs-*" }, templates[1].body.index_patterns)
    local fields = templates[1].body.template.mappings.properties
    local types = { ["@timestamp"] = "date", level = "keyword", message = "text", service = "keyword",
      requestId = "keyword", userId = "keyword", method = "keyword", url = "keyword", statusCode = "integer",
      responseTime = "integer" }
    for name, kind in pairs(types) do assert.equal(kind, fields[name].type) end
    local first = c:documents()[1]
    assert.equal(os.date("!hospital-logs-%Y.%m.%d"), first.index)
    local seen
    gateway.eventually(function()
      for _, it in ipairs(c:documents()) do
        if it.doc.message == "said" then seen = it.doc end
        if it.doc.url == "/ok/1" then first = it end
      end
      return seen
    end, "the event of a script")
    assert.equal(7, seen.n)
    assert.equal("api", first.doc.service)
    assert.equal(200, first.doc.statusCode)
    local head = c:heads("/_bulk")[1]
    assert.equal("Basic ZWxhc3RpYzpwOnc=", head.authorization)
    assert.equal("application/x-ndjson", head["content-type"])
    assert.equal("gzip", head["content-encoding"])
  end)

  it("sends plain bodies, an API key and fields of the site's own, to one index", function()
    local c = collector.start()
    local g = start(c, 'api_key = "abc==", gzip = false, daily = false, index = "mine", template = false,'
                       .. ' headers = { ["X-Tenant"] = "t1" }')
    ask(g, 1, 1)
    wait_for(c, 1)
    assert.equal("mine", c:documents()[1].index)
    assert.equal(0, #c:templates())
    local head = c:heads("/_bulk")[1]
    assert.equal("ApiKey abc==", head.authorization)
    assert.equal("t1", head["x-tenant"])
    assert.is_nil(head["content-encoding"])
  end)

  it("sends batches of many lines, not one request per line", function()
    local c = collector.start()
    local g = start(c, "interval = 1")
    ask(g, 1, 60)
    assert.same(numbers(1, 60), wait_for(c, 60))
    assert.is_true(#c:batches() <= 12)
  end)

  it("waits while it is away, and then sends each line once", function()
    local c = collector.start()
    local g = start(c)
    ask(g, 1, 2)
    wait_for(c, 2)
    c:stop()
    ask(g, 3, 40)
    gateway.eventually(function()
      return value_of(g, 'moonlatch_log_ship_failures_total{to="elasticsearch"}') >= 1
    end, "a failure")
    gateway.eventually(function()
      return value_of(g, 'moonlatch_log_buffered_lines{to="elasticsearch"}') >= 38
    end, "lines wait")
    c:again()
    assert.same(numbers(3, 40), wait_for(c, 38))
    assert.truthy(g:output():find("the collector of logs does not take them", 1, true))
  end)

  it("sends the same ids again when an answer was lost", function()
    local c = collector.start()
    local g = start(c, "timeout = 0.3")
    ask(g, 1, 1)
    wait_for(c, 1)
    c:say { lose = true }
    ask(g, 2, 5)
    wait_for(c, 5)
    c:say {}
    ask(g, 6, 6)
    assert.same(numbers(1, 6), wait_for(c, 6))
    gateway.eventually(function()
      return value_of(g, 'moonlatch_log_buffered_lines{to="elasticsearch"}') < 3
    end, "nothing waits")
    assert.same(numbers(1, 6), wait_for(c, 6))
  end)

  for name, say in pairs {
    ["500"] = { status = 500 }, ["429"] = { status = 429 }, ["503"] = { status = 503, body = "<html>" },
    ["401"] = { status = 401 }, ["garbage"] = { garbage = "{\"took\":1" }, ["silence"] = { hang = true },
    ["no JSON"] = { status = 200, body = "OK" },
  } do
    it("tries again after " .. name, function()
      local c = collector.start()
      local g = start(c, "timeout = 0.4")
      ask(g, 1, 1)
      wait_for(c, 1)
      c:say(say)
      local begin = socket.gettime()
      ask(g, 2, 9)
      assert.is_true(socket.gettime() - begin < 5)
      gateway.eventually(function()
        return value_of(g, 'moonlatch_log_ship_failures_total{to="elasticsearch"}') >= 2
      end, "failures")
      c:say {}
      assert.same(numbers(1, 9), wait_for(c, 9))
    end)
  end

  it("sends documents again that are refused for the moment, and no others", function()
    local c = collector.start()
    local g = start(c)
    c:say { item = 429, ["for"] = "/ok/3\"" }
    ask(g, 1, 5)
    wait_for(c, 4)
    c:say {}
    assert.same(numbers(1, 5), wait_for(c, 5))
  end)

  it("drops and counts documents that do not fit the mapping", function()
    local c = collector.start()
    local g = start(c)
    c:say { item = 400, ["for"] = "/ok/3\"" }
    ask(g, 1, 5)
    assert.same({ 1, 2, 4, 5 }, wait_for(c, 4))
    gateway.eventually(function()
      return value_of(g, 'moonlatch_log_refused_total{to="elasticsearch"}') == 1
    end, "one is refused")
    assert.truthy(g:output():find("the collector refuses lines", 1, true))
  end)

  it("makes smaller batches for who finds them too large", function()
    local c = collector.start()
    local g = start(c)
    c:say { status = 413 }
    ask(g, 1, 4)
    gateway.eventually(function() return #c:heads("/_bulk") >= 2 end, "another try")
    c:say {}
    ask(g, 5, 9)
    gateway.eventually(function() return #c:documents() > 0 end, "documents")
  end)

  it("goes on without the right to make a template", function()
    local c = collector.start()
    c:say { status = 403 }
    local g = start(c)
    ask(g, 1, 2)
    gateway.eventually(function() return #c:heads("/_bulk") >= 1 end, "a batch")
    c:say {}
    assert.same(numbers(1, 2), wait_for(c, 2))
    assert.truthy(g:output():find("takes no index template", 1, true))
  end)

  it("loses the oldest lines when its buffer is full, and counts them", function()
    local c = collector.start()
    c:say { hang = true }
    local g = start(c, "buffer = 16384, timeout = 60")
    ask(g, 1, 120)
    local dropped = 'moonlatch_log_lines_dropped_total{log="elasticsearch"}'
    gateway.eventually(function() return value_of(g, dropped) > 50 end, "lines are lost")
    assert.is_true(value_of(g, 'moonlatch_log_buffered_lines{to="elasticsearch"}') < 60)
  end)

  it("sends what is left before it ends", function()
    local c = collector.start()
    local g = start(c, "interval = 600", { workers = 2 })
    ask(g, 1, 30)
    g:signal("TERM")
    assert.same({ "exited", 0 }, { g:wait() })
    assert.same(numbers(1, 30), wait_for(c, 30))
  end)

  it("does not wait for long when nobody takes it", function()
    local c = collector.start()
    c:say { hang = true }
    local g = start(c, "timeout = 60")
    ask(g, 1, 5)
    local begin = socket.gettime()
    g:signal("TERM")
    assert.same({ "exited", 0 }, { g:wait() })
    assert.is_true(socket.gettime() - begin < 10)
  end)

  it("keeps lines over a reload, also one that names another collector", function()
    local c, other = collector.start(), collector.start()
    local g = start(c, "interval = 600")
    ask(g, 1, 10)
    g:save("gateway.lua", site(("url = %q, interval = 0.05"):format(other.url)))
    g:command("reload", "--wait")
    ask(g, 11, 12)
    assert.same(numbers(1, 12), wait_for(other, 12))
    assert.same({}, c:documents())
  end)

  it("is used by a worker that takes the place of one that was killed", function()
    local c = collector.start()
    local g = start(c)
    ask(g, 1, 2)
    wait_for(c, 2)
    local pid = g:command("status"):match("\n%s+0%s+(%d+)%s+serving")
    os.execute("kill -9 " .. pid)
    gateway.eventually(function() return g:command("status"):match("\n%s+0%s+(%d+)%s+serving") ~= pid end,
      "another worker")
    gateway.eventually(function() return pcall(ask, g, 3, 3) end, "which answers")
    wait_for(c, 3)
  end)

  for name, case in pairs {
    ["a URL without scheme"] = { 'url = "es:9200"', 'url must be "http' },
    ["a user in the URL"] = { 'url = "http://u:p@es:9200"', "must not hold a user" },
    ["an unknown option"] = { 'url = "http://es:9200", batchs = 1', "batchs" },
    ["two kinds of credentials"] = { 'url = "http://es", api_key = "a", username = "u", password = "p"', "exclude" },
    ["an index in upper case"] = { 'url = "http://es", index = "Logs"', "lower%-case" },
    ["a header that is none"] = { 'url = "http://es", headers = { ["a b"] = "c" }', "headers" },
  } do
    it("refuses " .. name .. " at load", function()
      local g = gateway.start({ ["gateway.lua"] = site(case[1]) }, { wait = false })
      local how, code = g:wait()
      assert.same({ "exited", true }, { how, code ~= 0 })
      assert.truthy(g:output():find("gateway.lua:%d: gw.settings: ship: elasticsearch: "))
      assert.truthy(g:output():find(case[2]))
    end)
  end
end)
