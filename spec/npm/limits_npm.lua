-- rate_limit and slow_down beside express-rate-limit and express-slow-down.  Run by tools/npm.sh.
local cjson = require "cjson"
local gateway = require "spec.support.gateway"
local socket = require "socket"

local running = {}

-- The port of an Express application with this policy.
local function express(which, options)
  local file = gateway.folder() .. "/port"
  local p = io.popen(("node spec/npm/limits.mjs %s '%s' > %s"):format(which, cjson.encode(options), file), "w")
  running[#running + 1] = p
  return tonumber(gateway.eventually(function() return gateway.read(file):match("^(%d+)\n") end, "express"))
end

local function ours(policy)
  return gateway.start { ["gateway.lua"] = ([[
    local gw = require "moonlatch"
    gw.listen { host = "127.0.0.1", port = PORT }
    gw.use { %s }
    gw.route("* /", { respond = function() return gw.response(200, "ok") end })
    gw.route("GET /health", function() return gw.response(200, "ok") end)
  ]]):format(policy) }
end

local function stop_all()
  for i, p in ipairs(running) do
    p:close()
    running[i] = nil
  end
  gateway.stop_all()
end

-- What of an answer is compared: docs/compared/rate_limit.md says what is not.
local function summary(res)
  local it = { status = res.status }
  for name, value in pairs(res.headers) do
    if name:find("ratelimit") or name == "retry-after" then it[name] = value:gsub("; pk=:[^:]*:", "") end
  end
  if res.status == 429 or res.status == 503 then
    it.body, it.json = res.body, res.headers["content-type"]:find("^application/json") ~= nil
  end
  return it
end

local message = { error = "x" }
local configurations = {
  { {}, "" },
  { { limit = 1 }, "" },
  { { windowMs = 1500 }, "" },
  { { windowMs = 900000, limit = 2000 }, "" },
  { { standardHeaders = "draft-8" }, ', headers = "draft8"' },
  { { standardHeaders = "draft-8", windowMs = 7200000 }, ', headers = "draft8"' },
  { { standardHeaders = false, legacyHeaders = true }, ', headers = "legacy"' },
  { { statusCode = 503 }, ", status = 503" },
  { { message = "slow" }, ', body = "slow"' },
  { { skip = "/health" }, ', skip = { "/health" }' },
  { { key = "x-key" }, ', key = function(req) return req:header("x-key") or "none" end' },
}
local requests = { "GET /", "GET /", "GET /", "GET /", "GET /", "GET /", "GET /", "HEAD /", "POST /", "GET /health",
                   "GET /nowhere", { "GET /", { headers = "X-Key: b\r\n" } } }

-- The whole second of a reset may lie between the two answers.
local function same(a, b)
  for name, value in pairs(a) do
    local other = b[name]
    if name == "x-ratelimit-reset" then
      assert.is_true(math.abs(tonumber(value) - tonumber(other)) <= 1)
      a[name] = other
    end
  end
  assert.same(a, b)
end

describe("beside npm's express-rate-limit", function()
  after_each(stop_all)
  for n, c in ipairs(configurations) do
    it("equal answers, configuration " .. n, function()
      local options = { windowMs = 60000, limit = 5, standardHeaders = true, message = message }
      for name, value in pairs(c[1]) do options[name] = value end
      local body = c[2]:find("body") and "" or ', body = { error = "x" }'
      local g = ours(('{ "rate_limit", limit = %d, window = %g%s%s }'):format(options.limit, options.windowMs / 1000,
                                                                              body, c[2]))
      local port = express("rate", options)
      for _, what in ipairs(requests) do
        local line, opts = what, {}
        if type(what) == "table" then line, opts = what[1], { headers = what[2].headers } end
        local here = summary(g:ask(line, opts))
        opts.port = port
        same(summary(g:ask(line, opts)), here)
      end
    end)
  end
end)

describe("beside npm's express-slow-down", function()
  after_each(stop_all)

  local function times(g, port)
    local list = {}
    for i = 1, 7 do
      local begin = socket.gettime()
      assert.equal(200, g:ask("GET /", { port = port }).status)
      list[i] = socket.gettime() - begin
    end
    return list
  end

  for which, policy in pairs {
    slow1 = "delay_step = 0.1, max_delay = 0.25", slow3 = "delay_fixed = 0.1, max_delay = 0.25",
  } do
    it(which .. ": the same delays", function()
      local g = ours(('{ "slow_down", delay_after = 2, window = 60, %s }'):format(policy))
      local port = express(which, { windowMs = 60000, delayAfter = 2, delayMs = 100, maxDelayMs = 250 })
      g:ask("GET /nowhere", { port = port, headers = "X-Warm: up\r\n" }) -- both: the first one compiles
      g:ask("GET /nowhere")
      local theirs, here = times(g, port), times(g)
      for i = 1, 7 do
        assert.is_true(math.abs(theirs[i] - here[i]) < 0.09, i .. ": " .. theirs[i] .. " and " .. here[i])
      end
    end)
  end
end)
