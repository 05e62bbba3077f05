--- gw.static beside nginx: the same file, asked for under every condition and range; what differs is listed, with why.
local gateway = require "spec.support.gateway"

local OLD, NEW = "Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
local TEXT = ("0123456789abcdef"):rep(1000)

-- fields -> status here, status of nginx
local different = {
  -- RFC 9110 section 13.1.3: 304 unless the file is later than that date; for nginx, unless it is of that date
  ["If-Modified-Since: " .. NEW] = { 304, 200 },
  ["If-Modified-Since: " .. NEW .. " | Range: bytes=1-2"] = { 304, 206 },
  -- section 13.2.2: a recipient that knows entity tags does not look at the dates beside them
  ["If-None-Match: E | If-Modified-Since: " .. OLD] = { 304, 200 },
  ["If-Match: E | If-Unmodified-Since: " .. OLD] = { 200, 412 },
}

-- Requests, as lists of fields; E stands for the file's entity tag, LM for its time.
local function matrix()
  local cases = { {} }
  local function add(...) cases[#cases + 1] = { ... } end
  for _, range in ipairs { "bytes=0-0", "bytes=5-9", "bytes=-5", "bytes=15990-", "bytes=99999-", "bytes=-0", "bytes=5-2",
      "bytes=x", "bytes=0-1,5-6", "bytes=0-1,99999-", "items=0-1", "bytes=-99999", "bytes=0-", "bytes=0-99999" } do
    add("Range: " .. range)
  end
  for name, values in pairs {
    ["If-Modified-Since"] = { "LM", OLD, NEW, "x" }, ["If-Unmodified-Since"] = { "LM", OLD, NEW },
    ["If-None-Match"] = { "*", "E", "W/E", '"x"', '"x", E' }, ["If-Match"] = { "*", "E", "W/E", '"x"', '"x", E' },
  } do
    for _, value in ipairs(values) do
      add(name .. ": " .. value)
      add(name .. ": " .. value, "Range: bytes=1-2")
    end
  end
  for _, value in ipairs { "E", "W/E", '"x"', "LM", OLD, NEW } do add("If-Range: " .. value, "Range: bytes=1-2") end
  add('If-None-Match: "x"', "If-Modified-Since: LM")
  add("If-None-Match: E", "If-Modified-Since: " .. OLD)
  add("If-Match: E", "If-Unmodified-Since: " .. OLD)
  return cases
end

local function nginx()
  local base, port = gateway.folder(), gateway.free_port()
  gateway.write(base .. "/root/file.txt", TEXT)
  gateway.write(base .. "/nginx.conf", ([[
    daemon off; worker_processes 1; pid BASE/pid; error_log BASE/error.log;
    events {}
    http {
      access_log off; default_type text/plain;
      client_body_temp_path BASE/1; proxy_temp_path BASE/2; fastcgi_temp_path BASE/3; uwsgi_temp_path BASE/4;
      scgi_temp_path BASE/5;
      server { listen 127.0.0.1:PORT; root BASE/root; }
    }
  ]]):gsub("BASE", base):gsub("PORT", tostring(port)))
  os.execute(("chmod -R a+rX '%s' && touch -d '2020-01-02 03:04:05Z' '%s/root/file.txt'"):format(base, base))
  local pid = gateway.spawn({ "/usr/sbin/nginx", "-c", base .. "/nginx.conf" }, nil, base .. "/output")
  return port, pid, base .. "/root"
end

describe("gw.static and nginx", function()
  local g, port, pid
  teardown(function()
    os.execute("kill " .. pid)
    gateway.stop_all()
  end)

  setup(function()
    local root
    port, pid, root = nginx()
    g = gateway.start { ["gateway.lua"] = ([[
      local gw = require "moonlatch"
      gw.listen { host = "127.0.0.1", port = PORT }
      gw.route("GET /*path", gw.static { root = %q })
    ]]):format(root) }
    gateway.eventually(function()
      local s = require("socket").connect("127.0.0.1", port)
      return s and s:close()
    end, "nginx")
  end)

  -- what came of it, as far as both can agree: nginx's tags are its own
  local function outcome(method, fields, at, known)
    local text = {}
    for i, field in ipairs(fields) do
      text[i] = field:gsub(": LM$", ": " .. known.modified):gsub("%f[%w]E$", (known.etag:gsub("%%", "%%%%"))) .. "\r\n"
    end
    local res = g:ask(method .. " /file.txt", { port = at, headers = table.concat(text) })
    local whole = res.status == 200 or res.status == 206
    local parts = (res.headers["content-type"] or ""):find("multipart", 1, true)
    return res.status, table.concat({ res.status, res.headers["content-range"] or "-",
      whole and not parts and res.headers["content-length"] or "-", parts and "parts" or "one",
      whole and res.headers["last-modified"] or "-", whole and not parts and res.body or "-" }, " ")
  end

  local function known_of(at)
    local head = g:ask("GET /file.txt", { port = at }).headers
    return { etag = head.etag, modified = head["last-modified"] }
  end

  it("answer alike, but for what is listed", function()
    local ours, theirs, seen = known_of(g.port), known_of(port), {}
    assert.equal(theirs.modified, ours.modified)
    for _, fields in ipairs(matrix()) do
      local name = table.concat(fields, " | ")
      local status, mine = outcome("GET", fields, g.port, ours)
      local their_status, other = outcome("GET", fields, port, theirs)
      if different[name] then
        assert.same(different[name], { status, their_status }, name)
        seen[name] = true
      else
        assert.equal(other, mine, name)
      end
    end
    for name in pairs(different) do assert.is_true(seen[name], name) end
  end)

  it("answer HEAD alike, where nginx, not RFC 9110 section 14.2, knows ranges", function()
    local ours, theirs = known_of(g.port), known_of(port)
    for _, fields in ipairs(matrix()) do
      local name, rangeless = table.concat(fields, " | "), {}
      for _, field in ipairs(fields) do
        if not field:find("Range:", 1, true) then rangeless[#rangeless + 1] = field end
      end
      local status, mine = outcome("HEAD", fields, g.port, ours)
      if #rangeless < #fields then
        assert.equal(select(2, outcome("HEAD", rangeless, g.port, ours)), mine, name)
      elseif different[name] then
        assert.equal(different[name][1], status, name)
      else
        assert.equal(select(2, outcome("HEAD", fields, port, theirs)), mine, name)
      end
    end
  end)
end)
