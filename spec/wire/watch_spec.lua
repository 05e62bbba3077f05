--- Every way in which a directory changes is seen, as a whole, and without waiting for the slow poll.
--
-- All sites here have poll_interval = 600: what goes live within 20 s has been told by an event.
local gateway = require "spec.support.gateway"

local main = [[
  local gw = require "moonlatch"
  gw.settings { poll_interval = 600, access_log = "off" }
  gw.listen { port = PORT, host = "127.0.0.1" }
]]

local function route(path, answer)
  return ([[require("moonlatch").route("GET %s", function()
    return require("moonlatch").response(200, "%s")
  end)]]):format(path, answer)
end

local function sh(script, ...)
  local f = gateway.folder() .. "/script"
  gateway.write(f, "set -e\n" .. script)
  local command = { "sh", f, ... }
  assert(os.execute(table.concat(command, " ") .. " >" .. f .. ".out 2>&1") == 0, gateway.read(f .. ".out"))
end

local function body(g, path)
  local answer = g:ask("GET " .. (path or "/"))
  return answer.status == 200 and answer.body or answer.status
end

local function becomes(g, expected, path)
  gateway.eventually(function() return body(g, path) == expected end, tostring(expected))
end

-- A site whose folder the test lays out itself: fill(dir, text of gateway.lua).
local function start_in(dir, fill)
  local port = gateway.free_port()
  fill((main:gsub("PORT", tostring(port))))
  local g = gateway.start({}, { dir = dir })
  g.port = port
  return g
end

describe("a change is seen when", function()
  after_each(gateway.stop_all)

  local g, dir
  local function start()
    g = gateway.start { ["gateway.lua"] = main, ["routes/a.lua"] = route("/", "one") }
    dir = g.dir
    assert.equal("one", body(g))
  end

  it("a file is written in place", function()
    start()
    gateway.write(dir .. "/routes/a.lua", route("/", "two"))
    becomes(g, "two")
  end)

  it("an editor renames a new file over it, as vim and others do", function()
    start()
    gateway.write(dir .. "/routes/4913", "") -- vim looks whether it may write here
    assert(os.remove(dir .. "/routes/4913"))
    assert(os.rename(dir .. "/routes/a.lua", dir .. "/routes/a.lua~"))
    gateway.write(dir .. "/routes/a.lua", route("/", "two"))
    assert(os.remove(dir .. "/routes/a.lua~"))
    becomes(g, "two")
    gateway.write(dir .. "/routes/.a.lua.tmp", route("/", "three"))
    assert(os.rename(dir .. "/routes/.a.lua.tmp", dir .. "/routes/a.lua"))
    becomes(g, "three")
  end)

  it("a file is added in a new folder, moved and deleted", function()
    start()
    gateway.write(dir .. "/lib/deep/er/answer.lua", 'return "deep"')
    gateway.write(dir .. "/routes/b.lua", [[
      local gw, answer = require "moonlatch", require "lib.deep.er.answer"
      gw.route("GET /b", function() return gw.response(200, answer) end)
    ]])
    becomes(g, "deep", "/b")
    gateway.write(dir .. "/lib/deep/er/answer.lua", 'return "deeper"')
    becomes(g, "deeper", "/b")
    assert(os.rename(dir .. "/lib/deep", dir .. "/lib/away"))
    g:wait_for_log("lib.deep.er.answer")
    assert.equal("deeper", body(g, "/b"))
    assert(os.remove(dir .. "/routes/b.lua"))
    becomes(g, 404, "/b")
    assert.equal("one", body(g))
  end)

  it("a broken file is mended", function()
    start()
    gateway.write(dir .. "/routes/a.lua", "local x = = 1")
    g:wait_for_log("routes/a.lua:1")
    assert.equal("one", body(g))
    assert(os.remove(dir .. "/gateway.lua"))
    g:wait_for_log("has no gateway.lua")
    assert.equal("one", body(g))
    g:save("gateway.lua", main)
    gateway.write(dir .. "/routes/a.lua", route("/", "two"))
    becomes(g, "two")
  end)

  it("a link is swapped: releases/1 -> releases/2", function()
    local base = gateway.folder()
    dir = base .. "/current"
    g = start_in(dir, function(text)
      for n = 1, 3 do
        gateway.write(("%s/releases/%d/gateway.lua"):format(base, n), text)
        gateway.write(("%s/releases/%d/routes/a.lua"):format(base, n), route("/", "release " .. n))
      end
      sh('ln -s releases/1 "$1"', dir)
    end)
    for _, n in ipairs { 2, 3, 1, 2 } do
      sh('ln -s releases/$2 "$1.new"; mv -T "$1.new" "$1"', dir, n)
      becomes(g, "release " .. n)
    end
    gateway.write(base .. "/releases/2/routes/a.lua", route("/", "edited"))
    becomes(g, "edited")
  end)

  it("the folder itself is replaced by another", function()
    local base = gateway.folder()
    dir = base .. "/site"
    local text
    g = start_in(dir, function(t)
      text = t
      gateway.write(dir .. "/gateway.lua", t)
      gateway.write(dir .. "/routes/a.lua", route("/", "first"))
    end)
    for _, answer in ipairs { "second", "third" } do
      gateway.write(base .. "/next/gateway.lua", text)
      gateway.write(base .. "/next/routes/a.lua", route("/", answer))
      sh('mv "$1/site" "$1/old"; mv "$1/next" "$1/site"; rm -r "$1/old"', base)
      becomes(g, answer)
    end
  end)

  it("Kubernetes swaps the ..data link of a ConfigMap", function()
    dir = gateway.folder()
    local text
    local function version(n)
      local data = ("%s/..2030_%d"):format(dir, n)
      gateway.write(data .. "/gateway.lua", text)
      gateway.write(data .. "/routes/a.lua", route("/", "map " .. n))
      return "..2030_" .. n
    end
    g = start_in(dir, function(t)
      text = t
      sh([[cd "$1"; ln -s "$2" ..data; ln -s ..data/gateway.lua gateway.lua; ln -s ..data/routes routes]],
         dir, version(1))
    end)
    assert.equal("map 1", body(g))
    for n = 2, 4 do -- as kubelet's atomic writer: new folder, new link over the old one, old folder away
      sh('cd "$1"; ln -s "$2" ..data_tmp; mv -T ..data_tmp ..data; rm -r ..2030_$3', dir, version(n), n - 1)
      becomes(g, "map " .. n)
    end
  end)
end)

