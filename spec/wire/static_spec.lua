--- gw.static on the wire: which file, whether at all, how much of it, and what stays hidden.
local gateway = require "spec.support.gateway"
local socket = require "socket"

local HEAD = "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%s\r\n"

local function command(...)
  local p = io.popen(table.concat({ ... }, " ") .. " 2>&1")
  local text = p:read("*a")
  p:close()
  return text
end

local function bytes(count)
  local parts = {}
  for i = 1, math.ceil(count / 8) do parts[i] = ("%07x\n"):format(i) end
  return table.concat(parts):sub(1, count)
end

describe("gw.static", function()
  local g, public, big

  setup(function()
    local base = gateway.folder()
    local site = base .. "/site"
    public, big = site .. "/public", bytes(10 * 1024 * 1024)
    for name, text in pairs {
      ["index.html"] = "<h1>index</h1>", ["a b.txt"] = "0123456789", ["docs/index.html"] = "docs",
      ["empty/x.txt"] = "x", ["empty.css"] = "", ["app.js"] = ("alert(1);"):rep(200), ["app.js.gz"] = "gzipped",
      ["app.js.br"] = "brotli", ["404.html"] = "not here", [".env"] = "SECRET", [".well-known/x"] = "known",
      ["data.json"] = "{}", ["big.bin"] = big, ["page.html"] = "page",
    } do gateway.write(public .. "/" .. name, text) end
    gateway.write(base .. "/outside.txt", "OUTSIDE")
    os.execute(("cd '%s' && ln -s ../../outside.txt out.txt && ln -s 'a b.txt' in.txt && ln -s /etc/passwd abs.txt "
                .. "&& ln -s ../.. up && mkfifo fifo.txt"):format(public))
    os.execute(("touch -d '2020-01-02 03:04:05.5Z' '%s/a b.txt' '%s/index.html' && touch -d @0 '%s/data.json'")
               :format(public, public, public))
    g = gateway.start({ ["gateway.lua"] = [[
      local gw = require "moonlatch"
      gw.listen { port = PORT, host = "127.0.0.1", keep_slashes = true, allow_encoded_slash = true }
      gw.use { "security_headers" }
      gw.mount("static", { path = "/s/", root = "public", precompressed = true,
                           cache = { ["*.js|*.css"] = 31536000, ["*"] = "no-cache" } })
      gw.route("GET /spa/*path", gw.static { root = "public", fallback = "/index.html",
               assets = { "*.js", "/assets/*" } })
      gw.route("GET /page/*path", gw.static { root = "public", try = { "$path", "$path.html" },
               not_found = "/404.html", charset = "", types = { txt = "text/x-a" } })
      gw.route("GET /no/*path", gw.static { root = "public", symlinks = "no", dotfiles = true })
      gw.route("GET /any/*path", gw.static { root = "public", symlinks = "yes" })
      gw.route("GET /page.html", gw.static { root = "public" })
      gw.route("* /all/*path", gw.static { root = "public" })
      local files = gw.static { root = "public" }
      gw.route("GET /text/*path", function(req)
        local res = files(req)
        return gw.response(200, tostring(#res:text(20 * 1024 * 1024)))
      end)
      gw.route("GET /map/*path", function(req)
        local res = files(req)
        res:map_body(function(piece) return piece:upper() end)
        return res
      end)
      gw.route("GET /drop/*path", function(req)
        files(req)
        return gw.response(200, "dropped")
      end)
    ]] }, { dir = site, args = { "--workers", "1" } })
  end)
  teardown(gateway.stop_all)

  local function ask(target, headers, method)
    return gateway.parse(g:raw((HEAD:format(target, headers or ""):gsub("^GET", method or "GET"))))
  end

  -- Descriptors of the worker below the public directory, without the directory itself.
  local function open_files()
    local count = 0
    for line in command("ls -l", ("/proc/$(pgrep -P %d | head -1)/fd"):format(g.pid)):gmatch("[^\n]+") do
      if line:find(public .. "/", 1, true) then count = count + 1 end
    end
    return count
  end

  describe("finds", function()
    it("a file, with all that is to be said of it", function()
      local res = ask("/s/a%20b.txt")
      assert.equal(200, res.status)
      assert.equal("0123456789", res.body)
      assert.equal("text/plain; charset=utf-8", res.headers["content-type"])
      assert.equal("10", res.headers["content-length"])
      assert.equal("Thu, 02 Jan 2020 03:04:05 GMT", res.headers["last-modified"])
      assert.matches('^"%x+%-a"$', res.headers.etag)
      assert.equal("bytes", res.headers["accept-ranges"])
      assert.equal("no-cache", res.headers["cache-control"])
      assert.is_nil(res.headers.vary)
    end)
    it("an index, and sends a directory without slash there", function()
      assert.equal("docs", ask("/s/docs/").body)
      assert.equal("<h1>index</h1>", ask("/s/").body)
      local res = ask("/s/docs?a=1&b")
      assert.equal(301, res.status)
      assert.equal("/s/docs/?a=1&b", res.headers.location)
      assert.equal("/s/", ask("/s").headers.location)
    end)
    it("nothing in a directory without index, and makes no list of it", function()
      assert.equal(404, ask("/s/empty/").status)
      assert.equal(404, ask("/s/empty").status)
    end)
    it("no file where a directory is meant", function()
      assert.equal(404, ask("/s/app.js/").status)
      assert.equal(404, ask("/s/app.js/x").status)
    end)
    it("an empty file", function()
      local res = ask("/s/empty.css", "Range: bytes=0-\r\n")
      assert.same({ 200, "", "0" }, { res.status, res.body, res.headers["content-length"] })
    end)
    it("the whole path of a route without *rest", function()
      assert.equal("page", ask("/page.html").body)
    end)
    it("the fallback for what is missing, but for assets", function()
      assert.equal("<h1>index</h1>", ask("/spa/some/where").body)
      assert.equal("0123456789", ask("/spa/a%20b.txt").body)
      assert.equal(404, ask("/spa/none.js").status)
      assert.equal(404, ask("/spa/assets/none.png").status)
    end)
    it("names with an ending, and a page for 404", function()
      assert.equal("page", ask("/page/page").body)
      local res = ask("/page/none", "Range: bytes=0-1\r\nIf-None-Match: *\r\n")
      assert.same({ 404, "not here", "text/html" }, { res.status, res.body, res.headers["content-type"] })
      assert.equal("text/x-a", ask("/page/a%20b.txt").headers["content-type"])
    end)
    it("neither tag nor time for a file whose time nobody set", function()
      local res = ask("/s/data.json")
      assert.is_nil(res.headers.etag)
      assert.is_nil(res.headers["last-modified"])
      assert.equal("application/json", res.headers["content-type"])
    end)
  end)

  describe("hides", function()
    it("what is outside, however it is spelled", function()
      for _, target in ipairs { "/s/../outside.txt", "/s/..%2foutside.txt", "/s/%2e%2e/outside.txt",
          "/s/..%2f..%2foutside.txt", "/s/docs/..%2f..%2f..%2foutside.txt", "/s/..%5coutside.txt",
          "/s/out.txt", "/s/abs.txt", "/s/up/outside.txt", "/s/%2fetc/passwd", "/s//etc/passwd",
          "/s/a%20b.txt%00.html", "/no/out.txt", "/no/in.txt", "/no/up/outside.txt" } do
        local res = ask(target)
        assert.is_true(res.status == 404 or res.status == 400, target .. " " .. res.status)
        assert.is_nil(res.body:find("OUTSIDE"))
      end
    end)
    it("links as it is told", function()
      assert.equal("0123456789", ask("/s/in.txt").body)
      assert.equal("OUTSIDE", ask("/any/out.txt").body)
    end)
    it("dotfiles, but for .well-known", function()
      assert.equal(404, ask("/s/.env").status)
      assert.equal(404, ask("/s/%2Eenv").status)
      assert.equal("known", ask("/s/.well-known/x").body)
      assert.equal("SECRET", ask("/no/.env").body)
    end)
    it("what is no regular file, without waiting for it", function()
      assert.equal(404, ask("/s/fifo.txt").status)
      assert.equal(404, ask("/any/fifo.txt").status)
    end)
    it("other hosts from redirects", function()
      os.execute(("mkdir -p '%s/evil.test' && cp '%s/index.html' '%s/evil.test'"):format(public, public, public))
      for _, target in ipairs { "//all/evil.test", "/all//evil.test", "//evil.test/all/../all/evil.test" } do
        local res = ask(target)
        assert.is_nil((res.headers.location or ""):find("^[/\\][/\\]"), target)
      end
      assert.equal("/all/evil.test/", ask("/all/evil.test").headers.location)
    end)
  end)

  describe("answers", function()
    it("HEAD like GET, without the bytes", function()
      local get, head = ask("/s/big.bin"), ask("/s/big.bin", "Range: bytes=0-1\r\n", "HEAD")
      assert.equal(200, head.status)
      assert.equal("", head.body)
      for _, name in ipairs { "content-length", "etag", "last-modified", "content-type", "cache-control" } do
        assert.equal(get.headers[name], head.headers[name])
      end
    end)
    it("405 with Allow for other methods", function()
      local res = ask("/all/index.html", "Content-Length: 0\r\n", "POST")
      assert.same({ 405, "GET, HEAD" }, { res.status, res.headers.allow })
      res = ask("/s/index.html", nil, "DELETE")
      assert.same({ 405, "GET, HEAD, OPTIONS" }, { res.status, res.headers.allow })
    end)
    it("with the fields of policies, whatever it answers", function()
      local tag = ask("/s/index.html").headers.etag
      for target, headers in pairs { ["/s/index.html"] = "", ["/s/app.js"] = "Accept-Encoding: br\r\n",
          ["/s/none"] = "", ["/s/docs"] = "", ["/s/.env"] = "" } do
        assert.equal("nosniff", ask(target, headers).headers["x-content-type-options"])
      end
      for _, headers in ipairs { "If-None-Match: " .. tag .. "\r\n", 'If-Match: "x"\r\n', "Range: bytes=99-\r\n",
                                 "Range: bytes=0-1\r\n" } do
        assert.equal("nosniff", ask("/s/index.html", headers).headers["x-content-type-options"])
      end
    end)
    it("with what was compressed before, to who takes it", function()
      local function coded(accept)
        local res = ask("/s/app.js", accept and "Accept-Encoding: " .. accept .. "\r\n")
        assert.equal("Accept-Encoding", res.headers.vary)
        assert.equal("text/javascript; charset=utf-8", res.headers["content-type"])
        assert.equal("max-age=31536000", res.headers["cache-control"])
        return res.headers["content-encoding"] or "none", res.headers.etag, res.body
      end
      local coding, plain_tag = coded()
      assert.equal("none", coding)
      local gzip, gzip_tag, gzip_body = coded("gzip")
      assert.same({ "gzip", "gzipped" }, { gzip, gzip_body })
      local br, br_tag = coded("gzip, br")
      assert.equal("br", br)
      assert.is_true(plain_tag ~= gzip_tag and gzip_tag ~= br_tag)
      assert.equal("gzip", (coded("br;q=0.5, gzip")))
      assert.equal("none", (coded("br;q=0, gzip;q=0")))
      assert.equal("none", (coded("identity")))
      assert.equal(304, ask("/s/app.js", "Accept-Encoding: br\r\nIf-None-Match: " .. br_tag .. "\r\n").status)
      assert.equal(200, ask("/s/app.js", "Accept-Encoding: gzip\r\nIf-None-Match: " .. br_tag .. "\r\n").status)
      local res = ask("/s/app.js", "Accept-Encoding: gzip\r\nRange: bytes=0-3\r\n")
      assert.same({ 206, "gzip", "bytes 0-3/7" }, { res.status, res.body, res.headers["content-range"] })
    end)
    it("several ranges in parts", function()
      local res = ask("/s/a%20b.txt", "Range: bytes=7-8,0-1\r\n")
      assert.equal(206, res.status)
      local boundary = res.headers["content-type"]:match("^multipart/byteranges; boundary=(%x+)$")
      local part = "\r\n--" .. boundary .. "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: "
      assert.equal(part .. "bytes 7-8/10\r\n\r\n78" .. part .. "bytes 0-1/10\r\n\r\n01\r\n--" .. boundary
                   .. "--\r\n", res.body)
      assert.equal(tostring(#res.body), res.headers["content-length"])
      assert.is_nil(res.headers["content-range"])
    end)
    it("many ranges with no more than there is", function()
      local many = {}
      for i = 1, 500 do many[i] = "0-" .. i end
      local res = ask("/s/a%20b.txt", "Range: bytes=" .. table.concat(many, ",") .. "\r\n")
      assert.same({ 200, 10 }, { res.status, #res.body })
    end)
    it("changed files at once, with another tag", function()
      gateway.write(public .. "/changing.txt", "one")
      local one = ask("/s/changing.txt")
      gateway.write(public .. "/changing.txt", "three")
      local three = ask("/s/changing.txt", "If-None-Match: " .. one.headers.etag .. "\r\n")
      assert.same({ 200, "three" }, { three.status, three.body })
      gateway.write(public .. "/new.txt", "four")
      os.rename(public .. "/new.txt", public .. "/changing.txt")
      assert.equal("four", ask("/s/changing.txt").body)
      os.remove(public .. "/changing.txt")
      assert.equal(404, ask("/s/changing.txt").status)
    end)
  end)

  describe("sends", function()
    it("a large file whole, also through memory and through scripts", function()
      assert.is_true(ask("/s/big.bin").body == big)
      assert.equal(tostring(#big), ask("/text/big.bin").body)
      assert.is_true(ask("/map/big.bin").body == big:upper())
      assert.equal("dropped", ask("/drop/big.bin").body)
      local res = ask("/s/big.bin", "Range: bytes=1000000-4999999\r\n")
      assert.is_true(res.body == big:sub(1000001, 5000000))
    end)
    it("what curl asks for", function()
      local url = ("http://127.0.0.1:%d/s/big.bin"):format(g.port)
      assert.equal(big:sub(-100), command("curl -s -r -100", url))
      assert.equal(big:sub(101, 300), command("curl -s --http1.0 -r 100-299", url))
      local copy = public .. "/../part"
      gateway.write(copy, big:sub(1, 5000000))
      command("curl -s -C - -o", copy, url)
      assert.is_true(gateway.read(copy) == big)
    end)
    it("to slow clients, of which it remembers little, and closes its files when they leave", function()
      local function rss()
        return tonumber(command(("grep VmRSS /proc/$(pgrep -P %d | head -1)/status"):format(g.pid)):match("%d+"))
      end
      ask("/s/big.bin")
      local before, clients = rss(), {}
      for i = 1, 200 do
        clients[i] = g:connect()
        if i < 200 then clients[i]:setoption("recv-buffer-size", 4096) end
        clients[i]:send(HEAD:format("/s/big.bin", ""))
      end
      for i = 1, 200 do assert(clients[i]:receive("*l")) end
      local most = tonumber(command("nm -D", gateway.binary, "2>/dev/null | grep -c __asan_init")) > 0 and 4 or 1
      if gateway.hard then most = 4 end -- it has no free lists
      assert.is_true(rss() - before < most * 8 * 1024, "it grew by " .. rss() - before .. " KB") -- ASan frees late
      local rest = clients[200]:receive("*a") -- one of them reads on
      assert.is_true(rest:sub(-#big) == big)
      for i = 1, 200 do clients[i]:close() end
      os.rename(public .. "/big.bin", public .. "/big2.bin")
      gateway.eventually(function()
        ask("/s/index.html")
        return open_files() <= 8
      end, "closed files", 40)
      os.rename(public .. "/big2.bin", public .. "/big.bin")
    end)
    it("nothing that looks whole when a file gets shorter", function()
      gateway.write(public .. "/shrinks.bin", big)
      local client = g:connect()
      client:setoption("recv-buffer-size", 4096)
      client:send(HEAD:format("/s/shrinks.bin", ""))
      assert(client:receive("*l"))
      gateway.write(public .. "/shrinks.bin", "short")
      local rest, err, part = client:receive("*a")
      assert.is_true(#(rest or part) < #big)
      assert.is_true(rest == nil or err == nil)
      client:close()
      g:wait_for_log("file_changed")
      assert.equal("short", ask("/s/shrinks.bin").body)
    end)
    it("over TLS and HTTP/2, whole, in ranges and on condition", function()
      local s = gateway.start({ ["gateway.lua"] = ([[
        local gw = require "moonlatch"
        gw.listen { port = PORT, host = "127.0.0.1", tls = "self-signed" }
        gw.route("GET /*path", gw.static { root = %q })
      ]]):format(public) })
      local url = ("https://127.0.0.1:%d/big.bin"):format(s.port)
      local sum = command("md5sum <", public .. "/big.bin")
      for _, version in ipairs { "--http1.1", "--http2" } do
        local curl = "curl -sk --max-time 30 " .. version
        assert.equal(sum, command(curl, url, "| md5sum"))
        assert.equal(big:sub(-100), command(curl, "-r -100", url))
        assert.equal(big:sub(5000001, 5070000), command(curl, "-r 5000000-5069999", url))
        local tag = command(curl, "-I", url):lower():match("\netag: ([^\r]+)")
        assert.equal("304 0", command(curl, ("-o /dev/null -w '%%{http_code} %%{size_download}' -H 'If-None-Match: %s'")
          :format(tag), url))
      end
      s:stop()
    end)
    it("to the end when the gateway is told to end", function()
      local s = gateway.start({ ["gateway.lua"] = ([[
        local gw = require "moonlatch"
        gw.listen { port = PORT, host = "127.0.0.1" }
        gw.listen { port = PORT2, host = "127.0.0.1", tls = "self-signed" }
        gw.route("GET /*path", gw.static { root = %q })
      ]]):format(public) })
      local client = s:connect()
      client:setoption("recv-buffer-size", 65536)
      client:send(HEAD:format("/big.bin", ""))
      assert(client:receive("*l"))
      local downloads = {}
      for i, version in ipairs { "--http1.1", "--http2" } do
        local out = s.base .. "/download" .. i
        downloads[i] = { out = out, p = io.popen(("curl -sk --max-time 60 --limit-rate 8M %s -o %s https://127.0.0.1:%d/big.bin")
          :format(version, out, s.ports.PORT2), "w") }
        gateway.eventually(function() return #gateway.read(out) > 0 end, "the begin of a download")
      end
      s:signal("TERM")
      s:wait_for_log('"stopping"')
      assert.is_true(client:receive("*a"):sub(-#big) == big)
      for _, download in ipairs(downloads) do
        download.p:close()
        assert.is_true(gateway.read(download.out) == big)
      end
      assert.same({ "exited", 0 }, { s:wait() })
    end)
    it("to the end while another generation takes over", function()
      local client = g:connect()
      client:send(HEAD:format("/s/big.bin", ""))
      assert(client:receive("*l"))
      gateway.write(public .. "/../lib/x.lua", "return 1") -- another generation takes over
      g:signal("HUP")
      g:wait_for_log('"generation":2')
      assert.is_true(client:receive("*a"):sub(-#big) == big)
      client:close()
    end)
  end)

  describe("is refused at load", function()
    local function complaint(options)
      local dir = gateway.folder()
      gateway.write(dir .. "/public/index.html", "x")
      gateway.write(dir .. "/gateway.lua", ([[local gw = require "moonlatch"
gw.listen { port = 8080 }
gw.route("GET /*path", gw.static %s)]]):format(options))
      return command(gateway.binary, "check", dir)
    end
    it("with file and line", function()
      for options, expected in pairs {
        ['{ root = "none" }'] = 'option "root": .*/none: No such file',
        ['{ root = "public/index.html" }'] = 'option "root": .*Not a directory',
        ["{}"] = 'option "root" is missing',
        ['{ root = "public", fallback = "index.html" }'] = "must be a file below the root",
        ['{ root = "public", fallback = "/../x" }'] = "must be a file below the root",
        ['{ root = "public", try = { "$path/x" } }'] = 'option "try"',
        ['{ root = "public", try = { "$path" }, fallback = "/a" }'] = "exclude each other",
        ['{ root = "public", index = { "a/b" } }'] = 'option "index"',
        ['{ root = "public", cache = { ["*.js"] = true } }'] = 'option "cache"',
        ['{ root = "public", cache = "a\\nb" }'] = 'option "cache"',
        ['{ root = "public", types = { [".x"] = "a/b" } }'] = 'option "types"',
        ['{ root = "public", charset = "a b" }'] = 'option "charset"',
        ['{ root = "public", symlinks = "all" }'] = 'option "symlinks" must be one of',
        ['{ root = "public", roots = 1 }'] = 'unknown option "roots"',
      } do
        local text = complaint(options)
        assert.matches("gateway%.lua:3: gw%.static: ", text)
        assert.matches(expected, text)
      end
      assert.is_nil(complaint('{ root = "public" }'):find("gateway.lua:3", 1, true))
    end)
  end)

  it("has nothing to do with the reload of the site", function()
    local before = command(gateway.binary, "status --json --control", g.control):match('"generation": ?(%d+)')
    gateway.write(public .. "/late.html", "late")
    assert.equal("late", ask("/s/late.html").body)
    socket.select(nil, nil, 0)
    assert.equal(before, command(gateway.binary, "status --json --control", g.control):match('"generation": ?(%d+)'))
  end)
end)
