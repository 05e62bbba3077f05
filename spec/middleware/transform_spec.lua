-- The policy `transform`, on the real binary.
local policy = require "spec.support.policy"

describe("transform", function()
  teardown(policy.stop_all)

  local echo = [[
    local seen = { path = req.path, query = req.query, headers = {}, body = req:text() }
    for name, value in req:each_header() do
      if name:lower():find("^x%-") then
        local was = seen.headers[name:lower()]
        seen.headers[name:lower()] = was and was .. "|" .. value or value
      end
    end
    seen.accept, seen.type = req:header("accept-encoding"), req:header("content-type")
    return gw.response(200, gw.json.encode(seen), { ["Content-Type"] = "text/plain" }) ]]

  local function field(text, name) return text:match('"' .. name:gsub("%-", "%%-") .. '":"(.-[^\\])"') end

  it("renames, removes, sets and adds headers of a request", function()
    local g = policy.start { up = echo, use = [[ { "transform", request = { headers = {
      add = { ["X-Many"] = "3" }, set = { ["X-Set"] = "new", ["X-Method"] = function(req) return req.method end,
        ["X-No"] = function() end },
      remove = { "X-Gone" }, rename = { ["X-Old"] = "X-New" } } } } ]] }
    local body = g:ask("GET /p/x", { headers = "X-Many: 1\r\nX-Many: 2\r\nX-Set: a\r\nX-Set: b\r\nX-Gone: 1\r\n"
      .. "X-Old: 1\r\nX-Old: 2\r\nX-No: kept\r\n" }).body
    assert.equal("1|2|3", field(body, "x-many"))
    assert.equal("new", field(body, "x-set"))
    assert.equal("GET", field(body, "x-method"))
    assert.equal("1|2", field(body, "x-new"))
    assert.equal("kept", field(body, "x-no"))
    assert.is_nil(field(body, "x-old"))
    assert.is_nil(field(body, "x-gone"))
  end)

  it("changes the query and keeps what it does not name as it is", function()
    local g = policy.start { up = echo, use = [[ { "transform", request = { query = {
      rename = { old = "new" }, remove = { "gone", "a b" }, set = { set = "1&2", who = function(req) return req.ip end },
      add = { tag = "z" } } } } ]] }
    local function query(text) return field(g:ask("GET /p/x" .. text).body, "query") end
    assert.equal("keep=%7e%20&flag&new=1&new=&tag=a&set=1%262&who=127.0.0.1&tag=z",
      query "?keep=%7e%20&gone=1&flag&old=1&old=&g%6fne=2&set=0&a+b=1&tag=a&a%20b=2&set=3")
    assert.equal("set=1%262&who=127.0.0.1&tag=z", query "")
  end)

  it("strips and adds a prefix of the path, whole segments only", function()
    local g = policy.start { up = echo, use = [[ { "transform", request = { path = { strip = "/p", add = "/v2" } } } ]] }
    assert.equal("/up/v2/x/y", field(g:ask("GET /p/x/y").body, "path"))
    assert.equal("/up/v2/", field(g:ask("GET /p/").body, "path"))
    local g2 = policy.start { up = echo, use = [[ { "transform", request = { path = { strip = "/p/a" } } } ]] }
    assert.equal("/up/p/ab", field(g2:ask("GET /p/ab").body, "path"))
    assert.equal("/up/", field(g2:ask("GET /p/a").body, "path"))
  end)

  it("changes JSON of a request", function()
    local g = policy.start { up = echo, use = [[ { "transform", max_body = 200, request = { json = {
      rename = { ["user.mail"] = "email" }, remove = { "admin", "list.*.secret" },
      set = { ["by.ip"] = function(req) return req.ip end, n = 1, flag = false },
      add = { there = "new", absent = "new" } } } } ]] }
    local function send(text, kind, method)
      return g:ask((method or "POST") .. " /p/x", { body = text,
        headers = "Content-Type: " .. (kind or "application/json") .. "\r\n" })
    end
    local res = send('{"admin":true,"user":{"mail":"a@b"},"list":[{"secret":1,"x":2},{"secret":3},4],"there":"old",'
      .. '"empty":[],"null":null}', "application/merge-patch+json; charset=utf-8")
    local got = res.body:match('"body":"(.-[^\\])"'):gsub('\\"', '"')
    for _, text in ipairs { '"user":{"email":"a@b"}', '"list":[{"x":2},{},4]', '"by":{"ip":"127.0.0.1"}', '"n":1',
        '"flag":false', '"there":"old"', '"absent":"new"', '"empty":[]', '"null":null' } do
      assert.truthy(got:find(text, 1, true), text .. " in " .. got)
    end
    assert.is_nil(got:find("admin", 1, true))
    assert.equal("application/merge-patch+json; charset=utf-8", field(res.body, "type"))
    assert.equal("[1]", field(send("[1]").body, "body"))
    assert.equal(200, g:ask("GET /p/x").status)
  end)

  it("refuses a request whose JSON it could not change", function()
    local g = policy.start { up = echo, use = [[ { "transform", max_body = 20, request = { json = {
      remove = { "admin" } } } } ]] }
    local function status(text, headers)
      return g:ask("POST /p/x", { body = text, headers = headers or "Content-Type: application/json\r\n" }).status
    end
    assert.equal(200, status '{"a":1}')
    assert.equal(400, status '{"a":1')
    assert.equal(413, status('{"a":"' .. ("x"):rep(20) .. '"}'))
    assert.equal(415, status('{"admin":1}', "Content-Type: text/plain\r\n"))
    assert.equal(415, status('{"admin":1}', ""))
    assert.equal(415, status('{"admin":1}', "Content-Type: application/json\r\nContent-Encoding: gzip\r\n"))
  end)

  it("changes headers and JSON of a response, or answers in its place", function()
    local g = policy.start {
      use = [[ { "transform", max_body = 100, response = {
        headers = { set = { ["X-Api"] = "2" }, remove = { "X-Up" }, rename = { ["X-A"] = "X-B" } },
        json = { remove = { "password", "users.*.ssn" }, set = { v = 2 } } } } ]],
      up = [[ local bodies = { ok = '{"password":"x","users":[{"ssn":1,"id":7}],"e":[]}', bad = "{", text = "password",
                big = '{"a":"' .. ("x"):rep(200) .. '"}', list = '[{"password":1}]' }
              return gw.response(tonumber(req.args.status or 200), bodies[req.args.body], {
                ["Content-Type"] = req.args.body == "text" and "text/plain" or "application/json; charset=utf-8",
                ["X-Up"] = "1", ["X-A"] = "a", ["Content-Encoding"] = req.args.coding,
                ["X-Accept"] = req:header("accept-encoding") }) ]],
    }
    local res = g:ask("GET /p/x?body=ok", { headers = "Accept-Encoding: gzip\r\n" })
    assert.equal("identity", res.headers["x-accept"])
    assert.equal("2", res.headers["x-api"])
    assert.equal("a", res.headers["x-b"])
    assert.is_nil(res.headers["x-a"])
    assert.is_nil(res.headers["x-up"])
    assert.equal("application/json; charset=utf-8", res.headers["content-type"])
    assert.is_nil(res.body:find("password", 1, true))
    assert.is_nil(res.body:find("ssn", 1, true))
    assert.truthy(res.body:find('"users":[{"id":7}]', 1, true), res.body)
    assert.truthy(res.body:find('"e":[]', 1, true), res.body)
    assert.is_nil(g:ask("GET /p/x?body=ok&status=500").body:find("password", 1, true))
    assert.equal('[{"password":1}]', g:ask("GET /p/x?body=list").body)
    assert.equal("password", g:ask("GET /p/x?body=text").body)
    for _, query in ipairs { "body=bad", "body=big", "body=ok&coding=gzip" } do
      res = g:ask("GET /p/x?" .. query)
      assert.equal(502, res.status, query)
      assert.truthy(res.body:find('"error":"transform_failed"', 1, true), res.body)
    end
    assert.equal(200, g:ask("HEAD /p/x?body=bad").status)
  end)

  it("refuses changes that mean nothing", function()
    for options, why in pairs {
      ["request = { header = {} }"] = 'unknown part "header"', ["response = { query = {} }"] = 'unknown part "query"',
      ["request = { headers = { delete = {} } }"] = 'unknown change "delete"',
      ['request = { headers = { set = { ["X"] = 1 } } }'] = "can not have",
      ['request = { headers = { remove = { x = "y" } } }'] = "can not have",
      ['request = { headers = { set = { ["a b"] = "1" } } }'] = "no name of a header",
      ['request = { headers = { set = { ["Content-Length"] = "1" } } }'] = "not set in this way",
      ['response = { headers = { set = { X = "a\\r\\nb" } } }'] = "control character",
      ['request = { json = { rename = { a = "b.c" } } }'] = "can not have",
      ['request = { json = { remove = { "a.*" } } }'] = "can not have",
      ['request = { path = { strip = "p" } }'] = "must begin", ['request = { path = { cut = "/p" } }'] = "unknown change",
    } do
      local text, code = policy.check { use = '{ "transform", ' .. options .. " }" }
      assert.equal(1, code, options)
      assert.truthy(text:find(why, 1, true), text)
    end
  end)
end)
