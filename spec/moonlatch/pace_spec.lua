--- Whether a limit can be reached behind a slow_down.
local fake = require "spec.support.core"

describe("pace", function()
  local core, pace, slow_down
  before_each(function()
    core = fake.new()
    package.loaded.moonlatch = {}
    pace = require "moonlatch.pace"
    slow_down = require "middleware.slow_down"
  end)
  teardown(function() package.loaded.moonlatch = nil end)

  -- The same number, request by request.
  local function counted(conf, seconds)
    local n, at, window_end = 0, 0, conf.window
    local in_window = 0
    while at < seconds do
      if at >= window_end then in_window, window_end = 0, at + conf.window end -- it begins with a request
      n, in_window = n + 1, in_window + 1
      at = at + slow_down.delay(conf, in_window)
    end
    return n
  end

  it("is the guide's 165 requests in 15 minutes", function()
    local conf = { delay_after = 100, delay_step = 0.5, max_delay = 20, window = 900 }
    assert.equal(165, pace.requests(conf, 900))
    assert.equal(20, slow_down.delay(conf, 140))
    assert.equal(0.5, slow_down.delay(conf, 101))
    assert.equal(0, slow_down.delay(conf, 100))
  end)

  it("is what counting one by one gives, and never less over several windows", function()
    for _, after in ipairs { 0, 1, 7, 100 } do
      for _, delays in ipairs { { delay_step = 0.5 }, { delay_step = 3 }, { delay_step = 30 }, { delay_fixed = 0.5 },
                                { delay_fixed = 50 }, { delay_step = 0.001 } } do
        for _, seconds in ipairs { 1, 10, 59, 60, 61, 150 } do
          local conf = { delay_after = after, delay_step = delays.delay_step, delay_fixed = delays.delay_fixed,
                         max_delay = 20, window = 60 }
          local n, m = counted(conf, seconds), pace.requests(conf, seconds)
          assert.is_true(seconds <= conf.window and n == m or seconds > conf.window and n <= m,
                         ("%d, not %d: %s"):format(m, n, require("cjson").encode(conf) .. seconds))
        end
      end
    end
  end)

  local function steps(limit, algorithm)
    return { { label = "slow_down", line = "gateway.lua:3",
               conf = { delay_after = 100, delay_step = 0.5, max_delay = 20, window = 900 } },
             { label = "rate_limit", line = "gateway.lua:4",
               conf = { algorithm = algorithm or "fixed", limit = limit, window = 900 } } }
  end

  it("warns of a limit out of reach, once", function()
    local seen = {}
    pace.check(steps(2000), seen)
    pace.check(steps(2000), seen)
    assert.equal(1, #core.warnings)
    assert.equal("gateway.lua:3: the rate_limit of 2000 in 900 s (gateway.lua:4) can not be reached: behind this slow_down "
      .. "a client that sends one request after the other gets 165 into that time", core.warnings[1])
  end)

  it("is silent when the limit comes first, and about limits of another kind", function()
    pace.check(steps(165), {})
    pace.check(steps(2000, "concurrency"), {})
    pace.check({ steps(2000)[1] }, {})
    assert.same({}, core.warnings)
  end)
end)
