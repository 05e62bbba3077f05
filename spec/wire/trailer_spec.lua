--- What stands around an answer: interim answers before it, trailers behind a body.
local gateway = require "spec.support.gateway"
local recorder = require "spec.support.recorder"

describe("between a client and an upstream", function()
  local g, rec

  setup(function()
    rec = recorder.listen { trailers = true }
    g = gateway.start({ ["gateway.lua"] = ([[
      local gw = require "moonlatch"
      gw.listen { port = PORT, host = "127.0.0.1" }
      gw.listen { port = PORT2, host = "127.0.0.1", trailers = true }
      gw.upstream("up", { "%s", preserve_host = true })
      gw.route("* /*rest", { to = "up" })
    ]]):format(rec:url()) }, { args = { "--workers", "1" } })
  end)
  teardown(function()
    rec:close()
    gateway.stop_all()
  end)

  local function play(port, bytes, answer)
    local client = g:connect(port)
    client:send(bytes)
    local run = rec:serve(client, { answer = answer })
    client:close()
    assert.is_nil(rec:complaint())
    assert.is_not_nil(run.ended)
    return run
  end

  local CHUNKED = "POST /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
  local TRAILED = "5\r\nhello\r\n0\r\nX-Sum:7\r\nContent-Length: 9\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"

  -- A chunked body, in however many chunks, and what stands behind its last one.
  local function apart(bytes)
    local parts, rest = {}, bytes:match("\r\n\r\n(.*)$")
    while true do
      local size, at = rest:match("^(%x+)\r\n()")
      size = assert(tonumber(size or "", 16), "a chunk size is expected")
      if size == 0 then return table.concat(parts), rest:sub(at) end
      parts[#parts + 1] = rest:sub(at, at + size - 1)
      assert.equal("\r\n", rest:sub(at + size, at + size + 1))
      rest = rest:sub(at + size + 2)
    end
  end

  it("trailers stay at home by default", function()
    local run = play(g.port, CHUNKED .. TRAILED, function()
      return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" .. TRAILED
    end)
    assert.is_nil(run.requests[1].conn.raw:find("X-Sum", 1, true))
    assert.is_nil(run.bytes:find("X-Sum", 1, true))
    assert.equal("hello", gateway.parse(run.bytes).body)
  end)

  it("trailers pass where the listener says so, those that are safe", function()
    local run = play(g.ports.PORT2, CHUNKED .. TRAILED, function()
      return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" .. TRAILED
    end)
    local sent = run.requests[1].conn.raw:match(".*(POST /x .*)$")
    assert.same({ "hello", "X-Sum: 7\r\n\r\n" }, { apart(sent) })
    assert.same({ "hello", "X-Sum: 7\r\n\r\n" }, { apart(run.bytes) })
  end)

  it("interim answers pass, without 100 and without fields of the connection", function()
    local answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nLink: </a>\r\nConnection: X-A\r\nX-A: 1\r\n\r\n"
      .. "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    local run = play(g.port, "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", function() return answer end)
    local want = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n"
    assert.equal(want, run.bytes:sub(1, #want))
  end)

  it("a client of HTTP/1.0 gets no interim answer", function()
    local run = play(g.port, "GET /x HTTP/1.0\r\nHost: a\r\n\r\n", function()
      return "HTTP/1.1 103 x\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    end)
    assert.equal("HTTP/1.1 200 OK\r\n", run.bytes:sub(1, 17))
  end)
end)
