--- The policy `slow_down`, on the real binary.
local policy = require "spec.support.policy"

-- Seconds that each of n requests took, one after the other.
local function times(g, n, what, headers)
  local list = {}
  for i = 1, n do
    local begin = policy.gettime()
    assert.equal(200, g:ask(what or "GET /p/x", { headers = headers }).status)
    list[i] = policy.gettime() - begin
  end
  return list
end

local function start(options, more)
  more = more or {}
  more.use = ('{ "slow_down", %s }'):format(options)
  return policy.start(more)
end

describe("slow_down", function()
  after_each(policy.stop_all)

  it("grows from request to request up to its cap, like express-slow-down 1", function()
    local t = times(start "delay_after = 2, delay_step = 0.1, max_delay = 0.25, window = 60", 7)
    local least = { 0, 0, 0.1, 0.2, 0.25, 0.25, 0.25 }
    for i, seconds in ipairs(t) do
      assert.is_true(seconds >= least[i] - 0.005 and seconds < least[i] + 0.09, i .. ": " .. seconds)
    end
  end)

  it("stays the same with delay_fixed, like express-slow-down 3", function()
    local t = times(start "delay_after = 1, delay_fixed = 0.15, window = 60", 4)
    assert.is_true(t[1] < 0.1)
    for i = 2, 4 do assert.is_true(t[i] >= 0.145 and t[i] < 0.3, i .. ": " .. t[i]) end
  end)

  it("has a window for each client, and skips", function()
    local g = start('delay_after = 1, delay_fixed = 0.2, window = 60, skip = { "/p/health" }')
    assert.is_true(times(g, 2)[2] >= 0.195)
    assert.is_true(times(g, 1, nil, "X-Forwarded-For: 192.0.2.1\r\n")[1] < 0.15)
    for _, seconds in ipairs(times(g, 3, "GET /p/health")) do assert.is_true(seconds < 0.15) end
  end)

  it("is over with its window", function()
    local g = start("delay_after = 1, delay_fixed = 0.3, window = 1")
    local begin = policy.gettime()
    assert.is_true(times(g, 2)[2] >= 0.29)
    policy.eventually(function() return policy.gettime() - begin > 1.05 end, "the window ends")
    assert.is_true(times(g, 1)[1] < 0.25)
  end)

  it("lets only so many wait, and refuses the others", function()
    local g = start("delay_after = 0, delay_fixed = 20, max_waiting = 2, window = 60")
    local a, b = g:connect(), g:connect()
    a:send("GET /p/x HTTP/1.1\r\nHost: a\r\n\r\n")
    b:send("GET /p/x HTTP/1.1\r\nHost: a\r\n\r\n")
    local c, line
    policy.eventually(function()
      c = g:connect()
      c:send("GET /p/x HTTP/1.1\r\nHost: a\r\n\r\n")
      c:settimeout(0.2)
      line = c:receive("*l")
      if not line then c:close() end -- it waits, for one of the first two was slow to come
      return line
    end, "a refusal")
    assert.equal("HTTP/1.1 503 Service Unavailable", line)
    c:close()
    a:close()
    b:close()
  end)

  it("ends the wait of a client that goes away", function()
    local g = start("delay_after = 0, delay_fixed = 20, max_waiting = 1, window = 60")
    for _ = 1, 5 do
      policy.eventually(function()
        local s = g:connect()
        s:send("GET /p/x HTTP/1.1\r\nHost: a\r\n\r\n")
        s:settimeout(0.1)
        local line = s:receive("*l")
        s:close()
        return line == nil -- it was let in, so nobody else waited any more
      end, "the place of the one that left", 5)
    end
  end)

  it("passes with a warning where it can not count", function()
    local g = start('delay_after = 0, delay_fixed = 5, key = function() error("no luck") end')
    assert.is_true(times(g, 1)[1] < 1)
    g:wait_for_log("slow_down could not count a request, which passed")
  end)

  it("wants one kind of delay", function()
    for options, wrong in pairs {
      [''] = "exactly one of delay_step and delay_fixed is needed",
      ['delay_step = 1, delay_fixed = 1'] = "exactly one of delay_step and delay_fixed is needed",
      ['delay_step = 0'] = 'option "delay_step" must be at least',
      ['delay_fixed = 1, max_waiting = 0'] = 'option "max_waiting" must be at least 1',
    } do
      local text, code = policy.check { use = ('{ "slow_down", %s }'):format(options) }
      assert.not_equal(0, code, text)
      assert.truthy(text:find('middleware "slow_down": ' .. wrong, 1, true), text)
    end
  end)

  it("check and the log warn of a rate_limit that is out of reach behind it", function()
    local pair = { use = [[ { "rate_limit", limit = 2000, window = 900 },
      { "slow_down", delay_after = 100, delay_step = 0.5, max_delay = 20, window = 900 } ]] }
    local text, code = policy.check(pair)
    assert.equal(0, code, text)
    assert.truthy(text:find("the rate_limit of 2000 in 900 s (gateway.lua:", 1, true), text)
    assert.truthy(text:find("gets 165 into that time", 1, true), text)
    policy.start(pair):wait_for_log("can not be reached: behind this slow_down")
    text = policy.check { use = [[ { "rate_limit", limit = 165, window = 900 },
      { "slow_down", delay_after = 100, delay_step = 0.5, max_delay = 20, window = 900 } ]] }
    assert.is_nil(text:find("can not be reached", 1, true), text)
  end)
end)
