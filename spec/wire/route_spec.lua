--- Which handler gets a request, what runs around it, and what answers when there is none.
local gateway = require "spec.support.gateway"
local cjson = require "cjson"

describe("a route", function()
  local g

  setup(function()
    g = gateway.start({ ["gateway.lua"] = [[
      local gw = require "moonlatch"
      gw.listen { port = PORT, host = "127.0.0.1" }
      local function say(text) return { respond = function() return gw.response(200, text) end } end
      local function params(text)
        return { respond = function(req)
          local shown = { text }
          for _, name in ipairs { "id", "sub", "rest" } do
            if req.params[name] then shown[#shown + 1] = name .. "=" .. req.params[name] end
          end
          return gw.response(200, table.concat(shown, " "))
        end }
      end
      gw.route("GET /static", say "static")
      gw.route("GET /a/:id", params "param")
      gw.route("GET /a/fixed", say "fixed")
      gw.route("GET /a/:id/b/:sub", params "two")
      gw.route("GET /files/*rest", params "rest")
      gw.route("GET /files/own/:id", params "own")
      gw.route("GET|PUT /both", say "both")
      gw.route("POST /post", say "post")
      gw.route("* /any", say "any")
      gw.route("OPTIONS /options", say "own options")
      gw.route("GET /host", say "every host")
      gw.route("GET /host", { host = "one.example", respond = say("one").respond })
      gw.route("GET /host", { host = "*.two.example", respond = say("two").respond })
      gw.route("GET /cond", say "no condition")
      gw.route("GET /cond", { header = { ["X-Kind"] = "a" }, respond = say("header a").respond })
      gw.route("GET /cond", { header = { ["X-Kind"] = true }, respond = say("header there").respond })
      gw.route("GET /cond", { query = { v = "2" }, respond = say("query 2").respond })
      gw.route("GET /only", { query = { v = "2" }, respond = say("query 2").respond })
    ]] }, { args = { "--workers", "1" } })
  end)
  teardown(gateway.stop_all)

  local function body(path, opts)
    local answer = g:ask("GET " .. path, opts)
    assert.equal(200, answer.status, path)
    return answer.body
  end

  it("may be static, and its path counts to the letter", function()
    assert.equal("static", body "/static")
    assert.equal(404, g:ask("GET /Static").status)
    assert.equal(404, g:ask("GET /static/").status)
    assert.equal(404, g:ask("GET /stati").status)
  end)

  it("has parameters of one segment; a static segment wins", function()
    assert.equal("param id=7", body "/a/7")
    assert.equal("fixed", body "/a/fixed")
    assert.equal("two id=fixed sub=x", body "/a/fixed/b/x") -- goes back to :id
    assert.equal(404, g:ask("GET /a/").status)
    assert.equal(404, g:ask("GET /a/7/b").status)
  end)

  it("gives parameters decoded", function()
    assert.equal("param id=a b+c", body "/a/a%20b+c")
    assert.equal("param id=\195\188", body "/a/%C3%BC")
  end)

  it("has a rest, which is whatever comes", function()
    assert.equal("rest rest=x/y/z", body "/files/x/y/z")
    assert.equal("own id=1", body "/files/own/1")
    assert.equal("rest rest=own/1/2", body "/files/own/1/2")
  end)

  it("is chosen by the normal form of the path", function()
    assert.equal("static", body "/a/../static")
    assert.equal("static", body "/%73tatic")
    assert.equal("static", body "//static")
    assert.equal("static", body "/static?x=1")
  end)

  it("is chosen by its method", function()
    assert.equal("both", g:ask("PUT /both").body)
    assert.equal("both", g:ask("GET /both").body)
    for _, method in ipairs { "GET", "DELETE", "PATCH", "PURGE" } do
      assert.equal("any", g:ask(method .. " /any").body)
    end
  end)

  it("that is not there is 404, as JSON", function()
    local answer = g:ask("GET /none")
    assert.equal(404, answer.status)
    assert.equal("application/json", answer.headers["content-type"])
    local told = cjson.decode(answer.body)
    assert.truthy(answer.body:find("not_found", 1, true))
    assert.truthy(answer.body:find("/none", 1, true))
    assert.is_table(told)
  end)

  it("with other methods only is 405 with Allow", function()
    local answer = g:ask("DELETE /both")
    assert.equal(405, answer.status)
    assert.equal("GET, HEAD, OPTIONS, PUT", answer.headers.allow)
    assert.equal("OPTIONS, POST", g:ask("GET /post").headers.allow)
  end)

  it("for GET answers HEAD, without a body and with the same length", function()
    local answer = g:ask("HEAD /static")
    assert.equal(200, answer.status)
    assert.equal("6", answer.headers["content-length"])
    assert.equal("", answer.body)
    assert.equal(405, g:ask("HEAD /post").status)
  end)

  it("answers OPTIONS by itself, unless it has one of its own", function()
    local answer = g:ask("OPTIONS /both")
    assert.equal(204, answer.status)
    assert.equal("GET, HEAD, OPTIONS, PUT", answer.headers.allow)
    assert.equal("", answer.body)
    assert.equal("own options", g:ask("OPTIONS /options").body)
    assert.equal(404, g:ask("OPTIONS /none").status)
  end)

  it("is chosen by host: the exact one, then a suffix, then any", function()
    assert.equal("every host", body("/host"))
    assert.equal("one", body("/host", { host = "one.example" }))
    assert.equal("one", body("/host", { host = "ONE.example:8080" }))
    assert.equal("two", body("/host", { host = "a.two.example" }))
    assert.equal("every host", body("/host", { host = "two.example" }))
    assert.equal("every host", body("/host", { host = "xtwo.example" }))
  end)

  it("is chosen by header and query conditions, before the one without", function()
    assert.equal("no condition", body "/cond")
    assert.equal("header there", body("/cond", { headers = "x-kind: b\r\n" }))
    assert.equal("query 2", body "/cond?v=2")
    assert.equal("no condition", body "/cond?v=3")
    assert.equal("query 2", body "/only?a=1&v=2")
    assert.equal(404, g:ask("GET /only").status)
  end)
end)

describe("middlewares", function()
  local g

  setup(function()
    g = gateway.start({ ["gateway.lua"] = [[
      local gw = require "moonlatch"
      gw.listen { port = PORT, host = "127.0.0.1" }
      local function mark(name)
        return function(req, next)
          req.ctx.order = (req.ctx.order or "") .. name .. " "
          local res = next()
          res:add_header("X-Out", name)
          return res
        end
      end
      local function show(req) return gw.response(200, req.ctx.order) end
      gw.use { mark "use" }
      gw.group("/g", { mark "group" }, function()
        gw.use { mark "inner" }
        gw.route("GET /x", { mark "own1", mark "own2", respond = show })
      end)
      gw.route("GET /stop", { function() return gw.response(403, "stopped") end,
                              respond = function() error "must not run" end })
      gw.route("GET /nothing", { function() end, function(_, next) end, respond = show })
      gw.route("GET /dropped", { function(_, next) next() end, respond = show })
      gw.route("GET /replaced", { function(_, next) next() return gw.response(201, "other") end,
                                  respond = show })
      local calls = 0
      gw.route("GET /twice", { function(_, next)
        local first = next()
        local status = first.status
        local second = next()
        second:set_header("X-First", tostring(status))
        second:set_header("X-Stale", tostring(pcall(function() return first.status end)))
        return second
      end, respond = function() calls = calls + 1 return gw.response(200 + calls, "call " .. calls) end })
      gw.route("GET /bad", { function() return "text" end, respond = show })
      gw.route("GET /table", { function() return { status = 200 } end, respond = show })
    ]] }, { args = { "--workers", "1" } })
  end)
  teardown(gateway.stop_all)

  it("run in the order gw.use, groups from outside, the route's own; and back", function()
    local answer = g:ask("GET /g/x")
    assert.equal("use group inner own1 own2 ", answer.body)
    assert.equal("own2|own1|inner|group|use", answer.headers["x-out"])
  end)

  it("of gw.use run for requests without a route too", function()
    local answer = g:ask("GET /none")
    assert.equal(404, answer.status)
    assert.equal("use", answer.headers["x-out"])
  end)

  it("end the request with a response of their own", function()
    local answer = g:ask("GET /stop")
    assert.equal(403, answer.status)
    assert.equal("stopped", answer.body)
  end)

  it("that return nothing let the request go on, or keep the response of next()", function()
    assert.equal("use ", g:ask("GET /nothing").body)
    assert.equal("use ", g:ask("GET /dropped").body)
  end)

  it("may replace the response of next()", function()
    local answer = g:ask("GET /replaced")
    assert.equal(201, answer.status)
    assert.equal("other", answer.body)
  end)

  it("may call next() twice: the second response counts, the first handle is over", function()
    local answer = g:ask("GET /twice")
    assert.equal(202, answer.status)
    assert.equal("call 2", answer.body)
    assert.equal("201", answer.headers["x-first"])
    assert.equal("false", answer.headers["x-stale"])
  end)

  it("that return something that is no response fail their request", function()
    assert.equal(500, g:ask("GET /bad").status)
    assert.equal(500, g:ask("GET /table").status)
    assert.equal(200, g:ask("GET /g/x").status)
  end)
end)

describe("mounted route modules", function()
  local g

  setup(function()
    g = gateway.start({ ["gateway.lua"] = [[
      local gw = require "moonlatch"
      gw.listen { port = PORT, host = "127.0.0.1", trusted_proxies = { "127.0.0.1" } }
      gw.mount("health", { path = "/alive", service = "spec" })
      gw.mount("status", { path = "/internal", allow = { "127.0.0.1" } })
      gw.group("/g", function()
        gw.mount("redirect", { from = "/:t/old/*rest", to = "https://new.example/n/", status = 308,
                               methods = "GET|POST" })
      end)
    ]] }, { args = { "--workers", "1" } })
  end)
  teardown(gateway.stop_all)

  it("health: says that the gateway lives", function()
    local answer = g:ask("GET /alive")
    assert.equal(200, answer.status)
    assert.equal("no-store", answer.headers["cache-control"])
    local told = cjson.decode(answer.body)
    assert.equal("healthy", told.status)
    assert.equal("spec", told.service)
    assert.is_number(told.uptime)
    assert.truthy(told.timestamp:find("^%d%d%d%d%-%d%d%-%d%dT"))
  end)

  it("status: tells allowed addresses only; for others there is no such path", function()
    local answer = g:ask("GET /internal")
    assert.equal(200, answer.status)
    assert.equal("application/json", answer.headers["content-type"])
    assert.is_table(cjson.decode(answer.body))
    answer = g:ask("GET /internal", { headers = "X-Forwarded-For: 9.9.9.9\r\n" })
    assert.equal(404, answer.status)
  end)

  it("redirect: keeps the rest and the query", function()
    local answer = g:ask("GET /g/t1/old/a/b%20c?x=1")
    assert.equal(308, answer.status)
    assert.equal("https://new.example/n/a/b%20c?x=1", answer.headers.location)
    assert.equal(308, g:ask("POST /g/t1/old/z").status)
  end)
end)
