--- What an operator can ask of the real binary: why, explain, generations, rollback, top, the admin API.
local cjson = require "cjson"
local gateway = require "spec.support.gateway"
local socket = require "socket"
local unix = require "socket.unix"

local token = "a-token-for-tests-only"

local guard = [[
local gw = require "moonlatch"
return { new = function()
  return function(req, next)
    if req.path == "/refused" then return gw.error(403, "refused", "no") end
    if req.path == "/waits" then gw.sleep(60) end
    if req.path == "/raises" then error("the guard broke") end
    local res = next()
    res:set_header("X-Guard", "yes")
    res:set_header("X-Api-Token", "a secret value")
    return res
  end
end }
]]

local function site(more)
  return { ["middleware/guard.lua"] = guard, ["gateway.lua"] = [[
    local gw = require "moonlatch"
    gw.settings { access_log = "off", slow_after = 0.3, poll_interval = 0.1, ]] .. (more or "") .. [[ }
    gw.listen { host = "127.0.0.1", port = PORT }
    gw.upstream("gone", { "http://127.0.0.1:PORT2", "http://127.0.0.1:PORT3" })
    gw.use { "guard" }
    gw.route("GET /ok", { respond = function() return gw.response(200, "one") end })
    gw.route("GET /slow", { respond = function() gw.sleep(0.35) return gw.response(200, "slow") end })
    gw.route("GET /gone/:id", { to = "gone", { "security_headers", hsts = false } })
    gw.route("GET /hidden", { header = { ["X-Key"] = "abc" },
                              respond = function() return gw.response(200, "h") end })
    gw.route("POST /ok", { respond = function() return gw.response(200, "post") end })
  ]] }
end

local function json_of(g, ...)
  local text, code = g:command(...)
  assert.equal(0, code, text)
  return cjson.decode(text)
end

-- The record of an exchange, by its id.
local function why(g, id)
  return json_of(g, "why", id, "--json").exchanges[1]
end

local function id_of(answer) return cjson.decode(answer.body).requestId end

