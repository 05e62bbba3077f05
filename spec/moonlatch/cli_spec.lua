--- Answers of a gateway as text for people.
local cli = require "moonlatch.cli"

-- What cjson makes of null.
local null = newproxy()

local function answer(changes)
  local s = {
    version = "0.1.0", pid = 7, uptime = 3725.4, generation = 3, hash = "0123456789abcdef",
    loadedAt = "2024-05-06T07:08:09.123Z", stopping = false, reloads = 2, reloadFailures = 1,
    lastReload = null, notes = {}, listeners = { "0.0.0.0:80", "[::1]:81" },
    workers = {
      { index = 0, pid = 8, state = "serving", generation = 3, connections = 5, requests = 123456,
        restarts = 0 },
      { index = 1, pid = null, state = "waiting", generation = 0, connections = 0, requests = 0,
        restarts = 12 },
    },
    upstreams = {},
  }
  for name, value in pairs(changes or {}) do s[name] = value end
  return s
end

describe("moonlatch.cli", function()
  it("says how long something has lasted in two units", function()
    for seconds, text in pairs { [0] = "0 s", [59.9] = "59 s", [61] = "1 min 1 s", [3600] = "1 h 0 min",
                                 [90000] = "1 d 1 h", [8640000] = "100 d 0 h" } do
      assert.equal(text, cli.duration(seconds))
    end
    assert.equal("0 s", cli.duration(null))
  end)

  it("shows a status in aligned columns", function()
    assert.equal([[
moonlatch 0.1.0, pid 7, up 1 h 2 min
generation 3 (0123456789abcdef), loaded 2024-05-06T07:08:09.123Z; 2 reloads, 1 failed
listening on 0.0.0.0:80, [::1]:81

WORKER  PID  STATE    GENERATION  CONNECTIONS  REQUESTS  RESTARTS
     0    8  serving           3            5    123456         0
     1    -  waiting           0            0         0        12
]], cli.status(answer()))
  end)

  it("shows upstream servers", function()
    local text = cli.status(answer { upstreams = {
      { group = "up", server = "127.0.0.1:1", state = "up", weight = 3, inFlight = 2, requests = 10, errors = 1,
        lastError = "upstream_timeout", lastErrorAt = "2024-05-06T08:00:00.000Z",
        check = { state = "up", ago = 2.4 } },
      { group = "other", server = "unix:/x", state = "down", weight = 1, inFlight = 0, requests = 0, errors = 0,
        backup = true, listed = true, lastError = null, lastErrorAt = null, check = null },
    } })
    local lines = {}
    for line in text:gmatch("[^\n]+") do lines[line:match("^%S+") or ""] = line:gsub("%s+", " ") end
    assert.equal("up 127.0.0.1:1 up 3 2 10 1 up, 2 s ago upstream_timeout 2024-05-06T08:00:00.000Z", lines.up)
    assert.equal("other unix:/x down, backup 1 0 0 0 - - -", lines.other)
  end)

  it("tells what came of a drain", function()
    local server = { group = "up", server = "http://a:1", state = "draining", inFlight = 2 }
    assert.equal("up http://a:1 is draining, 2 in flight\n", cli.drained { server = server, changed = true })
    server.state, server.inFlight = "drained", 0
    assert.equal("up http://a:1 is drained, 0 in flight; nothing had changed\n",
                 cli.drained { server = server, changed = false })
  end)

  it("shows why the last reload failed", function()
    local text = cli.status(answer {
      lastReload = { ok = false, at = "2024-05-06T08:00:00.000Z", error = "gateway.lua:6: unexpected\ntoo" },
      notes = { "workers: a restart is needed" },
    })
    assert.truthy(text:find("at 2024-05-06T08:00:00.000Z, failed:\n  gateway.lua:6: unexpected\n  too\n", 1, true))
    assert.truthy(text:find("\nnote: workers: a restart is needed\n", 1, true))
    assert.falsy(cli.status(answer { lastReload = { ok = true } }):find("failed:", 1, true))
  end)

  it("sends no escape to a terminal", function()
    local text = cli.status(answer {
      lastReload = { ok = false, at = null, error = "\27[2Jx\ry" }, listeners = { "\27]0;a\7" },
    }) .. cli.refused { error = "\27c" } .. cli.reloaded { generation = 1, hash = "\27", notes = "\27" }
    assert.falsy(text:find("[%z\1-\9\11-\31\127]"))
  end)

  it("is not upset by what is missing", function()
    assert.truthy(cli.status({}):find("^moonlatch %-"))
    assert.equal("generation 0 (-) is live\n", cli.reloaded {})
    assert.equal("\n", cli.refused {})
  end)

  it("says what became of a reload", function()
    assert.equal("generation 4 (ab) is live\n  one\n  two\n",
                 cli.reloaded { generation = 4, hash = "ab", unchanged = false, notes = "one\ntwo\n" })
    assert.equal("generation 4 (ab) is live, nothing had changed\n",
                 cli.reloaded { generation = 4, hash = "ab", unchanged = true, notes = "" })
    assert.equal("a.lua:1: x\nand more\n", cli.refused { error = "a.lua:1: x\nand more" })
  end)
end)
