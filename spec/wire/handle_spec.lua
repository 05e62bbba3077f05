--- Every member and method of `req` and `res`, seen from both ends of a real gateway.
local gateway = require "spec.support.gateway"
local upstream = require "spec.support.upstream"
local cjson = require "cjson"

local head = [[
  local gw = require "moonlatch"
  gw.listen { port = PORT, host = "127.0.0.1" }
  local function get(path, fn) gw.route("GET " .. path, { respond = fn }) end
  local function any(path, fn) gw.route("* " .. path, { respond = fn }) end
]]

local function start(text, env)
  return gateway.start({ ["gateway.lua"] = head .. text }, { args = { "--workers", "1" }, env = env })
end

local function json(answer)
  assert.equal(200, answer.status, answer.body)
  return cjson.decode(answer.body)
end

describe("req", function()
  local g
  setup(function()
    g = start [[
      gw.route("GET /members/:id/*rest", { name = "m", respond = function(req)
        return gw.response(200, {
          method = req.method, path = req.path, raw_path = req.raw_path, query = req.query, args = req.args,
          params = req.params, host = req.host, scheme = req.scheme, version = req.version, ip = req.ip,
          peer_ip = req.peer_ip, id = req.id, route = req.route, cookies = req.cookies, tls = tostring(req.tls),
          user = tostring(req.user), ctx = next(req.ctx) == nil,
        })
      end })
      get("/unknown", function(req) return gw.response(200, { pcall(function() return req.nothing end) }) end)
      get("/headers", function(req)
        local list = {}
        for name, value in req.headers() do list[#list + 1] = name .. "=" .. value end
        local out = { first = req:header("x-a"), view = req.headers["X-A"], dot = req.headers.x_a == nil,
                      all = req:header_values("X-A"), none = #req:header_values("X-None"), list = list }
        req:set_header("X-A", "new")
        out.set = req:header_values("x-a")
        req:add_header("X-A", 5)
        out.added = req:header_values("x-a")
        req.headers["x-b"] = "viewed"
        out.assigned = req:header("X-B")
        req.headers["x-b"] = nil
        out.cleared = req:header("X-B") == nil
        req:set_header("X-L", { "1", "2" })
        out.list_set = req:header_values("X-L")
        req:remove_header("X-A")
        out.removed = req:header("x-a") == nil
        return gw.response(200, out)
      end)
      local bad = { lf = "a\nb", cr = "a\rb", nul = "a\0b", crlf = "a\r\nX-Evil: 1" }
      get("/inject/:what", function(req)
        local v, refused = bad[req.params.what], {}
        local res = gw.response(200)
        for name, call in pairs {
          req_set = function() req:set_header("X-A", v) end, req_add = function() req:add_header("X-A", v) end,
          req_list = function() req:set_header("X-A", { "ok", v }) end,
          req_name = function() req:set_header("X" .. v, "1") end,
          req_view = function() req.headers["X-A"] = v end,
          res_set = function() res:set_header("X-A", v) end, res_name = function() res:add_header("X" .. v, "1") end,
          made = function() gw.response(200, nil, { ["X-A"] = v }) end,
          made_list = function() gw.response(200, nil, { ["X-A"] = { v } }) end,
          made_name = function() gw.response(200, nil, { ["X" .. v] = "1" }) end,
          redirect = function() gw.redirect("/" .. v) end, id = function() req.id = v end,
          type = function() res:set_body("x", v) end, path = function() req:set_path("/" .. v) end,
          query = function() req:set_query(v) end, host = function() req:set_host(v) end,
        } do refused[name] = not pcall(call) end
        res:set_json(refused)
        return res
      end)
      get("/framing", function(req)
        local res, ok = gw.response(200), 0
        for _, name in ipairs { "Content-Length", "transfer-encoding", "Connection" } do
          if pcall(res.set_header, res, name, "1") then ok = ok + 1 end
          if pcall(res.add_header, res, name, "1") then ok = ok + 1 end
          if pcall(gw.response, 200, nil, { [name] = "1" }) then ok = ok + 1 end
          if pcall(req.set_header, req, name, "1") then ok = ok + 1 end
        end
        if pcall(req.set_header, req, "Host", "evil") then ok = ok + 1 end
        return gw.response(200, { accepted = ok })
      end)
      get("/auth", function(req)
        local user, password = req:basic_auth()
        return gw.response(200, { bearer = req:bearer_token(), user = user, password = password })
      end)
      get("/user", function(req)
        req.user = { sub = "u-1", role = "x" }
        req.ctx.a = 1
        return gw.response(200, { role = req.user.role, a = req.ctx.a })
      end)
      get("/id", function(req)
        req.id = "my-own-id"
        return gw.error(418, "teapot", "short and stout")
      end)
      get("/assign", function(req)
        local refused = {}
        for _, name in ipairs { "method", "path", "query", "host", "ip", "headers", "params", "other" } do
          refused[#refused + 1] = not pcall(function() req[name] = "x" end)
        end
        return gw.response(200, refused)
      end)
      local kept_req, kept_res
      get("/keep", function(req) kept_req, kept_res = req, gw.response(200, "kept") return kept_res end)
      get("/stale", function(req)
        local out = {}
        for name, call in pairs {
          method = function() return kept_req.method end, header = function() return kept_req:header("host") end,
          ctx = function() return kept_req.ctx end, set = function() kept_req:set_header("X-A", "1") end,
          body = function() return kept_req:body() end, done = function() kept_req:on_done(print) end,
          status = function() return kept_res.status end, set_body = function() kept_res:set_body("x") end,
          id = function() kept_req.id = "x" end,
        } do
          local ok, wrong = pcall(call)
          out[name] = ok and "worked" or tostring(wrong):match("after its request ended") or wrong
        end
        return gw.response(200, out)
      end)
      get("/stale-returned", function() return kept_res end)
      local done = {}
      get("/done", function(req)
        req:on_done(function(outcome) gw.sleep(0) done[#done + 1] = outcome end)
        req:on_done(function() error("failing on_done") end)
        return gw.response(201, "x")
      end)
      get("/was-done", function() return gw.response(200, done) end)
      get("/methods", function(req)
        local other = gw.response(200)
        return gw.response(200, { pcall(req.header, other, "x"), (pcall(req.header, 5, "x")),
          (pcall(req.header, setmetatable({}, { __index = req }), "x")), (pcall(req.set_path, other, "/x")) })
      end)
      get("/locked", function(req)
        return gw.response(200, { tostring(getmetatable(req)), tostring(getmetatable(req.headers)),
          tostring(getmetatable(gw.response(200))), tostring(getmetatable(gw.shared("x"))),
          (pcall(setmetatable, req, {})) })
      end)
    ]]
  end)
  teardown(gateway.stop_all)

  it("has members", function()
    local r = json(g:ask("GET /members/7/a%20b/c/../d?x=1&y=a%20b+c&x=2&flag&%C3%BC=%FC", {
      host = "Shop.Example:81", headers = "Cookie: a=1; b=\"two\"; a=3\r\n" }))
    assert.equal("GET", r.method)
    assert.equal("/members/7/a%20b/d", r.path)
    assert.equal("/members/7/a%20b/c/../d", r.raw_path)
    assert.equal("x=1&y=a%20b+c&x=2&flag&%C3%BC=%FC", r.query)
    assert.same({ "1", "2" }, r.args.x)
    assert.equal("a b c", r.args.y)
    assert.equal("", r.args.flag)
    assert.same({ id = "7", rest = "a b/d" }, r.params)
    assert.equal("shop.example", r.host:lower():match("^[^:]+"))
    assert.equal("http", r.scheme)
    assert.equal("1.1", r.version)
    assert.equal("127.0.0.1", r.ip)
    assert.equal("127.0.0.1", r.peer_ip)
    assert.truthy(r.id:find("^%x+$"))
    assert.equal(32, #r.id)
    assert.equal("/members/:id/*rest", r.route)
    assert.same({ a = "1", b = "two" }, r.cookies)
    assert.equal("nil", r.tls)
    assert.equal("nil", r.user)
    assert.is_true(r.ctx)
  end)

  it("has no other members, and says so", function()
    local r = json(g:ask("GET /unknown"))
    assert.is_false(r[1])
    assert.truthy(r[2]:find("nothing", 1, true))
  end)

  it("has headers, in any case, in order, changed by methods and by the view", function()
    local r = json(g:ask("GET /headers", { headers = "X-A: 1\r\nx-a: 2\r\n" }))
    assert.equal("1", r.first)
    assert.equal("1", r.view)
    assert.same({ "1", "2" }, r.all)
    assert.equal(0, r.none)
    assert.equal("X-A=1", r.list[#r.list - 1])
    assert.equal("x-a=2", r.list[#r.list])
    assert.same({ "new" }, r.set)
    assert.same({ "new", "5" }, r.added)
    assert.equal("viewed", r.assigned)
    assert.is_true(r.cleared)
    assert.same({ "1", "2" }, r.list_set)
    assert.is_true(r.removed)
  end)

  for _, what in ipairs { "lf", "cr", "nul", "crlf" } do
    it("and res refuse to inject by " .. what, function()
      local answer = g:ask("GET /inject/" .. what)
      assert.is_nil(answer.headers["x-evil"])
      for name, refused in pairs(json(answer)) do assert.is_true(refused, name) end
    end)
  end

  it("and res leave framing to the gateway", function()
    assert.equal(0, json(g:ask("GET /framing")).accepted)
  end)

  it("knows bearer tokens and basic authentication, and nothing that only looks like it", function()
    assert.same({ bearer = "abc.def" }, json(g:ask("GET /auth", { headers = "Authorization: Bearer abc.def\r\n" })))
    assert.same({ bearer = "abc" }, json(g:ask("GET /auth", { headers = "Authorization: bearer abc\r\n" })))
    assert.same({ user = "Aladdin", password = "open:sesame" },
                json(g:ask("GET /auth", { headers = "Authorization: Basic QWxhZGRpbjpvcGVuOnNlc2FtZQ==\r\n" })))
    for _, bad in ipairs { "Basic !!", "Basic QWxhZGRpbg==", "Basic", "Bearer", "Bearer ", "Digest x", "Bearer a b" } do
      assert.same({}, json(g:ask("GET /auth", { headers = "Authorization: " .. bad .. "\r\n" })), bad)
    end
    assert.same({}, json(g:ask("GET /auth")))
  end)

  it("carries user and ctx, and the log names the user", function()
    assert.same({ role = "x", a = 1 }, json(g:ask("GET /user")))
    assert.truthy(g:wait_for_log('"userId":"u-1"'))
  end)

  it("may get another id, which error bodies and the log tell", function()
    local answer = g:ask("GET /id")
    assert.equal(418, answer.status)
    assert.equal("my-own-id", cjson.decode(answer.body).requestId)
    g:wait_for_log('"requestId":"my-own-id"')
  end)

  it("can not be assigned otherwise", function()
    for _, refused in ipairs(json(g:ask("GET /assign"))) do assert.is_true(refused) end
  end)

  it("and res raise when they are used after their request ended", function()
    assert.equal("kept", g:ask("GET /keep").body)
    for name, said in pairs(json(g:ask("GET /stale"))) do
      assert.equal("after its request ended", said, name)
    end
    assert.equal(500, g:ask("GET /stale-returned").status)
  end)

  it("tells its outcome when all is over; an error there is only logged", function()
    assert.equal(201, g:ask("GET /done").status)
    local outcome
    gateway.eventually(function()
      outcome = json(g:ask("GET /was-done"))[1]
      return outcome
    end, "the outcome")
    assert.equal(201, outcome.status)
    assert.equal("/done", outcome.path)
    assert.equal("/done", outcome.route)
    assert.is_number(outcome.duration)
    g:wait_for_log("failing on_done")
  end)

  it("has methods that refuse what is no request", function()
    local r = json(g:ask("GET /methods"))
    assert.is_false(r[2])
    assert.is_false(r[3])
    assert.is_false(r[4])
  end)

  it("has a locked metatable, as all handles have", function()
    assert.same({ "locked", "locked", "locked", "locked", false }, json(g:ask("GET /locked")))
  end)
end)

describe("bodies", function()
  local g, peer
  setup(function()
    peer = start [[
      gw.route("* /*rest", { respond = function(req)
        return gw.response(200, { body = req:body { max = 4000000 }, path = req.path, query = req.query, host = req.host,
                                  type = req:header("Content-Type"), method = req.method, length = req:header("content-length"),
                                  a = req:header_values("X-A") }, { ["X-Peer"] = "yes", ETag = '"1"' })
      end })
    ]]
    g = start(([[
      gw.upstream("peer", { "http://127.0.0.1:%d" })
      gw.upstream("other", { "http://127.0.0.1:%d/prefix" })
      local function forward(path, ...)
        gw.route("* " .. path, { ..., to = "peer" })
      end
      any("/read", function(req)
        local body, code = req:body()
        local again = req:text()
        return gw.response(200, { body = body, code = code, again = again == body })
      end)
      any("/json", function(req)
        local value, code = req:json()
        return gw.response(200, { value = value, code = code, kind = type(value) })
      end)
      any("/form", function(req) return gw.response(200, req:form()) end)
      any("/small", function(req)
        local body, code = req:body { max = 10 }
        return gw.response(200, { body = body, code = code })
      end)
      forward("/too-large-forwarded", function(req)
        local body, code = req:body { max = 10 }
        req:set_header("X-A", body and "read" or code)
      end)
      forward("/read-and-forwarded", function(req) req:set_header("X-A", req:body()) end)
      forward("/set-body", function(req) req:set_body("mine", "text/x") end)
      forward("/set-json", function(req) req:set_json { a = { 1, 2 } } end)
      forward("/changed", function(req)
        req:set_path("/other/path")
        req:set_query { a = "1 2", b = { "x", "y" } }
        req:set_host("inner.example")
        req:set_header("X-A", { "1", "2" })
      end)
      forward("/upstream", function(req) req:set_upstream("other") end)
      forward("/bad-upstream", function(req) req:set_upstream("nowhere") end)
      forward("/raw-query", function(req) req:set_query("z=9") end)
      forward("/res-read", function(_, next)
        local res = next()
        local seen = { status = res.status, from = res.from, peer = res:header("x-peer"), total = res.timing.total >= 0,
                       length = #res:body(), path = res:json().path }
        res:set_json(seen)
        return res
      end)
      forward("/res-set", function(_, next)
        local res = next()
        res.status = 203
        res:set_body("replaced")
        res:set_header("X-New", "1")
        res.headers["X-Peer"] = nil
        return res
      end)
      forward("/res-empty", function(_, next) local res = next() res:set_body("") return res end)
      forward("/res-small", function(_, next)
        local res = next()
        local body, code = res:body { max = 10 }
        res:set_header("X-Code", body and "read" or code)
        return res
      end)
      get("/status", function()
        local res, refused = gw.response(200), {}
        for _, bad in ipairs { 99, 100, 101, 199, 600, 200.5, 0 / 0, "200" } do
          refused[#refused + 1] = not pcall(function() res.status = bad end) and not pcall(gw.response, bad)
        end
        res:set_json(refused)
        return res
      end)
      get("/made/:what", function(req)
        local made = {
          text = function() return gw.response(200, "text") end, number = function() return gw.response(200, 5) end,
          table = function() return gw.response(200, { a = 1 }) end, none = function() return gw.response(204) end,
          type = function() return gw.response(200, "x", { ["content-type"] = "text/x" }) end,
          cookies = function() return gw.response(200, "x", { ["Set-Cookie"] = { "a=1", "b=2" } }) end,
          r302 = function() return gw.redirect("/there?a=1") end, r301 = function() return gw.redirect("https://a/", 301) end,
          error = function() return gw.error(422, "bad_input", 'with "quotes"') end,
          error_plain = function() return gw.error(503, "busy") end,
        }
        return made[req.params.what]()
      end)
      local fixed = gw.response(200, "fixed", { ["X-Fixed"] = "1" })
      gw.route("GET /fixed", { respond = fixed })
      get("/fixed-changed", function() local res = fixed return res end)
      gw.route("GET /fixed-error", { respond = gw.error(403, "no", "never") })
      local refused = {
        boolean = function() return gw.response(200, true) end, fn = function() return gw.response(200, print) end,
        headers = function() return gw.response(200, "", "x") end, redirect = function() return gw.redirect("") end,
        redirect_status = function() return gw.redirect("/", 200) end, redirect_space = function() return gw.redirect("/a b") end,
        error_status = function() return gw.error(200, "x") end,
      }
      get("/refused", function()
        local out = {}
        for name, call in pairs(refused) do out[name] = not pcall(call) end
        return gw.response(200, out)
      end)
    ]]):format(peer.port, peer.port))
  end)
  teardown(gateway.stop_all)

  local function post(path, body, headers) return g:ask("POST " .. path, { body = body, headers = headers }) end

  it("are read, twice with the same result", function()
    assert.same({ body = "hello", again = true }, json(post("/read", "hello")))
    assert.same({ body = "", again = true }, json(g:ask("GET /read")))
  end)

  it("are read when they come in chunks, and slowly", function()
    local s = g:connect()
    s:send("POST /read HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    s:send("2;x=y\r\nde\r\n0\r\nTrailer: 1\r\n\r\n")
    assert.same({ body = "abcde", again = true }, json(gateway.parse(s:receive("*a"))))
    s:close()
  end)

  it("are read after 100-continue was sent", function()
    local s = g:connect()
    s:send("POST /read HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert.equal("HTTP/1.1 100 Continue", upstream.head(s))
    s:send("ok")
    assert.same({ body = "ok", again = true }, json(gateway.parse(s:receive("*a"))))
    s:close()
  end)

  it("as JSON: values, or nil and malformed_json", function()
    assert.same({ value = { a = { 1, 2 }, b = "x" }, kind = "table" }, json(post("/json", '{"a":[1,2],"b":"x"}')))
    for _, bad in ipairs { "", "{", "{a:1}", "[1,]", "nope", '{"a":1}x', "\0" } do
      assert.same({ code = "malformed_json", kind = "nil" }, json(post("/json", bad)), bad)
    end
    assert.equal(200, post("/json", ("["):rep(100000)).status)
  end)

  it("as a form", function()
    assert.same({ a = "1 2", b = { "x", "y" }, c = "" }, json(post("/form", "a=1+2&b=x&b=%79&c=")))
  end)

  it("that are larger than max are refused, announced or not", function()
    assert.same({ code = "too_large" }, json(post("/small", ("x"):rep(11))))
    assert.same({ body = ("x"):rep(10) }, json(post("/small", ("x"):rep(10))))
    local chunked = "POST /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert.same({ code = "too_large" }, json(gateway.parse((g:raw(chunked .. "b\r\n01234567890\r\n0\r\n\r\n")))))
    assert.same({ body = "hello" }, json(gateway.parse((g:raw(chunked .. "5\r\nhello\r\n0\r\n\r\n")))))
  end)

  it("that are too large for the script are forwarded whole", function()
    local body = ("0123456789"):rep(100000)
    local r = json(post("/too-large-forwarded", body))
    assert.equal(#body, #r.body)
    assert.is_true(body == r.body)
    assert.same({ "too_large" }, r.a)
  end)

  it("that were read are forwarded too", function()
    local r = json(post("/read-and-forwarded", "read me"))
    assert.equal("read me", r.body)
    assert.same({ "read me" }, r.a)
  end)

  it("of requests can be replaced", function()
    local r = json(post("/set-body", "theirs"))
    assert.equal("mine", r.body)
    assert.equal("text/x", r.type)
    r = json(post("/set-json", "theirs"))
    assert.equal('{"a":[1,2]}', r.body)
    assert.equal("application/json", r.type)
    assert.equal("mine", json(g:ask("POST /set-body")).body) -- there was none before
  end)

  it("and path, query, host, headers of what is forwarded", function()
    local r = json(g:ask("GET /changed?old=1"))
    assert.equal("/other/path", r.path)
    assert.truthy(r.query == "a=1%202&b=x&b=y" or r.query == "b=x&b=y&a=1%202", r.query)
    assert.equal("inner.example", r.host)
    assert.same({ "1", "2" }, r.a)
    assert.equal("z=9", json(g:ask("GET /raw-query?old=1")).query)
  end)

  it("go to another upstream when the script says so", function()
    assert.equal("/prefix/upstream", json(g:ask("GET /upstream")).path)
    assert.equal(500, g:ask("GET /bad-upstream").status)
  end)

  it("of responses are read", function()
    local r = json(g:ask("GET /res-read"))
    assert.equal(200, r.status)
    assert.equal("upstream", r.from)
    assert.equal("yes", r.peer)
    assert.is_true(r.total)
    assert.equal("/res-read", r.path)
  end)

  it("of responses are replaced, with their length, and without what spoke of the old one", function()
    local answer = g:ask("GET /res-set")
    assert.equal(203, answer.status)
    assert.equal("replaced", answer.body)
    assert.equal("8", answer.headers["content-length"])
    assert.equal("1", answer.headers["x-new"])
    assert.is_nil(answer.headers["x-peer"])
    assert.is_nil(answer.headers.etag)
    answer = g:ask("GET /res-empty")
    assert.equal("", answer.body)
    assert.equal("0", answer.headers["content-length"])
  end)

  it("of responses that are too large to read go on whole", function()
    local answer = post("/res-small", ("x"):rep(300000))
    assert.equal("too_large", answer.headers["x-code"])
    assert.equal(300000, #json(answer).body)
  end)

  it("and statuses of responses are checked", function()
    for _, refused in ipairs(json(g:ask("GET /status"))) do assert.is_true(refused) end
  end)

  it("are what gw.response was given", function()
    local function made(what) return g:ask("GET /made/" .. what) end
    local answer = made "text"
    assert.equal("text", answer.body)
    assert.equal("text/plain; charset=utf-8", answer.headers["content-type"])
    assert.equal("5", made("number").body)
    answer = made "table"
    assert.equal('{"a":1}', answer.body)
    assert.equal("application/json", answer.headers["content-type"])
    answer = made "none"
    assert.equal(204, answer.status)
    assert.equal("", answer.body)
    assert.is_nil(answer.headers["content-length"])
    assert.equal("text/x", made("type").headers["content-type"])
    assert.equal("a=1|b=2", made("cookies").headers["set-cookie"])
  end)

  it("of gw.redirect and gw.error", function()
    local answer = g:ask("GET /made/r302")
    assert.equal(302, answer.status)
    assert.equal("/there?a=1", answer.headers.location)
    answer = g:ask("GET /made/r301")
    assert.equal(301, answer.status)
    answer = g:ask("GET /made/error")
    assert.equal(422, answer.status)
    local told = cjson.decode(answer.body)
    assert.equal("bad_input", told.error)
    assert.equal('with "quotes"', told.message)
    assert.equal(32, #told.requestId)
    assert.equal("busy", cjson.decode(g:ask("GET /made/error_plain").body).error)
  end)

  it("may be made once, when the site is loaded", function()
    for _ = 1, 3 do
      local answer = g:ask("GET /fixed")
      assert.equal("fixed", answer.body)
      assert.equal("1", answer.headers["x-fixed"])
    end
    assert.equal("fixed", g:ask("GET /fixed-changed").body)
    local one, two = g:ask("GET /fixed-error"), g:ask("GET /fixed-error")
    assert.equal(403, one.status)
    assert.are_not.equal(cjson.decode(one.body).requestId, cjson.decode(two.body).requestId)
  end)

  it("and arguments that make no sense are refused", function()
    for name, refused in pairs(json(g:ask("GET /refused"))) do assert.is_true(refused, name) end
  end)
end)

describe("gw.json", function()
  local g
  setup(function()
    g = start [[
      any("/encode/:what", function(req)
        local values = {
          array = { 1, 2, 3 }, object = { a = 1 }, empty = {}, empty_array = gw.json.array {}, null = { gw.json.null },
          nested = { a = { b = { 1 } } }, integer = 9007199254740991, fraction = 0.1, negative = -5,
          text = 'a"b\\c\n\0\127/', utf8 = "ü€", bool = { true, false }, large = 1e300,
        }
        return gw.response(200, gw.json.encode(values[req.params.what]), { ["content-type"] = "application/json" })
      end)
      any("/fails/:what", function(req)
        local cyclic = {}
        cyclic.x = cyclic
        local deep = {}
        for _ = 1, 10000 do deep = { deep } end
        local values = { fn = print, cyclic = cyclic, nan = 0 / 0, inf = math.huge, deep = deep,
                         mixed = { 1, 2, a = 1 }, key = { [{}] = 1 }, sparse = { [1] = 1, [1000000] = 1 }, handle = req }
        local ok, text, code = pcall(gw.json.encode, values[req.params.what])
        return gw.response(200, { refused = not ok or text == nil, text = ok and text or nil, code = tostring(code) })
      end)
      any("/again", function(req)
        local value = gw.json.decode(req:body())
        return gw.response(200, gw.json.encode(value), { ["content-type"] = "application/json" })
      end)
      any("/pretty", function(req) return gw.response(200, gw.json.pretty { a = 1, b = { 1, 2 } }) end)
    ]]
  end)
  teardown(gateway.stop_all)

  it("encodes", function()
    for what, text in pairs { array = "[1,2,3]", object = '{"a":1}', empty_array = "[]", null = "[null]",
                              nested = '{"a":{"b":[1]}}', integer = "9007199254740991", fraction = "0.1",
                              negative = "-5", utf8 = '"ü€"', bool = "[true,false]", empty = "{}" } do
      assert.equal(text, g:ask("GET /encode/" .. what).body, what)
    end
    assert.equal('a"b\\c\n\0\127/', cjson.decode("[" .. g:ask("GET /encode/text").body .. "]")[1])
  end)

  it("refuses what JSON can not say", function()
    for _, what in ipairs { "fn", "cyclic", "nan", "inf", "key", "handle", "deep", "sparse" } do
      assert.is_true(json(g:ask("GET /fails/" .. what)).refused, what)
    end
  end)

  it("keeps arrays, empty ones and null through decode and encode", function()
    for _, text in ipairs { '{"a":[]}', "[]", "[null,1]", '[{"a":null}]', "[[],{}]", '"text"', "1.5", "true", "[1e+20]",
                            '["\\u0000"]' } do
      assert.equal(text, g:ask("POST /again", { body = text }).body)
    end
  end)

  it("writes for people too", function()
    local text = g:ask("GET /pretty").body
    assert.truthy(text:find("\n", 1, true))
    assert.same({ a = 1, b = { 1, 2 } }, cjson.decode(text))
  end)
end)

describe("res:map_body", function()
  local g, up
  setup(function()
    up = upstream.listen()
    g = start(([[
      gw.upstream("up", { "%s" })
      gw.route("GET /upper", { function(_, next)
        local res = next()
        res:map_body(function(piece) return piece and piece:upper() end)
        return res
      end, to = "up" })
      gw.route("GET /fails", { function(_, next)
        local res = next()
        res:map_body(function() error("map failed") end)
        return res
      end, to = "up" })
    ]]):format(up:url()))
  end)
  teardown(function()
    up:close()
    gateway.stop_all()
  end)

  local function exchange(path, answer)
    local client = g:connect()
    client:send("GET " .. path .. " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    local server = up:accept()
    upstream.head(server)
    server:send(answer)
    local all, why, part = client:receive("*a")
    client:close()
    server:close()
    return all or part, why
  end

  it("changes a body as it streams, of any length", function()
    local answer = gateway.parse((exchange("/upper", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")))
    assert.equal("HELLO", answer.body)
    answer = gateway.parse((exchange("/upper",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")))
    assert.equal("ABCDEF", answer.body)
  end)

  it("that fails never makes a part pass for the whole", function()
    local bytes = exchange("/fails", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    local complete = bytes:find("^HTTP/1.1 200") and pcall(gateway.parse, bytes)
        and gateway.parse(bytes).body ~= "" and true
    assert.falsy(complete)
    g:wait_for_log("map failed")
  end)
end)
