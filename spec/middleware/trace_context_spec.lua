-- The policy `trace_context`, on the real binary.
local policy = require "spec.support.policy"

local TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
local up = [[ return gw.response(200, (req:header("traceparent") or "none") .. " "
  .. table.concat(req:header_values("tracestate"), "|")) ]]

describe("trace_context", function()
  local g
  teardown(policy.stop_all)
  setup(function() g = policy.start { use = [["trace_context"]], up = up } end)

  local function sent(headers)
    local body = g:ask("GET /p/x", { headers = headers }).body
    local trace, span, flags, state = body:match("^00%-(%x+)%-(%x+)%-(%x%x) (.*)$")
    assert.truthy(trace and #trace == 32 and #span == 16, body)
    return trace, span, flags, state
  end

  it("goes on with a trace under an id of its own", function()
    local trace, span, flags, state = sent("traceparent: 00-" .. TRACE .. "-" .. PARENT .. "-01\r\n"
      .. "tracestate: rojo=00f067aa0ba902b7,congo=t61rcWkgMzE\r\n")
    assert.equal(TRACE, trace)
    assert.not_equal(PARENT, span)
    assert.equal("01", flags)
    assert.equal("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", state)
    local _, other = sent("traceparent: 00-" .. TRACE .. "-" .. PARENT .. "-01\r\n")
    assert.not_equal(span, other)
    assert.equal("00", select(3, sent("traceparent: 00-" .. TRACE .. "-" .. PARENT .. "-00\r\n")))
    assert.equal("01", select(3, sent("traceparent: 00-" .. TRACE .. "-" .. PARENT .. "-09\r\n")))
  end)

  it("reads later versions as far as it knows them", function()
    assert.equal(TRACE, (sent("traceparent: cc-" .. TRACE .. "-" .. PARENT .. "-01-what-comes\r\n")))
    assert.equal(TRACE, (sent("traceparent: 01-" .. TRACE .. "-" .. PARENT .. "-01\r\n")))
  end)

  it("begins a trace when there is none, or a malformed one, and then drops the state", function()
    local valid = "00-" .. TRACE .. "-" .. PARENT .. "-01"
    for _, text in ipairs {
      "", "ff-" .. TRACE .. "-" .. PARENT .. "-01", "00-" .. ("0"):rep(32) .. "-" .. PARENT .. "-01",
      "00-" .. TRACE .. "-" .. ("0"):rep(16) .. "-01", valid .. "-x", valid .. "x", valid:upper(),
      "cc-" .. TRACE .. "-" .. PARENT .. "-01.x", valid:sub(1, -2), "0-" .. valid, "00-" .. TRACE .. "-01",
    } do
      local trace, _, flags, state = sent("traceparent: " .. text .. "\r\ntracestate: a=1\r\n")
      assert.not_equal(TRACE, trace, text)
      assert.equal("01", flags)
      assert.equal("", state)
    end
    local trace, _, _, state = sent("traceparent: " .. valid .. "\r\ntraceparent: " .. valid .. "\r\n")
    assert.not_equal(TRACE, trace)
    assert.equal("", state)
    assert.not_equal((sent("")), (sent("")))
  end)

  it("drops a malformed state and keeps the trace", function()
    local function state(text)
      local trace, _, _, given = sent("traceparent: 00-" .. TRACE .. "-" .. PARENT .. "-01\r\n" .. text)
      assert.equal(TRACE, trace)
      return given
    end
    assert.equal("a=1,t@sys=2", state("tracestate: a=1 , , t@sys=2\r\n"))
    assert.equal("a=1,b=2", state("tracestate: a=1\r\ntracestate: b=2\r\n"))
    local many = {}
    for i = 1, 33 do many[i] = "k" .. i .. "=v" end
    for _, text in ipairs { "a", "a=", "=1", "A=1", "a=1,a=2", "a=b=c", "1a=1", "t@=1", "@s=1", "t@1=1",
        table.concat(many, ","), "a=" .. ("x"):rep(257), ("k"):rep(257) .. "=1" } do
      assert.equal("", state("tracestate: " .. text .. "\r\n"), text)
    end
    many[33] = nil
    assert.equal(table.concat(many, ","), state("tracestate: " .. table.concat(many, ",") .. "\r\n"))
  end)

  it("samples as told, tells the client, and tells other policies", function()
    local g2 = policy.start {
      use = [[ { "trace_context", sample = 0, response_header = "traceresponse" }, function(req, next)
        local res = next()
        local t = req.ctx.trace
        res:set_header("X-Trace", ("%s %s %s"):format(t.id, t.parent or "-", tostring(t.sampled)))
        return res
      end ]], up = up }
    local res = g2:ask("GET /p/x")
    local text = res.body:match("^%S+")
    assert.equal(text, res.headers.traceresponse)
    assert.equal("00", text:sub(-2))
    assert.equal(text:sub(4, 35) .. " - false", res.headers["x-trace"])
    res = g2:ask("GET /p/x", { headers = "traceparent: 00-" .. TRACE .. "-" .. PARENT .. "-01\r\n" })
    assert.equal(TRACE .. " " .. PARENT .. " true", res.headers["x-trace"])
  end)

  it("continues the traces of some peers only when told to", function()
    local g2 = policy.start { use = [[ { "trace_context", accept_from = { "10.0.0.0/8" } } ]], up = up }
    local res = g2:ask("GET /p/x", { headers = "traceparent: 00-" .. TRACE .. "-" .. PARENT .. "-01\r\n" })
    assert.is_nil(res.body:find(TRACE, 1, true))
  end)
end)