local function keys_of(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

local function step_named(record, name)
  for _, step in ipairs(record.steps) do
    if step.name == name then return step end
  end
end

describe("why", function()
  local g
  setup(function() g = gateway.start(site()) end)
  teardown(gateway.stop_all)

  it("names the middleware that refused, and what did not run", function()
    local answer = g:ask("GET /refused?token=abc&page=2")
    assert.equal(403, answer.status)
    local record = why(g, id_of(answer))
    assert.equal("guard", record.decidedBy)
    assert.equal("refusal", record.kept)
    assert.equal("answered", step_named(record, "guard").outcome)
    assert.equal(403, step_named(record, "guard").status)
    assert.equal("token=(redacted)&page=2", record.query)
    assert.truthy(g:command("why", id_of(answer):sub(1, 12)):find("decided by guard", 1, true))
  end)

  it("names the middleware that raised, and the error", function()
    local answer = g:ask("GET /raises")
    assert.equal(500, answer.status)
    assert.is_nil(answer.body:find("guard broke", 1, true))
    local record = why(g, id_of(answer))
    assert.equal("error", record.kept)
    assert.equal("script_error", record.reason)
    assert.equal("raised", step_named(record, "guard").outcome)
    assert.equal("middleware/guard.lua:6: the guard broke", record.error)
  end)

  it("tells each try of a server", function()
    local answer = g:ask("GET /gone/1")
    local record = why(g, id_of(answer))
    assert.equal("/gone/:id", record.route)
    assert.equal("gone", record.upstream)
    assert.equal(2, #record.upstreamTries)
    assert.equal("upstream_refused", record.upstreamTries[1].error)
    assert.equal(record.server, record.upstreamTries[2].server)
    assert.equal("gateway.lua:8", record.routeAt)
  end)

  it("keeps what is slow, and shows no secret of a header", function()
    assert.equal(200, g:ask("GET /slow").status)
    local list = json_of(g, "why", "--refused", "--last", "100", "--json").exchanges
    local slow
    for _, record in ipairs(list) do
      if record.path == "/slow" then slow = record end
    end
    assert.is_true(slow.slow)
    local values = {}
    for _, change in ipairs(slow.headerChanges) do values[change.name] = change.value end
    assert.equal("yes", values["X-Guard"])
    assert.equal("(redacted)", values["X-Api-Token"])
  end)

  it("says where a client left", function()
    local s = g:connect()
    s:send("GET /waits?left=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    gateway.eventually(function()
      local in_hand = json_of(g, "generations", "--json").generations[1].exchanges
      return in_hand > 0
    end, "a request in hand")
    s:setoption("linger", { on = true, timeout = 0 }) -- a reset, not only the end of what it sends
    s:close()
    local record = gateway.eventually(function()
      for _, one in ipairs(json_of(g, "why", "--refused", "--last", "100", "--json").exchanges) do
        if one.status == 499 then return one end
      end
    end, "a record with status 499")
    assert.equal("left=1", record.query)
    assert.equal("cancelled", step_named(record, "guard").outcome)
  end)

  it("has the same members always", function()
    g:ask("GET /ok")
    local record = gateway.eventually(function()
      for _, one in ipairs(json_of(g, "why", "--last", "100", "--json").exchanges) do
        if one.kept == "recent" then return one end
        g:ask("GET /ok")
      end
    end, "a short record")
    assert.same({ "at", "bytesIn", "bytesOut", "decidedBy", "generation", "id", "ip", "kept", "listener",
                  "method", "ms", "path", "pathCut", "protocol", "reason", "route", "routeName", "server", "slow",
                  "status", "tls", "tries", "upstream", "userId", "worker" }, keys_of(record))
    local long = json_of(g, "why", "--refused", "--json").exchanges[1]
    for _, key in ipairs { "steps", "upstreamTries", "headerChanges" } do assert.is_table(long[key], key) end
  end)

  it("does not forget errors for requests that anybody can make", function()
    local id = id_of(g:ask("GET /raises"))
    for _ = 1, 900 do g:ask("GET /refused") end
    assert.equal("error", why(g, id).kept)
  end)

  it("says that it knows nothing", function()
    local text, code = g:command("why", "ffffffffffffffffffffffffffffffff")
    assert.equal(1, code)
    assert.truthy(text:find("no exchange with that id", 1, true))
  end)

  it("outlives the worker", function()
    local id = id_of(g:ask("GET /raises"))
    local status = json_of(g, "status", "--json")
    for _, worker in ipairs(status.workers) do os.execute("kill -9 " .. worker.pid) end
    assert.equal("error", why(g, id).kept)
    gateway.eventually(function()
      local s = socket.connect("127.0.0.1", g.port)
      if s then s:close() end
      for _, worker in ipairs(json_of(g, "status", "--json").workers) do
        if worker.state ~= "serving" then return false end
      end
      return s ~= nil
    end, "workers that serve again")
  end)
end)

describe("explain", function()
  after_each(gateway.stop_all)

  local function explain(...)
    local command = table.concat({ gateway.binary, "explain", ... }, " ") .. " 2>&1"
    local p = io.popen(command)
    local text = p:read("*a")
    p:close()
    return text
  end

  local function lost(result)
    local reasons = {}
    for _, c in ipairs(result.candidates) do reasons[c.method .. " " .. c.pattern] = c.lost end
    return reasons
  end

  it("works on a directory", function()
    local dir = gateway.folder() .. "/site"
    for name, text in pairs(site()) do
      text = text:gsub("PORT2", "19002"):gsub("PORT3", "19003"):gsub("PORT", "19001")
      gateway.write(dir .. "/" .. name, text)
    end
    local result = cjson.decode(explain("GET", "/gone/7", "--site", dir, "--json"))
    assert.equal("found", result.outcome)
    assert.equal("/gone/:id", result.route.pattern)
    assert.equal("gateway.lua:8", result.route.at)
    assert.equal("gone", result.upstream.name)
    assert.equal(2, #result.upstream.servers)
    assert.equal(60, result.upstream.options.first_byte_timeout)
    assert.same({ "guard", "security_headers" }, { result.middlewares[1].name, result.middlewares[2].name })
    assert.equal(false, result.middlewares[2].options.hsts)
    assert.equal("gateway.lua:5", result.middlewares[1].at)
    result = cjson.decode(explain("GET", "/hidden", "-H", "'X-Key: abd'", "--site", dir, "--json"))
    assert.equal("none", result.outcome)
    assert.equal("condition", lost(result)["GET /hidden"])
    result = cjson.decode(explain("POST", "http://any.example/ok", "--site", dir, "--json"))
    assert.equal("/ok", result.route.pattern)
    assert.equal("method", lost(result)["GET /ok"])
    local text = explain("GET", "/hidden", "-H", "'X-Key: abc'", "--site", dir)
    assert.truthy(text:find("route GET /hidden if header X-Key=abc", 1, true))
    assert.truthy(explain("GET", "/../x%2fy", "--site", dir):find("is refused", 1, true))
  end)

  it("asks the generation that is live, whatever is in the directory", function()
    local g = gateway.start(site())
    g:save("gateway.lua", "this is no Lua")
    g:wait_for_log('"reload failed"')
    local result = json_of(g, "explain", "GET", "/ok", "--json")
    assert.equal("gateway.lua:6", result.route.at)
    assert.equal(0, json_of(g, "why", "--json", "--last", "5").exchanges[1] and 1 or 0) -- none was sent
  end)

  it("shows no secret", function()
    local dir = gateway.folder() .. "/site"
    gateway.write(dir .. "/gateway.lua", [[
      local gw = require "moonlatch"
      gw.listen { host = "127.0.0.1", port = 19001 }
      gw.use { { "jwt", algorithms = { "HS256" }, secret = "a-very-secret-text-of-32-letters!" } }
      gw.route("GET /", { respond = function() return gw.response(200, "x") end })
    ]])
    local text = explain("GET", "/", "--site", dir, "--json")
    assert.is_nil(text:find("very-secret", 1, true))
    assert.equal("(redacted)", cjson.decode(text).middlewares[1].options.secret)
  end)
end)

describe("generations and rollback", function()
  after_each(gateway.stop_all)

  it("tell what changed, and make the former content live until a file changes", function()
    local g = gateway.start(site())
    g:save("gateway.lua", (site()["gateway.lua"]:gsub('"one"', '"two"')))
    gateway.eventually(function() return g:ask("GET /ok").body == "two" end, "the second generation")
    local list = json_of(g, "generations", "--json").generations
    assert.equal(2, #list)
    assert.same({ "changeCount", "changes", "exchanges", "generation", "hash", "rollbackTo", "routes", "since",
                  "state", "until" }, keys_of(list[1]))
    assert.equal("live", list[1].state)
    assert.same({ { change = "changed", file = "gateway.lua" } }, list[1].changes)

    local text, code = g:command("rollback")
    assert.equal(0, code, text)
    assert.equal("one", g:ask("GET /ok").body)
    list = json_of(g, "generations", "--json").generations
    assert.equal(3, list[1].generation)
    assert.equal(1, list[1].rollbackTo)
    local polled = socket.gettime() + 0.5 -- several looks at the directory
    repeat assert.equal("one", g:ask("GET /ok").body) until socket.gettime() > polled

    g:save("gateway.lua", (site()["gateway.lua"]:gsub('"one"', '"three"')))
    gateway.eventually(function() return g:ask("GET /ok").body == "three" end, "what is in the directory")
    text, code = g:command("rollback", "2")
    assert.equal(0, code, text)
    assert.equal("two", g:ask("GET /ok").body)
    text, code = g:command("rollback", "77")
    assert.equal(1, code)
    assert.truthy(text:find("is not kept", 1, true))
  end)
end)

describe("top", function()
  after_each(gateway.stop_all)

  it("prints one picture to a pipe", function()
    local g = gateway.start(site())
    local done = g.base .. "/top"
    os.execute(("%s top --once --json --control %s >%s.new 2>&1 && mv %s.new %s &"):format(gateway.binary,
      g.control, done, done, done))
    local text = gateway.eventually(function()
      g:ask("GET /ok")
      local got = gateway.read(done)
      return got ~= "" and got
    end, "the picture")
    local top = cjson.decode(text)
    assert.truthy(top.rps > 0)
    assert.truthy(top.classes["2xx"] > 0)
    assert.equal("/ok", top.routes[1].route)
    assert.truthy(top.p99 >= top.p50)
    assert.equal(2, #top.workers)
    assert.truthy(g:command("top", "--once"):find("requests/s", 1, true))
  end)
end)

describe("the admin API", function()
  local g
  setup(function()
    g = gateway.start(site(('admin = { listen = "127.0.0.1:PORT4", token = "%s" }'):format(token)))
  end)
  teardown(gateway.stop_all)

  local function call(what, headers, host)
    return g:ask(what, { port = g.ports.PORT4, headers = headers, host = host or "127.0.0.1" })
  end
  local auth = "Authorization: Bearer " .. token .. "\r\n"

  it("wants the token", function()
    assert.equal(401, call("GET /status").status)
    assert.equal(401, call("GET /status", "Authorization: Bearer " .. token .. "x\r\n").status)
    assert.equal(401, call("GET /status", "Authorization: Bearer " .. token:sub(1, -2) .. "\r\n").status)
    local answer = call("GET /status", auth)
    assert.equal(200, answer.status)
    assert.equal("application/json", answer.headers["content-type"])
    assert.equal(1, cjson.decode(answer.body).generation)
  end)

  it("keeps pages of browsers out", function()
    assert.equal(403, call("GET /status", auth .. "Origin: http://evil.example\r\n").status)
    assert.equal(403, call("GET /status", auth .. "Sec-Fetch-Site: cross-site\r\n").status)
    assert.equal(403, call("GET /status", auth, "evil.example").status)
    assert.equal(200, call("GET /status", auth, "localhost:1").status)
    assert.is_nil(call("GET /status", auth).headers["access-control-allow-origin"])
    assert.equal(405, call("OPTIONS /status", auth).status)
  end)

  it("answers each call, and changes by POST only", function()
    local id = id_of(g:ask("GET /refused"))
    assert.equal(id, cjson.decode(call("GET /why?id=" .. id, auth).body).exchanges[1].id)
    assert.equal(404, call("GET /why?id=zz", auth).status)
    assert.equal(400, call("GET /why?last=x", auth).status)
    assert.equal(1, #cjson.decode(call("GET /generations", auth).body).generations)
    local page = call("GET /metrics", auth)
    assert.truthy(page.headers["content-type"]:find("text/plain", 1, true))
    assert.truthy(page.body:find("http_requests_total", 1, true))
    assert.equal("/ok", cjson.decode(call("GET /explain?url=%2Fok&header=X-A:+b", auth).body).route.pattern)
    assert.equal(405, call("GET /reload", auth).status)
    assert.equal(200, call("POST /reload", auth).status)
    assert.equal(409, call("POST /rollback?generation=9", auth).status)
    assert.equal(404, call("POST /drain?upstream=gone&server=none", auth).status)
    assert.equal(404, call("GET /other", auth).status)
  end)

  it("is the same on the control socket, without a token", function()
    local s = unix()
    assert(s:connect(g.control))
    s:settimeout(10)
    s:send("GET /status HTTP/1.1\r\nHost: any\r\n\r\n")
    local answer = gateway.parse((s:receive("*a")))
    s:close()
    assert.equal(200, answer.status)
    assert.equal(1, cjson.decode(answer.body).generation)
  end)

  it("does not hang on clients that say nothing, or too much", function()
    local silent = {}
    for i = 1, 80 do silent[i] = g:connect(g.ports.PORT4) end
    local greedy = g:connect(g.ports.PORT4)
    greedy:send("GET /" .. ("x"):rep(20000))
    local text, code = g:command("status") -- by the socket, which has places of its own
    assert.equal(0, code, text)
    for _, s in ipairs(silent) do s:close() end
    greedy:close()
    gateway.eventually(function()
      local ok, answer = pcall(call, "GET /status", auth)
      return ok and answer.status == 200
    end, "an answer when they are gone")
  end)

  it("is checked when the site is loaded", function()
    local dir = gateway.folder() .. "/site"
    gateway.write(dir .. "/gateway.lua",
      'local gw = require "moonlatch"\ngw.settings { admin = { listen = "127.0.0.1:1", token = "short" } }\n')
    local p = io.popen(gateway.binary .. " check " .. dir .. " 2>&1")
    local text = p:read("*a")
    p:close()
    assert.truthy(text:find("gateway.lua:2: gw.settings: admin: ", 1, true), text)
  end)
end)

describe("development", function()
  after_each(gateway.stop_all)

  it("shows the error, its traceback, and where the time went", function()
    local g = gateway.start(site(), { args = { "--workers", "1", "--dev" } })
    local answer = g:ask("GET /raises")
    local body = cjson.decode(answer.body)
    assert.equal("middleware/guard.lua:6: the guard broke", body.detail)
    assert.truthy(body.traceback:find("middleware/guard.lua:6", 1, true))
    assert.truthy(g:ask("GET /ok").headers["server-timing"]:find("^guard;dur=[%d.]+, total;dur=[%d.]+$"))
    assert.equal("traced", json_of(g, "why", "--json").exchanges[1].kept)
  end)

  it("is off unless it is asked for", function()
    local g = gateway.start(site())
    assert.is_nil(g:ask("GET /ok").headers["server-timing"])
    assert.is_nil(cjson.decode(g:ask("GET /raises").body).traceback)
  end)

  it("is asked for in the site too", function()
    local g = gateway.start(site("development = true"))
    assert.truthy(g:ask("GET /ok").headers["server-timing"])
  end)
end)

