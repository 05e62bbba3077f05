--- Promise 2: a bad script hurts only its own request.
local gateway = require "spec.support.gateway"
local wait = require "posix.sys.wait"

-- What a script can do to itself.  Each is the body of a handler.
local kinds = {
  error = "local x = nil; return x.y",
  error_table = "error { secret = 'gateway.lua' }",
  error_object = "error(setmetatable({}, { __tostring = function() while true do end end }))",
  error_nil = "error(nil)",
  nothing = "",
  loop = "while true do end",
  loop_compiled = "local n = 0; while true do n = (n + 1) % 1000 end",
  loop_calls = "local function f(n) return n + 1 end; local n = 0; while true do n = f(n) end",
  loop_in_pcall = "while true do pcall(function() while true do end end) end",
  loop_around_pcall = "while true do pcall(error, 'x') end",
  loop_in_coroutine = "coroutine.wrap(function() while true do end end)()",
  loop_of_coroutines = "while true do coroutine.wrap(function() pcall(coroutine.yield) end)() end",
  loop_in_metamethod = "return setmetatable({}, { __index = function() while true do end end }).x",
  loop_in_handler = "xpcall(error, function() while true do end end)",
  loop_in_comparator = "table.sort({ 3, 1, 2 }, function() while true do end end)",
  loop_in_gsub = "(('x'):rep(100)):gsub('.', function() while true do end end)",
  loop_in_iterator = "for _ in function() return 1 end do end",
  loop_in_load = "load('while true do end')()",
  loop_in_tostring = "tostring(setmetatable({}, { __tostring = function() while true do end end }))",
  loop_in_branch = "gw.all { function() gw.sleep(0) while true do end end, function() gw.sleep(5) end }",
  loop_after_sleep = "gw.sleep(0.001) while true do end",
  loop_in_middleware = "return gw.response(200, 'never seen')",
  rep = "return gw.response(200, ('x'):rep(2 ^ 30))",
  rep_overflow = "return gw.response(200, ('x'):rep(2 ^ 31 - 1):rep(2 ^ 31 - 1))",
  doubling = "local s = 'x'; while true do s = s .. s end",
  format = "local s = ('x'):rep(2 ^ 24); return ('%s'):rep(64, ''):format(s, s, s, s, s, s, s, s)",
  concat = "local s, t = ('x'):rep(2 ^ 22), {}; for i = 1, 64 do t[i] = s end; return table.concat(t)",
  unpack = "return unpack({}, 1, 1e7)",
  deep = "local function f(n) return 1 + f(n + 1) end; return f(1)",
  deep_in_pcall = "local function f(n) local ok, e = pcall(f, n + 1) error(e, 0) end; return f(1)",
  deep_metamethods = "local t = {}; setmetatable(t, { __index = function(_, k) return t[k] end }); return t.x",
  deep_table = "local t = {}; for _ = 1, 1e5 do t = { t } end; return gw.response(200, t)",
  cyclic_table = "local t = {}; t.t = t; return gw.response(200, t)",
  alloc = "local t = {}; while true do t[#t + 1] = ('x'):rep(65536) .. #t end",
  alloc_in_pcall = "while true do pcall(function() local t = {}; while true do t[#t + 1] = {} end end) end",
  huge_table = "local t = {}; for i = 1, 1e9 do t[i] = i end",
  closures = "local t = {}; while true do t[#t + 1] = function() return t end end",
  yield = "coroutine.yield()",
  yield_values = "coroutine.yield(1, 2, 3)",
  sleep_in_coroutine = "coroutine.wrap(function() gw.sleep(0) end)()",
  sleep_in_comparator = "table.sort({ 2, 1 }, function() gw.sleep(0) end)",
  sleep_in_gsub = "return (('x'):gsub('.', function() gw.sleep(0) end))",
  parse = "assert(load(('('):rep(1e5)))",
  response_twice = "return 5",
  headers = "local r = gw.response(200); while true do r:add_header('X-A', ('x'):rep(1000)) end",
  next_after_end = "error('x', 0)",
}

