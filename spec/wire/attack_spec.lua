--- Hostile bytes of spec/wire/attacks.lua against the contract site, on the real binary.
local attacks = require "spec.wire.attacks"
local gateway = require "spec.support.gateway"
local recorder = require "spec.support.recorder"

local LAST = "GET /canary HTTP/1.1\r\nHost: canary.example\r\nConnection: close\r\n\r\n"

local function get_with(fields)
  return "GET /log HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n" .. fields .. "\r\n\r\n"
end

-- of final answers
local function statuses(bytes)
  local list = {}
  for status in bytes:gmatch("HTTP/1%.1 (%d%d%d)[ \r]") do
    if not status:find("^1") then list[#list + 1] = tonumber(status) end
  end
  return list
end

-- One file, so that each family starts one gateway only.
describe("an attack", function()
  local g, rec

  setup(function()
    rec = recorder.listen()
    local port = gateway.free_port()
    g = gateway.start({}, { dir = "spec/contract/site", args = { "--workers", "1" }, env = {
      PORT = tostring(port), UP_PORT = tostring(rec.port), DEAD_PORT = "1" } })
    g.port = port
  end)
  teardown(function()
    rec:close()
    gateway.stop_all()
  end)

  local function play(bytes, answer)
    local client = g:connect()
    client:send(bytes)
    local run = rec:serve(client, { answer = answer })
    client:close()
    assert.is_nil(rec:complaint())
    assert.is_not_nil(run.ended, "the connection was left open")
    return run
  end

  -- A stranger's request right afterwards has its own answer, on whatever connection.
  local function victim()
    local path = "/victim/" .. math.random(1e9)
    local run = play("GET " .. path .. " HTTP/1.1\r\nHost: v.example\r\nConnection: close\r\n\r\n")
    assert.equal(path, run.bytes:match("\r\nX%-Target: ([^\r]*)"))
    return run.requests[1].conn
  end

  -- The client's bytes, then one more request that only a connection in good order still answers.
  local function attack(case)
    local run = play(case[2] .. LAST)
    local want = {}
    for i = 1, #(case.forwards or {}) do want[i] = 200 end
    if case.refused or case.denied then want[#want + 1] = case.refused or case.denied end
    local goes_on = not case.refused and not case.closes
    if goes_on then want[#want + 1] = 200 end
    assert.same(want, statuses(run.bytes))
    local count = #(case.forwards or {})
    assert.equal(count + (goes_on and 1 or 0), #run.requests)
    for i, bytes in ipairs(case.forwards or {}) do
      assert.equal(bytes, run.requests[i].head .. run.requests[i].body)
    end
    victim()
  end

  for _, topic in ipairs(attacks.clients) do
    describe("on " .. topic[1], function()
      for i = 2, #topic do
        local case = topic[i]
        it(": " .. case[1] .. (case.refused and " is refused" or case.denied and " is denied" or ""), function()
          attack(case)
        end)
      end
    end)
  end

  -- A client can tell that what it got is not the whole answer.
  local function incomplete(run)
    if run.bytes == "" or run.ended ~= "closed" then return true end
    local head, body = run.bytes:match("^(.-\r\n)\r\n(.*)$")
    while head and head:find("^HTTP/1.1 1") do head, body = body:match("^(.-\r\n)\r\n(.*)$") end
    if not head then return true end
    if head:find("^HTTP/1.1 304") then return body ~= "" end
    local length = head:match("\r\nContent%-Length: (%d+)\r\n")
    if length then return #body < tonumber(length) end
    return head:find("\r\nTransfer-Encoding: chunked\r\n", 1, true) and not body:find("0\r\n\r\n$")
  end

  local function check_answer(case, run)
    if case.client == 502 then
      assert.same({ 502 }, statuses(run.bytes))
    elseif case.client == "broken" then
      assert.truthy(incomplete(run), "it looks whole: " .. run.bytes)
    else
      assert.equal(case.client, run.bytes:sub(1, #case.client))
      assert.falsy(incomplete(run), "it is not whole: " .. run.bytes)
    end
    assert.is_nil(run.bytes:find("evil", 1, true))
  end

  describe("of an upstream:", function()
    for _, case in ipairs(attacks.servers) do
      it(case[1] .. (case.kept and " is right" or " costs it the connection"), function()
        local run = play("GET /attacked HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n", function()
          return case[2], case.close and "close" or nil
        end)
        check_answer(case, run)
        assert.equal(1, #run.requests)
        assert.equal(case.kept or false, victim() == run.requests[1].conn)
        victim()
      end)
    end
  end)

  describe("on a tunnel", function()
    local UPGRADE = "GET /ws/x HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, Upgrade\r\n"
      .. "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    local SWITCH = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      .. "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    local ADMIN = "GET /admin HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"

    local function switch(bytes, more)
      return function(_, conn)
        conn.socket:send(bytes)
        return more, "close"
      end
    end

    it(": the client is told what it switched to, and has the bytes behind the head", function()
      local run = play(UPGRADE, switch(SWITCH, "\129\2hi"))
      local head, rest = run.bytes:match("^(.-\r\n)\r\n(.*)$")
      assert.truthy(head:find("\r\nUpgrade: websocket\r\n", 1, true))
      assert.truthy(head:lower():find("\r\nconnection: upgrade\r\n", 1, true))
      assert.equal("\129\2hi", rest)
      victim()
    end)

    it(": bytes sent too early belong to the tunnel or, without one, are a request like any other", function()
      local run = play(UPGRADE .. ADMIN, function(_, conn)
        conn.rest = ""
        return "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
      end)
      assert.same({ 403, 403 }, statuses(run.bytes))
      assert.equal(1, #run.requests)
      victim()
    end)

    for name, answer in pairs {
      ["to another protocol"] = SWITCH:gsub("websocket", "h2c"),
      ["in HTTP/1.0"] = SWITCH:gsub("1%.1", "1.0"),
      ["to two protocols"] = SWITCH:gsub("\r\n\r\n", "\r\nUpgrade: h2c\r\n\r\n"),
      ["without Connection"] = SWITCH:gsub("Connection: Upgrade\r\n", ""),
      ["with a length"] = SWITCH:gsub("\r\n\r\n", "\r\nContent-Length: 2\r\n\r\nhi"),
      ["in chunks"] = SWITCH:gsub("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    } do
      it(": a switch " .. name .. " is none, and the next request is policed", function()
        local run = play(UPGRADE .. ADMIN, function() return answer end)
        assert.same({ 502, 403 }, statuses(run.bytes))
        assert.equal(1, #run.requests)
        victim()
      end)
    end
  end)

  describe("on the log:", function()
    local cases = {
      ["quotes"] = get_with('User-Agent: a","statusCode":"999","x":"\\'),
      ["a terminal's escapes"] = get_with("User-Agent: \194\15531m red"),
      ["line separators"] = get_with("User-Agent: \226\128\168{\226\128\169"),
      ["text that turns around"] = get_with("User-Agent: \226\128\174gpj"),
      ["bytes that are no UTF-8"] = get_with("User-Agent: \155\192\128\237\160\128\255"),
      ["a method of escapes"] = "\27[31m /x HTTP/1.1\r\n\r\n",
      ["a target of quotes"] = 'GET /"},{"statusCode":"999 HTTP/1.1\r\nHost: a.example\r\n\r\n',
      ["credentials"] = get_with("Authorization: Bearer SECRET\r\nCookie: sid=SECRET"),
    }
    -- The log of everything so far: lines are written in batches.
    local function whole_log()
      local mark = "/mark/" .. math.random(1e9)
      play("GET " .. mark .. " HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
      return g:wait_for_log(mark .. '"')
    end

    for name, bytes in pairs(cases) do
      it(name .. " are no way out of their string", function()
        play(bytes)
        local log = whole_log()
        assert.is_nil(log:find("[%z\1-\9\11-\31\127\192\193\245-\255]"))
        assert.is_nil(log:find("\194[\128-\159]"))
        assert.is_nil(log:find("\226\128[\168-\174]"))
        assert.is_nil(log:find('"statusCode":"', 1, true))
        assert.is_nil(log:find("SECRET", 1, true))
        for line in log:gmatch("([^\n]*)\n") do assert.truthy(line:find("^{.*}$")) end
      end)
    end
  end)
end)
