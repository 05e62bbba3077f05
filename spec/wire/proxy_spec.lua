--- One request through a real gateway to an upstream in the test's hand.
local gateway = require "spec.support.gateway"
local upstream = require "spec.support.upstream"

describe("a proxied request", function()
  local g, up

  setup(function()
    up = upstream.listen()
    g = gateway.start({ ["gateway.lua"] = ([[
      local gw = require "moonlatch"
      gw.listen { port = PORT, host = "127.0.0.1" }
      gw.upstream("up", { "%s" })
      gw.route("* /*rest", { to = "up" })
    ]]):format(up:url()) }, { args = { "--workers", "1" } })
  end)
  teardown(gateway.stop_all)

  it("reaches the upstream with the gateway's headers and comes back whole", function()
    local client = g:connect()
    client:send("GET /a/./b?x=1 HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
    local server = up:accept()
    local head = upstream.head(server)
    assert.equal("GET /a/b?x=1 HTTP/1.1", head:match("^[^\n]+"))
    assert.truthy(head:lower():find("\nx%-forwarded%-for: 127.0.0.1\n"))
    assert.truthy(head:lower():find("\nx%-real%-ip: 127.0.0.1"))
    server:send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Up: yes\r\n\r\nhello")
    local answer = upstream.head(client)
    assert.equal("HTTP/1.1 200 OK", answer:match("^[^\n]+"))
    assert.truthy(answer:find("X-Up: yes", 1, true))
    assert.equal("hello", (client:receive(5)))

    client:send("GET /again HTTP/1.1\r\nHost: shop.example\r\n\r\n")
    assert.equal("GET /again HTTP/1.1", upstream.head(server):match("^[^\n]+")) -- same connection
    server:send("HTTP/1.1 204 No Content\r\n\r\n")
    assert.truthy(upstream.head(client):find("^HTTP/1.1 204"))
    client:close()
    server:close()
  end)

  -- Such a body goes from socket to socket, and its last byte may have left before anybody looked.
  it("goes on with the connection after an answer that passed inside of the kernel", function()
    local body = ("z"):rep(400000)
    local client = g:connect()
    local server
    for _ = 1, 5 do
      client:send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
      server = server or up:accept()
      assert.truthy(upstream.head(server))
      server:send("HTTP/1.1 200 OK\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body)
      assert.truthy(upstream.head(client))
      assert.equal(#body, #assert(client:receive(#body)))
    end
    client:close()
    server:close()
  end)

  it("never shows an upstream what is ambiguous", function()
    for _, head in ipairs {
      "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "Content-Length: +3\r\n",
      "Transfer-Encoding: xchunked\r\n", "Content-Length : 3\r\n", "X: a\r\n folded\r\n",
    } do
      local answer = g:raw("POST / HTTP/1.1\r\nHost: a\r\n" .. head .. "\r\nabc")
      assert.truthy(answer:find("^HTTP/1.1 [45]%d%d"), head)
    end
    assert.is_nil(up:accept(0.2))
  end)

  it("says which request could not be served when the upstream is gone", function()
    up:close()
    local status, body = g:get("/x")
    assert.equal(503, status)
    assert.truthy(body:find('"requestId":"%x+"'))
  end)
end)