local names = {}
for name in pairs(kinds) do names[#names + 1] = name end
table.sort(names)

local function site()
  local lines = { [[
local gw = require "moonlatch"
gw.listen { port = PORT, host = "127.0.0.1" }
gw.settings { script_memory = 64 * 1024 * 1024, access_log = "off" }
gw.route("GET /ok", { function(req, next) req.ctx.n = 1 return next() end,
                      respond = function(req) return gw.response(200, { n = req.ctx.n }) end })
gw.route("GET /background", { respond = function(req)
  gw.spawn(function() while true do end end)
  gw.spawn(function() local t = {} while true do t[#t + 1] = ("x"):rep(65536) .. #t end end)
  req:on_done(function() error("in on_done") end)
  return gw.response(200, "fine")
end })]] }
  for _, name in ipairs(names) do
    lines[#lines + 1] = ('gw.route("GET /bad/%s", { %srespond = function(req)\n  %s\nend })'):format(name,
      name == "loop_in_middleware" and "function(_, next) next() while true do end end, " or "", kinds[name])
  end
  return table.concat(lines, "\n")
end

describe("a bad script", function()
  local g, wrk, report
  local load_s = 8

  setup(function()
    g = gateway.start({ ["gateway.lua"] = site() }, { args = { "--workers", "1" } })
    report = g.base .. "/wrk"
    wrk = gateway.spawn({ "wrk", "-t1", "-c8", "-d" .. load_s, "--timeout", "10",
                          "http://127.0.0.1:" .. g.port .. "/ok" }, {}, report)
  end)
  teardown(function()
    if wrk then
      require("posix.signal").kill(wrk, 9)
      wait.wait(wrk)
    end
    gateway.stop_all()
  end)

  for _, name in ipairs(names) do
    it("costs only its own request: " .. name, function()
      local answer = g:ask("GET /bad/" .. name)
      assert.equal(500, answer.status)
      local id = answer.body:match('"requestId":"([^"]+)"')
      assert.truthy(id, answer.body)
      assert.falsy(answer.body:find("gateway.lua", 1, true)) -- the message stays in the log
      assert.falsy(answer.body:find("exceeded", 1, true))
      assert.truthy(g:alive())
      local log = g:wait_for_log(id)
      local line = log:match('[^\n]*"script failed"[^\n]*' .. id .. "[^\n]*") or "no line of " .. id
      assert.truthy(line:find("/bad/" .. name, 1, true), line)
    end)
  end

  it("beside a request costs nobody anything", function()
    local answer = g:ask("GET /background")
    assert.equal(200, answer.status)
    g:wait_for_log("in on_done")
    gateway.eventually(function() return select(2, g:output():gsub('"route":"background"', "")) >= 3 end,
                       "the failures of the background tasks")
    assert.equal(200, g:ask("GET /ok").status)
  end)

  it("is not noticed by other requests: a load beside all of these had no error", function()
    wait.wait(wrk)
    wrk = nil
    local text = gateway.read(report)
    assert.truthy(tonumber(text:match("(%d+) requests in")) > 100, text)
    assert.falsy(text:find("Socket errors"), text)
    assert.falsy(text:find("Non%-2xx"), text)
  end)

  it("leaves reason, line and traceback in the log", function()
    local log = g:output()
    local function line_of(name)
      return assert(log:match('[^\n]*"script failed"[^\n]*/bad/' .. name .. '"[^\n]*'), name)
    end
    local first = 12 -- of the first kind; each has three lines
    for i, name in ipairs(names) do
      local where = "gateway.lua:" .. first + (i - 1) * 3 + 1
      if name == "error" or name == "loop" or name == "loop_compiled" or name == "loop_in_pcall" or name == "yield" then
        assert.truthy(line_of(name):find(where, 1, true), where .. " in " .. line_of(name))
      end
    end
    assert.truthy(line_of("loop_compiled"):find("CPU budget of 50 ms exceeded", 1, true), line_of("loop_compiled"))
    assert.truthy(line_of("loop"):find('"traceback":"[^"]*stack traceback'), line_of("loop"))
    assert.truthy(line_of("rep"):find("not enough memory", 1, true), line_of("rep"))
    assert.truthy(line_of("deep"):find("stack overflow", 1, true), line_of("deep"))
    assert.truthy(line_of("nothing"):find("returned no response", 1, true), line_of("nothing"))
  end)
end)

describe("a worker that is stuck inside of one builtin", function()
  after_each(gateway.stop_all)

  -- A connection to each of two workers, which name themselves.
  local function connections(g)
    local by_worker, count = {}, 0
    gateway.eventually(function()
      local s = g:connect()
      s:send("GET /who HTTP/1.1\r\nHost: a\r\n\r\n")
      repeat until assert(s:receive("*l")) == ""
      local who = assert(s:receive(16))
      if by_worker[who] then s:close() else by_worker[who], count = s, count + 1 end
      return count == 2
    end, "a connection to each worker")
    local list = {}
    for _, s in pairs(by_worker) do list[#list + 1] = s end
    return list[1], list[2]
  end

  it("is killed and replaced, which the log says; the other one goes on", function()
    local g = gateway.start { ["gateway.lua"] = [[
      local gw = require "moonlatch"
      gw.listen { port = PORT, host = "127.0.0.1" }
      gw.settings { heartbeat_timeout = 1 }
      local me = gw.random_hex(8)
      gw.route("GET /who", { respond = function() return gw.response(200, me) end })
      gw.route("GET /stuck", { respond = function()
        return gw.response(200, tostring((("a"):rep(5000)):find(".-.-.-.-b")))
      end })
    ]] }
    local stuck, other = connections(g)
    stuck:send("GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n")
    stuck:settimeout(0)
    other:settimeout(10)
    local served = 0
    gateway.eventually(function()
      other:send("GET /who HTTP/1.1\r\nHost: a\r\n\r\n")
      assert.truthy(assert(other:receive("*l")):find("^HTTP/1.1 200"))
      repeat until assert(other:receive("*l")) == ""
      assert(other:receive(16))
      served = served + 1
      local _, why = stuck:receive(1)
      return why == "closed"
    end, "the end of the stuck worker")
    assert.is_true(served > 10)
    local log = g:wait_for_log("/stuck")
    assert.truthy(log:find("heartbeat", 1, true) or log:find("stuck", 1, true), log)
    for _ = 1, 20 do assert.equal(200, g:ask("GET /who").status) end
    gateway.eventually(function()
      local pids = 0
      for _ in g:command("status", "--json"):gmatch('"pid":%s*%d+') do pids = pids + 1 end
      return pids >= 2
    end, "two workers")
  end)
end)