describe("a change that no event tells, behind a link out of the site,", function()
  after_each(gateway.stop_all)

  local function start(poll_s)
    local g = gateway.start { ["gateway.lua"] = main:gsub("600", poll_s) }
    local outside = gateway.folder() .. "/a.lua"
    gateway.write(outside, route("/", "one"))
    sh('mkdir "$1/routes"; ln -s "$2" "$1/routes/a.lua"', g.dir, outside)
    becomes(g, "one")
    gateway.write(outside, route("/", "two"))
    return g
  end

  it("is found by the poll", function()
    becomes(start(0.1), "two")
  end)

  it("is found at once by SIGHUP", function()
    local g = start(600)
    g:signal("HUP")
    becomes(g, "two")
  end)

  it("is found at once by `moonlatch reload --wait`", function()
    local g = start(600)
    local _, code = g:command("reload", "--wait")
    assert.same({ 0, "two" }, { code, body(g) })
  end)
end)

describe("no change is seen when", function()
  after_each(gateway.stop_all)

  it("backup files, locks and swap files come and go, or a time stamp changes", function()
    local g = gateway.start { ["gateway.lua"] = main, ["routes/a.lua"] = route("/", "one") }
    for _, name in ipairs { "a.lua~", ".a.lua.swp", "#a.lua#", "a.lua.bak", "a.lua.orig", ".#b.lua", "note.md" } do
      gateway.write(g.dir .. "/routes/" .. name, "this is no Lua = =")
    end
    sh('ln -s nobody@nowhere.1:2 "$1/routes/.#a.lua"; touch "$1/gateway.lua" "$1/routes/a.lua"; mkdir "$1/.git"', g.dir)
    gateway.write(g.dir .. "/spec/a_spec.lua", "error 'no part of the site'")
    local text, code = g:command("reload", "--wait")
    assert.same({ 0, 1 }, { code, tonumber(text:match("^generation (%d+) .* nothing had changed")) })
    assert.falsy(g:output():find("reload failed", 1, true))
    assert.equal("one", body(g))
  end)
end)

describe("a git checkout of a branch with 20 changed files", function()
  after_each(gateway.stop_all)

  it("goes live as a whole: no request sees a mix", function()
    local base = gateway.folder()
    local dir, count = base .. "/site", 20
    local g = start_in(dir, function(text)
      local function version(n)
        for i = 1, count do gateway.write(("%s/lib/part%d.lua"):format(dir, i), ("return %q"):format(n)) end
      end
      gateway.write(dir .. "/gateway.lua", text)
      gateway.write(dir .. "/routes/a.lua", ([[
        local gw, parts = require "moonlatch", {}
        for i = 1, %d do parts[require("lib.part" .. i)] = true end
        local first = next(parts)
        local answer = next(parts, first) and "a mix" or first
        gw.route("GET /", function() return gw.response(200, answer) end)
      ]]):format(count))
      local git = 'cd "$1"; git -c init.defaultBranch=main init -q 2>/dev/null; git add .; '
                  .. 'git -c user.name=a -c user.email=a@b.example commit -qm "$2"; git checkout -qb "$3"'
      version "one"
      sh(git, dir, "one", "two")
      version "two"
      sh(git, dir, "two", "end")
    end)
    becomes(g, "two")
    local branches = { "main", "two", "main", "two", "main" }
    for _, branch in ipairs(branches) do
      local pid = gateway.spawn({ "git", "-C", dir, "checkout", "-q", branch })
      local expected, seen = branch == "main" and "one" or "two", nil
      gateway.eventually(function()
        seen = body(g)
        assert.truthy(seen == "one" or seen == "two", seen)
        return seen == expected
      end, branch)
      require("posix.sys.wait").wait(pid)
      for _ = 1, 10 do assert.equal(expected, body(g)) end -- in all workers, at once
    end
    assert.falsy(g:output():find("reload failed", 1, true))
  end)
end)
