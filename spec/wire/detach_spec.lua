-- gw.detach on the real binary: work for a request that goes on after its client was answered.
local policy = require "spec.support.policy"

describe("gw.detach", function()
  teardown(policy.stop_all)

  local top = [[
    gw.route("GET /seen", function() return gw.response(200, gw.shared("seen"):get("text") or "nothing") end)
    gw.upstream("other", { "http://127.0.0.1:PORT/up/other" }) ]]

  local function seen(g)
    local text
    policy.eventually(function()
      text = g:ask("GET /seen").body
      return text ~= "nothing"
    end, "the detached run")
    return text
  end

  it("runs the inner part again with a copy of the request, whose client has its answer already", function()
    local g = policy.start {
      top = top,
      use = [[ function(req, next)
        local seen = gw.shared "seen"
        if req.path ~= "/p/x" then return next() end
        req:set_upstream "other"
        req:set_header("X-A", "changed")
        assert(gw.detach(function(copy)
          copy:on_done(function(outcome) seen:set("text", seen:get("part") .. outcome.status) end)
          gw.sleep(0.05)
          local res = next()
          seen:set("part", ("%s %s %s %d [%s] %s "):format(copy.method, copy.path, copy.params.rest, #copy.id,
            copy:text(), res:text()))
          return res
        end))
        return gw.response(200, "answered")
      end ]],
      up = "return gw.response(201, req.path .. ' ' .. req:header 'x-a' .. ' ' .. #req:text())",
    }
    assert.equal("answered", g:ask("POST /p/x?a=1", { body = "hello", headers = "X-A: 1\r\n" }).body)
    assert.equal("POST /p/x x 32 [] /up/other/p/x changed 0 201", seen(g))
  end)

  it("reports what fails in it, and needs a request", function()
    local g = policy.start { top = top, routes = [[
      gw.route("GET /fail", { respond = function()
        gw.detach(function() error "it broke" end)
        return gw.response(200, "fine")
      end })
      gw.route("GET /alone", { respond = function()
        gw.spawn(function() gw.shared("seen"):set("text", tostring(select(2, pcall(gw.detach, function() end)))) end)
        return gw.response(200, "fine")
      end }) ]] }
    assert.equal("fine", g:ask("GET /p/fail").body)
    g:wait_for_log("it broke")
    g:ask("GET /p/alone")
    assert.truthy(seen(g):find("only while a request is handled", 1, true))
    local text, code = policy.check { routes = "gw.detach(function() end)" }
    assert.equal(1, code)
    assert.truthy(text:find("while the site is loaded", 1, true), text)
  end)

  it("has no more than 256 at a time in a worker, and ends with them", function()
    local g = policy.start { top = top, routes = [[
      gw.route("GET /many", { respond = function()
        local n, code, ok = 0, nil, nil
        repeat
          ok, code = gw.detach(function()
            gw.sleep(1000)
            return gw.response(204)
          end)
          if ok then n = n + 1 end
        until not ok or n > 1000
        return gw.response(200, n .. " " .. tostring(code))
      end }) ]] }
    assert.equal("256 overload", g:ask("GET /p/many").body)
    assert.equal("0 overload", g:ask("GET /p/many").body)
    g:save("lib/x.lua", "return 1")
    policy.eventually(function() return g:ask("GET /p/many").body == "256 overload" end, "a new generation")
    g:signal "TERM"
    assert.equal("exited", (g:wait()))
  end)
end)
