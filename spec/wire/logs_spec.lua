--- What the logs of the program say, in which form, where to, and that nothing of it costs a request.
local cjson = require "cjson"
local gateway = require "spec.support.gateway"
local socket = require "socket"
socket.unix = require "socket.unix"
local posix = { stat = require "posix.sys.stat" }

local function site(settings, routes)
  return ([[
    local gw = require "moonlatch"
    gw.settings { %s }
    gw.listen { port = PORT }
    gw.mount("metrics", { allow = { "127.0.0.1" } })
    gw.route("GET /ok", function(req) return gw.response(200, "fine", { ["x-cache"] = "HIT" }) end)
    gw.route("GET /fail", function(req) return gw.response(500, "no") end)
    gw.route("GET /slow", function(req) gw.sleep(0.15) return gw.response(200, "late") end)
    %s
  ]]):format(settings, routes or "")
end

local function start(settings, routes, opts)
  return gateway.start({ ["gateway.lua"] = site(settings, routes) }, opts or { args = { "--workers", "1" } })
end

-- Lines of a text that are JSON and of requests for that path (all: nil)
local function lines_of(text, path)
  local list = {}
  for line in text:gmatch("[^\n]+") do
    local ok, it = pcall(cjson.decode, line)
    if ok and it.url and (not path or it.url:find(path, 1, true)) then list[#list + 1] = it end
  end
  return list
end

local function eventually_lines(read, count, path)
  return gateway.eventually(function()
    local list = lines_of(read(), path)
    return #list >= count and list
  end, count .. " lines")
end

local function value_of(g, name)
  return tonumber(g:ask("GET /metrics").body:match("\n" .. name:gsub("%p", "%%%0") .. " (%S+)")) or 0
end

describe("the access log", function()
  teardown(gateway.stop_all)

  it("hides secrets of URLs, of headers, and of the site's own choice", function()
    local g = start([[access_log = { request_headers = { "referer", "cookie", tenant = "x-tenant", "x-inner" },
      response_headers = { cache = "x-cache" } }, redact = { headers = { "x-inner" }, query = { "patient" } } ]])
    g:ask("GET /ok?x=1&token=s3cret&patient=s3cret", { headers =
      "Referer: https://u:s3cret@a.example/?code=s3cret\r\nCookie: a=s3cret\r\nX-Tenant: t1\r\nX-Inner: s3cret\r\n" })
    local line = eventually_lines(function() return g:output() end, 1, "/ok")[1]
    assert.equal("/ok?x=1&token=[redacted]&patient=[redacted]", line.url)
    assert.equal("https://[redacted]@a.example/?code=[redacted]", line.referer)
    assert.same({ "[redacted]", "t1", "[redacted]", "HIT" }, { line.cookie, line.tenant, line["x-inner"], line.cache })
    assert.is_nil(g:output():find("s3cret", 1, true))
  end)

  it("has the fields of scripts, bounded, the last of a name, and no secret of events", function()
    local g = start("", [[
      gw.route("GET /fields", function(req)
        req:log_field("tenant", "first")
        req:log_field("n", 1.5)
        req:log_field("text", 'a"b,"n":7\n')
        req:log_field("tenant", "t2")
        req:log_field("password", "s3cret")
        req:log_field("gone", true)
        req:log_field("gone", nil)
        gw.log.warn("seen", { token = "s3cret", code = "plain" })
        local fits = true
        for i = 1, 100 do fits = req:log_field("long" .. i, ("x"):rep(50)) end
        return gw.response(200, tostring(fits))
      end)
      gw.route("GET /own", function(req) return gw.response(200, tostring(pcall(req.log_field, req, "url", "x"))) end)
    ]])
    assert.equal("false", g:ask("GET /fields").body)
    assert.equal("false", g:ask("GET /own").body)
    local line = eventually_lines(function() return g:output() end, 1, "/fields")[1]
    assert.same({ "t2", 1.5, 'a"b,"n":7\n', "[redacted]" }, { line.tenant, line.n, line.text, line.password })
    assert.is_nil(line.gone)
    assert.truthy(line.long1)
    assert.is_nil(line.long90)
    local log = g:wait_for_log('"seen"')
    assert.is_nil(log:find("s3cret", 1, true))
    assert.truthy(log:find('"code":"plain"', 1, true))
    for one in log:gmatch("[^\n]+") do assert.is_true(#one < 4096) end
  end)

  it("leaves out what went well, never what did not or was slow", function()
    local g = start("access_log = { sample = 0, slow = 0.1, message = \"done\" }")
    for _ = 1, 5 do g:ask("GET /ok") end
    g:ask("GET /slow")
    g:ask("GET /fail")
    g:ask("GET /nowhere")
    g:raw("GARBAGE\r\n\r\n")
    local list = eventually_lines(function() return g:output() end, 3)
    local statuses = {}
    for _, it in ipairs(list) do
      statuses[it.statusCode] = it.level
      assert.equal("done", it.message)
      assert.not_equal("/ok", it.url)
    end
    assert.same({ "info", "error", "warn" }, { statuses[200], statuses[500], statuses[404] })
  end)

  it("samples a share", function()
    local g = start("access_log = { sample = 0.5 }")
    local s = g:connect()
    for _ = 1, 400 do
      s:send("GET /ok HTTP/1.1\r\nHost: x\r\n\r\n")
      repeat local line = s:receive("*l") until line == ""
      s:receive(4)
    end
    s:close()
    g:ask("GET /fail")
    eventually_lines(function() return g:output() end, 1, "/fail")
    local count = #lines_of(g:output(), "/ok")
    assert.is_true(count > 120 and count < 280, count .. " of 400")
  end)

  it("keeps a level", function()
    local g = start('access_log = { level = "warn" }')
    g:ask("GET /ok")
    g:ask("GET /nowhere")
    local list = eventually_lines(function() return g:output() end, 1)
    assert.same({ 1, "/nowhere" }, { #list, list[1].url })
  end)

  it("is for people when it is asked to be, with nothing in it that a terminal obeys", function()
    local g = start('access_log = { format = "pretty" }, error_log = { format = "pretty" }',
      [[gw.route("GET /say", function(req) gw.log.warn("he\27[2Jllo", { a = 1 }) return gw.response(204) end)]])
    g:raw("GET /ok?\27[2J=1&token=x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    g:ask("GET /ok?token=abc")
    g:ask("GET /say")
    local log = g:wait_for_log("GET /say")
    assert.truthy(log:find("%d%d:%d%d:%d%d%.%d%d%d \27%[32minfo \27%[0m GET /ok%?token=%[redacted%] 200 %d+%.%d ms 4 B"))
    assert.truthy(log:find("\27%[33mwarn \27%[0m he\\u001b%[2Jllo"))
    assert.is_nil(log:find("\27[2J", 1, true))
  end)

  it("is for people on a terminal", function()
    local dir = gateway.folder()
    gateway.write(dir .. "/site/gateway.lua", (site(""):gsub("PORT", tostring(gateway.free_port()))))
    local pid = gateway.spawn({ "script", "-qefc", gateway.binary .. " run " .. dir .. "/site --workers 1 --control " .. dir
      .. "/c", dir .. "/typescript" })
    gateway.eventually(function() return gateway.read(dir .. "/typescript"):find("ready", 1, true) end, "ready")
    local text = gateway.read(dir .. "/typescript")
    require("posix.signal").kill(pid, 15)
    require("posix.sys.wait").wait(pid)
    assert.truthy(text:find("\27[32minfo", 1, true))
    assert.is_nil(text:find('{"@timestamp"', 1, true))
  end)

  it("goes on in a new file when the old one is moved away, without being told", function()
    local dir = gateway.folder()
    local path = dir .. "/access"
    local g = start(("access_log = %q"):format(path))
    g:ask("GET /ok?1")
    eventually_lines(function() return gateway.read(path) end, 1)
    assert(os.rename(path, path .. ".1"))
    gateway.eventually(function() return posix.stat.stat(path) ~= nil end, "a new file")
    g:ask("GET /ok?2")
    assert.equal("/ok?2", eventually_lines(function() return gateway.read(path) end, 1)[1].url)
    assert.equal(1, #lines_of(gateway.read(path .. ".1")))
  end)
end)

describe("syslog", function()
  teardown(gateway.stop_all)

  local function is_rfc_5424(datagram, priority)
    local pri, app, json = datagram:match("^<(%d+)>1 %d%d%d%d%-%d%d%-%d%dT%S+Z %S+ (%S+) %d+ %- %- (.*)$")
    assert.same({ tostring(priority), "moonlatch" }, { pri, app })
    return cjson.decode(json)
  end

  it("gets lines over UDP", function()
    local udp = socket.udp()
    udp:setsockname("127.0.0.1", 0)
    udp:settimeout(10)
    local _, port = udp:getsockname()
    local g = start(('access_log = { syslog = "udp://127.0.0.1:%d", facility = "local7" }'):format(port))
    g:ask("GET /ok")
    g:ask("GET /fail")
    assert.equal("/ok", is_rfc_5424(assert(udp:receive()), 23 * 8 + 6).url)
    assert.equal("/fail", is_rfc_5424(assert(udp:receive()), 23 * 8 + 3).url)
    udp:close()
  end)

  it("gets lines over a unix socket, and again when its daemon was started again", function()
    local path = gateway.folder() .. "/log"
    local function daemon()
      os.remove(path)
      local s = socket.unix.dgram and socket.unix.dgram() or nil
      if not s then return nil end
      assert(s:bind(path))
      s:settimeout(10)
      return s
    end
    local s = daemon()
    if not s then return pending("this LuaSocket has no datagrams of unix sockets") end
    local g = start(('access_log = { syslog = "unix:%s" }'):format(path))
    g:ask("GET /ok?1")
    assert.equal("/ok?1", is_rfc_5424(assert(s:receive()), 3 * 8 + 6).url)
    s:close()
    os.remove(path)
    g:ask("GET /ok?2")
    s = daemon()
    assert.equal("/ok?2", is_rfc_5424(assert(s:receive()), 3 * 8 + 6).url)
    s:close()
  end)

  for wrong, said in pairs { ["tcp:x"] = "unix:/path", ["udp://name:514"] = "address", ["unix:log"] = "path" } do
    it("is refused at load: " .. wrong, function()
      local g = gateway.start({ ["gateway.lua"] = site(("access_log = { syslog = %q }"):format(wrong)) }, { wait = false })
      g:wait()
      assert.truthy(g:output():find("gateway.lua:2: gw.settings: access_log: syslog: ", 1, true))
      assert.truthy(g:output():find(said, 1, true))
    end)
  end
end)

describe("a log that can not be written", function()
  teardown(gateway.stop_all)

  it("costs lines, never requests: a full disk", function()
    local path = gateway.folder() .. "/access"
    -- no file may be longer than 8 blocks of 512 bytes
    local g = gateway.start({ ["gateway.lua"] = site(("access_log = %q"):format(path)) }, { wait = false,
      args = { "--workers", "1" } })
    g:stop()
    gateway.write(g.dir .. "/run.sh", ("ulimit -f 8; exec %s run %s --workers 1 --control %s"):format(gateway.binary,
      g.dir, g.control))
    local pid = gateway.spawn({ "sh", g.dir .. "/run.sh" })
    gateway.eventually(function() return pcall(g.ask, g, "GET /ok") end, "it answers")
    local long = ("x"):rep(1000)
    local dropped
    gateway.eventually(function()
      for _ = 1, 300 do assert.equal(200, g:ask("GET /ok?" .. long).status) end
      dropped = value_of(g, 'moonlatch_log_lines_dropped_total{log="access"}')
      return dropped > 0
    end, "lines are lost", 60)
    assert.equal(200, g:ask("GET /ok").status)
    require("posix.signal").kill(pid, 15)
    require("posix.sys.wait").wait(pid)
    assert.is_true(#gateway.read(path) <= 8 * 512 + 512)
  end)

  it("costs lines, never requests: a pipe whose reader stands still", function()
    local path = gateway.folder() .. "/pipe"
    os.execute("mkfifo " .. path)
    local reader = gateway.spawn({ "sh", "-c", "exec sleep 600 < " .. path })
    local g = start(("access_log = %q"):format(path))
    local long = ("x"):rep(1000)
    gateway.eventually(function()
      for _ = 1, 300 do assert.equal(200, g:ask("GET /ok?" .. long).status) end
      return value_of(g, 'moonlatch_log_lines_dropped_total{log="access"}') > 0
    end, "lines are lost", 60)
    require("posix.signal").kill(reader, 9)
    require("posix.sys.wait").wait(reader)
    assert.equal(200, g:ask("GET /ok").status)
  end)
end)
