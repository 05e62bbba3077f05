-- The policy `compress`, and scripts that read encoded bodies, on the real binary; curl decodes.
local gateway = require "spec.support.gateway"
local policy = require "spec.support.policy"
local upstream = require "spec.support.upstream"

local function curl(g, path, ...)
  policy.real_only "curl"
  local args = {}
  for _, a in ipairs { ... } do args[#args + 1] = "'" .. a .. "'" end
  local p = io.popen(("LD_PRELOAD= curl -s --max-time 20 %s http://127.0.0.1:%d%s"):format(table.concat(args, " "),
                                                                                g.port, path))
  local text = p:read("*a")
  p:close()
  return text
end

local function as(encoding) return { headers = "Accept-Encoding: " .. encoding .. "\r\n" } end

describe("compress", function()
  local g
  local long = ("all work and no play "):rep(500)
  teardown(policy.stop_all)

  setup(function()
    g = policy.start {
      use = [[ { "compress" } ]],
      routes = [[
        gw.group("/few", { { "compress", encodings = { "gzip" }, types = { "text/x", "+json" }, min_length = 10 } },
          function() gw.route("* /*rest", { to = "up" }) end)
        gw.route("* /hello", { respond = function() return gw.response(200, { text = ("hello "):rep(1000) }) end })
        gw.group("/mapped", { function(req, next)
          local res = next()
          res:map_body(function(chunk) return chunk:upper() end)
          return res
        end }, function() gw.route("* /*rest", { to = "up" }) end)
      ]],
      up = [[
        local args = req.args
        local n = tonumber(args.n or 10500)
        local text = ("all work and no play "):rep(math.ceil(n / 21)):sub(1, n)
        local res = gw.response(tonumber(args.status or 200), text)
        res:set_header("Content-Type", args.type or "text/html; charset=utf-8")
        if args.encoding then res:set_header("Content-Encoding", args.encoding) end
        if args.control then res:set_header("Cache-Control", args.control) end
        if args.vary then res:set_header("Vary", args.vary) end
        res:set_header("ETag", args.etag or '"1"')
        res:set_header("Accept-Ranges", "bytes")
        return res]],
    }
  end)

  it("sends what the client asks for, with the headers that go with it", function()
    for _, encoding in ipairs { "br", "gzip" } do
      local res = g:ask("GET /p/x", as(encoding))
      assert.equal(encoding, res.headers["content-encoding"])
      assert.equal("Accept-Encoding", res.headers.vary)
      assert.equal('W/"1"', res.headers.etag)
      assert.is_nil(res.headers["accept-ranges"])
      assert.is_true(#res.body < 500)
      if not gateway.hard then assert.equal(tostring(#res.body), res.headers["content-length"]) end
      assert.equal(long, curl(g, "/p/x", "-H", "Accept-Encoding: " .. encoding, "--compressed"))
    end
    assert.equal("br", g:ask("GET /p/x", as "gzip, deflate, br").headers["content-encoding"])
  end)

  it("leaves the answer as it is for who can not read it, and still says Vary", function()
    for _, encoding in ipairs { "identity", "zstd", "gzip;q=0", "br;q=0, gzip;q=0" } do
      local res = g:ask("GET /p/x", as(encoding))
      assert.equal(long, res.body)
      assert.is_nil(res.headers["content-encoding"])
      assert.equal("Accept-Encoding", res.headers.vary)
      assert.equal('"1"', res.headers.etag)
    end
    assert.equal(long, g:ask("GET /p/x").body)
  end)

  it("leaves alone what is short, encoded, partial, of another type, or not to be transformed", function()
    for _, query in ipairs { "n=1023", "encoding=x", "status=206", "type=image/png",
                             "control=public,%20No-Transform", "status=304" } do
      local res = g:ask("GET /p/x?" .. query, as "gzip, br")
      assert.is_true(res.headers["content-encoding"] == nil or res.headers["content-encoding"] == "x", query)
      assert.equal('"1"', res.headers.etag)
      if not query:find("control") then assert.is_nil(res.headers.vary) end
    end
    local opts = { headers = "Accept-Encoding: gzip\r\nCache-Control: no-transform\r\n" }
    assert.is_nil(g:ask("GET /p/x", opts).headers["content-encoding"])
    assert.equal("br", g:ask("GET /p/x?n=1024", as "br").headers["content-encoding"])
  end)

  it("does what its options say", function()
    assert.equal("gzip", g:ask("GET /p/few/x?type=text/x&n=10", as "br, gzip").headers["content-encoding"])
    assert.equal("gzip", g:ask("GET /p/few/x?type=a/b%2bjson&n=10", as "gzip").headers["content-encoding"])
    assert.equal("br", g:ask("GET /p/few/x?type=text/y", as "br, gzip").headers["content-encoding"])
    local text, code = policy.check { use = [[ { "compress", encodings = { "zip" } } ]] }
    assert.equal(1, code)
    assert.truthy(text:find('holds "zip"', 1, true), text)
    text = policy.check { use = [[ { "compress", types = { "text" } } ]] }
    assert.truthy(text:find('holds "text"', 1, true), text)
  end)

  it("keeps other elements of Vary, and a weak ETag", function()
    local res = g:ask("GET /p/x?vary=Origin&etag=W/%221%22", as "gzip")
    assert.equal("Origin, Accept-Encoding", res.headers.vary)
    assert.equal('W/"1"', res.headers.etag)
    assert.equal("*", g:ask("GET /p/x?vary=*", as "gzip").headers.vary)
  end)

  it("tells HEAD what GET would have", function()
    local res = g:ask("HEAD /p/x", as "gzip")
    assert.equal("gzip", res.headers["content-encoding"])
    assert.is_nil(res.headers["content-length"])
    assert.equal("", res.body)
    assert.is_nil(g:ask("HEAD /p/hello", as "gzip").headers["content-length"])
  end)

  it("compresses answers of scripts and large ones", function()
    local res = g:ask("GET /p/hello", as "gzip")
    assert.equal("gzip", res.headers["content-encoding"])
    assert.truthy(curl(g, "/p/hello", "--compressed"):find('{"text":"hello hello', 1, true))
    for _, encoding in ipairs { "gzip", "br" } do
      local n = 3000000
      local body = curl(g, "/p/x?n=" .. n, "-H", "Accept-Encoding: " .. encoding, "--compressed")
      assert.equal(n, #body)
      assert.equal(("all work and no play "):rep(math.ceil(n / 21)):sub(1, n), body)
    end
  end)

  it("goes on behind map_body, whichever is outside", function()
    local body = curl(g, "/p/mapped/x?n=300000", "-H", "Accept-Encoding: br", "--compressed")
    assert.equal(("ALL WORK AND NO PLAY "):rep(15000):sub(1, 300000), body)
  end)
end)

describe("a stream that is compressed", function()
  local up, g, client, server
  teardown(policy.stop_all)

  setup(function()
    up = upstream.listen()
    g = gateway.start { ["gateway.lua"] = ([[
      local gw = require "moonlatch"
      gw.listen { host = "127.0.0.1", port = PORT }
      gw.upstream("up", { "%s", retries = 0 })
      gw.use { "compress" }
      gw.route("GET /*rest", { to = "up" })]]):format(up:url()) }
  end)

  before_each(function()
    client = g:connect()
    client:send("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
    server = up:accept()
    assert.truthy(upstream.head(server))
    server:send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
  end)

  after_each(function()
    client:close()
    server:close()
  end)

  local function chunk()
    local size = tonumber((client:receive("*l")), 16)
    local data = client:receive(size)
    client:receive(2)
    return data
  end

  it("is flushed when the upstream pauses", function()
    if gateway.hard then return pending("each byte is a piece by itself") end
    local head = upstream.head(client)
    assert.truthy(head:lower():find("content-encoding: gzip", 1, true))
    local all = ""
    for i = 1, 3 do
      server:send("d\r\ndata: tick" .. i .. "\n\n\r\n")
      all = all .. chunk() -- nothing else comes until the client has this
    end
    server:send("0\r\n\r\n")
    all = all .. chunk()
    local file = gateway.folder() .. "/stream.gz"
    gateway.write(file, all)
    local p = io.popen("LD_PRELOAD= gzip -dc " .. file)
    assert.equal("data: tick1\n\ndata: tick2\n\ndata: tick3\n\n", p:read("*a"))
    p:close()
  end)

  it("breaks off when the upstream does", function()
    if gateway.hard then return pending("each byte is a piece by itself") end
    upstream.head(client)
    server:send("d\r\ndata: tick1\n\n\r\n")
    assert.truthy(chunk())
    server:close()
    local rest, err, part = client:receive("*a")
    assert.equal("", (rest or part), err) -- no last chunk
  end)

  it("ends with its client", function()
    upstream.head(client)
    client:close()
    policy.eventually(function()
      local _, err = server:send("d\r\ndata: tick1\n\n\r\n")
      return err == "closed"
    end, "the upstream's connection is closed")
  end)
end)

describe("an encoded body", function()
  local g
  teardown(policy.stop_all)

  setup(function()
    g = policy.start {
      routes = [[
        gw.group("/read", { function(req, next)
          local res = next()
          local text, code = res:text { max = 100000 }
          local json = res:json { max = 100000 }
          return gw.response(200, { text = text or code, n = json and json.n, raw = #(res:body() or "") })
        end }, function() gw.route("* /*rest", { to = "up" }) end)
        gw.group("/mapped", { function(req, next)
          local res = next()
          local ok, code = res:map_body(function(chunk) return chunk:upper() end)
          if code then res:set_header("X-Code", code) end
          return res
        end }, function() gw.route("* /*rest", { to = "up" }) end)
        gw.route("POST /in", { respond = function(req)
          local json, code = req:json()
          return gw.response(200, json and tostring(json.n) or code)
        end })]],
      up = [[
        local res = gw.response(200, '{"n":1}')
        res:set_header("Content-Type", "application/json")
        if req.args.broken then res:set_body("garbage") end
        if req.args.encoding then res:set_header("Content-Encoding", req.args.encoding) end
        return res]],
    }
  end)

  local function ask(kind, query) return g:ask(("GET /p/%s/x?%s"):format(kind, query)) end

  it("says why it can not be read", function()
    assert.truthy(ask("read", "encoding=zstd").body:find('"text":"unsupported_encoding"', 1, true))
    local res = ask("read", "encoding=gzip&broken=1")
    assert.truthy(res.body:find('"text":"malformed_encoding"', 1, true), res.body)
    assert.truthy(ask("read", "encoding=identity").body:find('"n":1', 1, true))
    assert.equal("unsupported_encoding", ask("mapped", "encoding=zstd").headers["x-code"])
  end)

  it("is opened for a script that reads a request", function()
    local file = gateway.folder() .. "/body"
    gateway.write(file, '{"n":7}')
    os.execute("LD_PRELOAD= gzip -n " .. file)
    local gz = gateway.read(file .. ".gz")
    local res = g:ask("POST /p/in", { body = gz, headers = "Content-Encoding: gzip\r\n" })
    assert.equal("7", res.body)
    res = g:ask("POST /p/in", { body = gz:sub(1, -2), headers = "Content-Encoding: gzip\r\n" })
    assert.equal("malformed_encoding", res.body)
  end)

  it("that is a bomb is too large, not a gigabyte", function()
    local file = gateway.folder() .. "/bomb"
    os.execute(("unset LD_PRELOAD; head -c 100000000 /dev/zero | gzip -n > %s"):format(file))
    local res = g:ask("POST /p/in", { body = gateway.read(file), headers = "Content-Encoding: gzip\r\n" })
    assert.equal("too_large", res.body)
  end)
end)

describe("an encoded body of an upstream", function()
  local g
  teardown(policy.stop_all)

  setup(function()
    g = gateway.start { ["gateway.lua"] = [[
      local gw = require "moonlatch"
      gw.listen { host = "127.0.0.1", port = PORT }
      gw.upstream("z", { "http://127.0.0.1:PORT/z", retries = 0 })
      gw.group("/z", { { "compress", min_length = 1 } }, function()
        gw.route("GET /*rest", { respond = function(req)
          return gw.response(200, { n = 1, pad = ("x"):rep(tonumber(req.args.pad or 10)) })
        end })
      end)
      local function through(prefix, fn)
        gw.group(prefix, { function(req, next) return fn(next()) end }, function()
          gw.route("GET /*rest", { to = "z" })
        end)
      end
      through("/read", function(res)
        local json, code = res:json { max = 200000 }
        return gw.response(200, { n = json and json.n or code, raw = #res:body(), text = #(res:text() or "") })
      end)
      through("/kept", function(res) res:text() return res end)
      through("/plain", function(res) res:decode() return res end)
      through("/mapped", function(res)
        res:map_body(function(chunk) return (chunk:gsub("x", "y")) end)
        return res
      end)]] }
  end)

  it("is text for scripts and stays encoded for the client", function()
    for _, encoding in ipairs { "gzip", "br" } do
      for _, pad in ipairs { 10, 100000 } do
        local read = g:ask("GET /read/x?pad=" .. pad, as(encoding)).body
        assert.equal(pad + 16, tonumber(read:match('"text":(%d+)')), read)
        assert.truthy(read:find('"n":1', 1, true))
        assert.is_true(tonumber(read:match('"raw":(%d+)')) < 300)
        local kept = g:ask("GET /kept/x?pad=" .. pad, as(encoding))
        assert.equal(encoding, kept.headers["content-encoding"])
        assert.is_true(#kept.body < 300)
      end
    end
  end)

  it("is opened by decode and for map_body", function()
    local plain = g:ask("GET /plain/x?pad=300000", as "br")
    assert.is_nil(plain.headers["content-encoding"])
    assert.equal(300016, #plain.body)
    local mapped = g:ask("GET /mapped/x?pad=300000", as "gzip")
    assert.equal(300000, select(2, mapped.body:gsub("y", "")))
    assert.is_nil(mapped.headers["content-encoding"])
  end)
end)
