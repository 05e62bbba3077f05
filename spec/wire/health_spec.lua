--- Active health checks, drain and lists of servers, with servers that die, hang and come back.
local backend = require "spec.support.backend"
local gateway = require "spec.support.gateway"
local cjson = require "cjson"
local signal = require "posix.signal"

local function status(g)
  return cjson.decode((g:command("status", "--json")))
end

local function server_of(g, b)
  for _, s in ipairs(status(g).upstreams) do
    if s.server == b:url() then return s end
  end
end

local function wait_for_state(g, b, state)
  return gateway.eventually(function()
    local s = server_of(g, b)
    return s and s.state == state and s
  end, b.name .. " is " .. state)
end

-- The names that answered n requests, each with how often.
local function spread(g, n, path)
  local got = {}
  for _ = 1, n do
    local code, body = g:get(path or "/")
    body = code == 200 and body or tostring(code)
    got[body] = (got[body] or 0) + 1
  end
  return got
end

local function site(options, more, ...)
  local urls = {}
  for _, b in ipairs { ... } do urls[#urls + 1] = ("%q"):format(type(b) == "table" and b:url() or b) end
  return ([[
    local gw = require "moonlatch"
    gw.listen { port = PORT, host = "127.0.0.1" }
    local up = gw.upstream("up", { %s, %s })
    gw.mount("status")
    gw.route("GET /", { to = "up" })
    gw.route("GET /slow", { to = "up" })
    %s
  ]]):format(table.concat(urls, ", "), options, more or "")
end

local checks = [[health = { path = "/health", interval = 0.1, timeout = 0.5, rise = 2, fall = 2 }]]

describe("health checks", function()
  local one, two

  before_each(function()
    one, two = backend.start("one"), backend.start("two")
  end)
  after_each(function()
    backend.stop_all()
    gateway.stop_all()
  end)

  it("take a server out that answers with the wrong status, and in again", function()
    local g = gateway.start { ["gateway.lua"] = site(checks, nil, one, two) }
    gateway.eventually(function()
      local a, b = server_of(g, one), server_of(g, two)
      return a.check.state == "up" and b.check.state == "up"
    end, "both are checked")
    assert.same({ one = 4, two = 4 }, spread(g, 8))
    one:say("/health", 503)
    local s = wait_for_state(g, one, "down")
    assert.equal("status_503", s.lastError)
    assert.equal("status_503", s.check.error)
    assert.truthy(s.lastErrorAt:find("^20%d%d%-"))
    assert.same({ two = 8 }, spread(g, 8))
    one:say("/health", 302)
    wait_for_state(g, one, "up")
    assert.same({ one = 4, two = 4 }, spread(g, 8))
    assert.truthy(one:last("/health"):find("|Host: 127.0.0.1:" .. one.port .. "|", 1, true))
    assert.truthy(one:last("/health"):find("|User-Agent: moonlatch-health-check|", 1, true))
    assert.equal(cjson.null, server_of(g, two).lastError)
  end)

  it("find servers that are dead or silent without a request of a client", function()
    local g = gateway.start { ["gateway.lua"] = site(checks, nil, one, two) }
    gateway.eventually(function() return server_of(g, one).check.state == "up" end, "a check")
    one:kill()
    assert.equal("upstream_refused", wait_for_state(g, one, "down").lastError)
    assert.equal(0, server_of(g, one).requests)
    two:hang()
    assert.equal("upstream_timeout", wait_for_state(g, two, "down").lastError)
    two:go_on()
    one:restart()
    wait_for_state(g, one, "up")
    wait_for_state(g, two, "up")
    assert.same({ one = 2, two = 2 }, spread(g, 4))
  end)

  it("are made by one worker, and by another when that is killed", function()
    local g = gateway.start { ["gateway.lua"] = site(checks, nil, one, two) }
    local first = gateway.eventually(function()
      local by = status(g).checkedBy
      return by ~= cjson.null and by
    end, "a worker that checks")
    one:say("/health", 500)
    wait_for_state(g, one, "down")
    signal.kill(status(g).workers[first + 1].pid, signal.SIGKILL)
    two:say("/health", 500)
    wait_for_state(g, two, "down")
    assert.equal("down", server_of(g, one).state) -- what is known survived
    one:say("/health", 200)
    wait_for_state(g, one, "up")
    -- a worker that is stopped holds the lease for less than a second
    local by = status(g).checkedBy
    local pid = status(g).workers[by + 1].pid
    signal.kill(pid, signal.SIGSTOP)
    gateway.eventually(function() return status(g).checkedBy ~= by end, "another one checks")
    two:say("/health", 200)
    wait_for_state(g, two, "up")
    signal.kill(pid, signal.SIGCONT)
  end)

  it("keep what they know over reloads, and forget it where no checks are wanted any more", function()
    local g = gateway.start { ["gateway.lua"] = site(checks, nil, one, two) }
    one:say("/health", 500)
    wait_for_state(g, one, "down")
    g:save("gateway.lua", site(checks, 'gw.route("GET /new", { to = "up" })', one, two))
    assert.equal(0, select(2, g:command("reload", "--wait")))
    assert.equal("down", server_of(g, one).state)
    assert.same({ two = 6 }, spread(g, 6))
    g:save("gateway.lua", site("retries = 1", nil, one, two))
    assert.equal(0, select(2, g:command("reload", "--wait")))
    wait_for_state(g, one, "up")
    assert.same({ one = 3, two = 3 }, spread(g, 6))
  end)

  it("look for a text, a method, a host and a port of their own", function()
    local other = backend.start("other")
    local g = gateway.start { ["gateway.lua"] = site(([[health = { path = "/deep/health?x=1", body = "fine",
      host = "checks.test", method = "POST", expect = { 200, "418-420" }, port = %d, interval = 0.1, fall = 1,
      rise = 1, jitter = 0 }]]):format(other.port), nil, one) }
    assert.equal("body_mismatch", wait_for_state(g, one, "down").lastError)
    local last = other:last("/deep/health?x=1")
    assert.truthy(last:find("^POST /deep/health%?x=1 HTTP/1.1|") and last:find("|Host: checks.test|", 1, true))
    other:say("/deep/health?x=1", 419, "all is fine here")
    wait_for_state(g, one, "up")
    assert.equal(0, one:count("/deep/health?x=1"))
  end)

  it("without a path only connect", function()
    local g = gateway.start { ["gateway.lua"] = site("health = { interval = 0.1, fall = 2 }", nil, one, two) }
    gateway.eventually(function() return server_of(g, one).check.count > 1 end, "checks")
    assert.equal("up", server_of(g, one).state)
    assert.falsy(one:log():find("HTTP", 1, true))
    one:kill()
    assert.equal("upstream_refused", wait_for_state(g, one, "down").lastError)
  end)

  it("may hold a server back until its first good check", function()
    one:say("/health", 500)
    local options = checks:gsub("rise = 2", 'rise = 2, initially = "down"')
    local g = gateway.start { ["gateway.lua"] = site(options, nil, one, two) }
    wait_for_state(g, two, "up")
    assert.equal("down", server_of(g, one).state)
    assert.same({ two = 4 }, spread(g, 4))
  end)

  it("use all servers when none is left", function()
    local g = gateway.start { ["gateway.lua"] = site(checks, nil, one, two) }
    one:say("/health", 500)
    two:say("/health", 500)
    wait_for_state(g, one, "down")
    wait_for_state(g, two, "down")
    assert.same({ one = 3, two = 3 }, spread(g, 6))
    assert.equal("down", server_of(g, one).state) -- traffic has no say in this
  end)

  it("are refused with file and line when they make no sense", function()
    for options, complaint in pairs {
      ['health = { path = "health" }'] = 'gateway.lua:3: gw.upstream("up"): health: option "path" must begin with "/"',
      ['health = { path = "/", expect = "200-700" }'] = 'option "expect": 200-700 is no status',
      ['health = { body = "x" }'] = 'health: option "body" needs a path',
      ['health = { path = "/", intervall = 1 }'] = 'did you mean "interval"?',
      ['panic_threshold = 101'] = "must be at most 100",
      ['send_proxy = "v3"'] = 'must be one of "v1", "v2"',
      ['resolve = "some"'] = 'must be one of "name", "all"',
    } do
      local g = gateway.start({ ["gateway.lua"] = site(options, nil, one) }, { wait = false })
      assert.same({ "exited", 1 }, { g:wait() })
      assert.truthy(g:output():find(complaint, 1, true), g:output())
    end
  end)
end)

describe("servers of an upstream", function()
  local one, two

  before_each(function()
    one, two = backend.start("one"), backend.start("two")
  end)
  after_each(function()
    backend.stop_all()
    gateway.stop_all()
  end)

  it("get no new requests when they are drained, and finish what they have", function()
    one:say("/slow", 0)
    local g = gateway.start { ["gateway.lua"] = site("balance = 'hash', hash = 'path', retries = 0", nil, one) }
    local s = g:connect()
    s:send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    gateway.eventually(function() return server_of(g, one).inFlight == 1 end, "a request in flight")
    local text, code = g:command("drain", "up", one:url())
    assert.equal(0, code)
    assert.truthy(text:find("is draining, 1 in flight", 1, true), text)
    assert.same({ ["503"] = 2 }, spread(g, 2))
    s:close()
    wait_for_state(g, one, "drained")
    text, code = g:command("undrain", "up", "127.0.0.1:" .. one.port)
    assert.same({ 0, true }, { code, text:find("is up", 1, true) ~= nil })
    assert.same({ one = 2 }, spread(g, 2))
    text, code = g:command("drain", "up", "http://127.0.0.1:1")
    assert.equal(1, code)
    assert.truthy(text:find("no such server", 1, true))
    assert.equal(2, select(2, g:command("drain", "up")))
  end)

  it("stay drained over reloads and deaths of workers", function()
    local g = gateway.start { ["gateway.lua"] = site("retries = 1", nil, one, two) }
    g:command("drain", "up", one:url())
    g:save("gateway.lua", site("retries = 2", nil, one, two))
    assert.equal(0, select(2, g:command("reload", "--wait")))
    for _, w in ipairs(status(g).workers) do signal.kill(w.pid, signal.SIGKILL) end
    gateway.eventually(function()
      for _, w in ipairs(status(g).workers) do
        if w.state ~= "serving" or w.restarts == 0 then return false end
      end
      return true
    end, "new workers")
    assert.same({ two = 6 }, spread(g, 6))
    assert.equal("drained", server_of(g, one).state)
  end)

  it("that are backups wait until the others are gone", function()
    local text = site("retries = 1, fail_timeout = 60", nil, one)
    text = text:gsub("retries", ("{ url = %q, backup = true }, retries"):format(two:url()))
    local g = gateway.start { ["gateway.lua"] = text }
    assert.same({ one = 6 }, spread(g, 6))
    one:kill()
    assert.same({ two = 6 }, spread(g, 6))
    assert.truthy(server_of(g, two).backup)
  end)

  it("take no more requests at once than max_conns", function()
    one:say("/slow", 0)
    local text = site("retries = 0", nil):gsub("{ , ", ("{ { url = %q, max_conns = 1 }, "):format(one:url()))
    local g = gateway.start({ ["gateway.lua"] = text }, { args = { "--workers", "1" } })
    local s = g:connect()
    s:send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    gateway.eventually(function() return server_of(g, one).inFlight == 1 end, "a request in flight")
    assert.same({ ["503"] = 1 }, spread(g, 1))
    s:close()
    gateway.eventually(function() return server_of(g, one).inFlight == 0 end, "its end")
    assert.same({ one = 1 }, spread(g, 1))
  end)

  local setter = [[
    gw.route("POST /servers", { respond = function(req)
      local list = gw.json.decode(req:text())
      local ok, wrong = gw.upstreams.up:set_servers(list ~= gw.json.null and list or nil)
      return gw.response(ok and 200 or 400, wrong or "set")
    end })
    gw.route("GET /servers", { respond = function() return gw.response(200, up:servers()) end })
  ]]

  it("are set by a script in all workers, also for those that come later, over reloads", function()
    local g = gateway.start { ["gateway.lua"] = site("retries = 1", setter, one) }
    local function set(list) return g:ask("POST /servers", { body = cjson.encode(list) }) end
    assert.same({ one = 4 }, spread(g, 4))
    assert.equal(200, set({ { url = two:url(), weight = 3 } }).status)
    local function only(name)
      gateway.eventually(function()
        local got = spread(g, 8)
        return got[name] == 8
      end, "only " .. name)
    end
    only("two")
    assert.equal(3, server_of(g, two).weight)
    gateway.eventually(function() return server_of(g, one) == nil end, "the old one is listed no more")
    local listed = cjson.decode(g:ask("GET /servers").body)
    assert.same({ two:url(), "up" }, { listed[1].url, listed[1].state })
    g:save("gateway.lua", site("retries = 2", setter, one))
    assert.equal(0, select(2, g:command("reload", "--wait")))
    assert.same({ two = 8 }, spread(g, 8)) -- the files say the same of this upstream as before
    for _, w in ipairs(status(g).workers) do signal.kill(w.pid, signal.SIGKILL) end
    gateway.eventually(function()
      for _, w in ipairs(status(g).workers) do
        if w.state ~= "serving" or w.restarts == 0 then return false end
      end
      return true
    end, "new workers")
    assert.same({ two = 8 }, spread(g, 8))
    assert.equal(200, set(cjson.null).status) -- withdrawn
    only("one")
    assert.equal(200, set({ two:url() }).status)
    only("two")
    local three = backend.start("three")
    g:save("gateway.lua", site("retries = 2", setter, three))
    assert.equal(0, select(2, g:command("reload", "--wait")))
    assert.same({ three = 8 }, spread(g, 8)) -- the files say something new
  end)

  it("are set whole or not at all", function()
    local g = gateway.start { ["gateway.lua"] = site("retries = 1", setter, one) }
    for body, wrong in pairs {
      ['["ftp://x"]'] = "begins neither with", ["[]"] = "at least one server",
      ['[{"url":"http://a","weight":0}]'] = "at least 1", ['[{"ulr":"http://a"}]'] = 'did you mean "url"?',
    } do
      local answer = g:ask("POST /servers", { body = body })
      assert.equal(400, answer.status)
      assert.truthy(answer.body:find(wrong, 1, true), answer.body)
    end
    assert.same({ one = 2 }, spread(g, 2))
  end)

  it("that are removed finish what they have", function()
    one:say("/slow", 0)
    local g = gateway.start { ["gateway.lua"] = site("retries = 0", setter, one) }
    local s = g:connect()
    s:send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    gateway.eventually(function() return server_of(g, one).inFlight == 1 end, "a request in flight")
    g:ask("POST /servers", { body = cjson.encode { two:url() } })
    gateway.eventually(function() return not server_of(g, one).listed end, "removed")
    assert.equal(1, server_of(g, one).inFlight) -- still there
    s:close()
    gateway.eventually(function() return server_of(g, one) == nil end, "its end")
  end)
end)
