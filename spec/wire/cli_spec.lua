--- The command line of the real binary: what it prints, what it refuses, its exit codes. `moonlatch test` too.
local gateway = require "spec.support.gateway"

-- Standard output, standard error and exit code of a command.
local function run(arguments, env)
  local base = gateway.folder()
  local command = ("%s '%s' %s >%s/out 2>%s/err; echo $?"):format(env or "", gateway.binary, arguments,
                                                                  base, base)
  local p = io.popen(command)
  local code = tonumber(p:read("*a"))
  p:close()
  return gateway.read(base .. "/out"), gateway.read(base .. "/err"), code
end

local function site(files)
  local dir = gateway.folder() .. "/site"
  for name, text in pairs(files) do gateway.write(dir .. "/" .. name, text) end
  return dir
end

local commands = { "run", "check", "test", "init", "reload", "status", "why", "explain",
                   "generations", "rollback", "top", "version", "help" }

describe("the command line", function()
  after_each(gateway.stop_all)

  it("explains every command", function()
    local all = run "help"
    for _, command in ipairs(commands) do
      assert.truthy(all:find("\n  " .. command .. " ", 1, true), command)
      local out, err, code = run(command .. " --help")
      assert.equal(0, code)
      assert.equal("", err)
      assert.truthy(out:find("usage: moonlatch " .. command, 1, true))
      assert.truthy(out:find("Exit codes:", 1, true))
    end
    assert.equal(all, (run "--help"))
  end)

  it("says its version", function()
    local out, _, code = run "version"
    assert.equal(0, code)
    assert.truthy(out:find("^moonlatch %d+%.%d+%.%d+\n$"))
    assert.equal(out, (run "--version"))
  end)

  it("refuses what it does not know, with a hint", function()
    for arguments, message in pairs {
      [""] = "a command is missing", frob = 'unknown command "frob"',
      ["run"] = "the site's directory is missing", ["run x --frob"] = "unknown option --frob",
      ["check a b"] = 'unexpected argument "b"', ["version x"] = 'unexpected argument "x"',
      ["run x --workers"] = "--workers needs a value", ["check x --workers 2"] = "unknown option --workers",
      ["run x --workers 0"] = "from 1 to", ["run x --workers 2x"] = "from 1 to",
      ["run x --workers=-1"] = "from 1 to", ["status --json=1"] = "--json takes no value",
      ["status --json --json"] = "given twice", ["run -x"] = "unknown option -x", ["run ''"] = "is empty",
    } do
      local out, err, code = run(arguments)
      assert.equal(2, code, arguments)
      assert.equal("", out)
      assert.truthy(err:find(message, 1, true), arguments .. ": " .. err)
    end
  end)

  it("says when no gateway is running", function()
    local dir = gateway.folder()
    for _, arguments in ipairs { "status ", "reload ", "status --json ", "reload --wait " } do
      local out, err, code = run(arguments .. dir)
      assert.equal(4, code)
      assert.equal("", out)
      assert.truthy(err:find("no gateway is running for " .. dir, 1, true))
    end
    assert.equal(4, (select(3, run("status --control " .. dir .. "/none.sock"))))
    assert.equal(4, (select(3, run("status", "MOONLATCH_CONTROL=" .. dir .. "/none.sock"))))
  end)
end)

describe("check", function()
  after_each(gateway.stop_all)

  it("says that a site is fine, and the hash of its content", function()
    local dir = site { ["gateway.lua"] = [[
      local gw = require "moonlatch"
      gw.listen { host = "127.0.0.1", port = 18080 }
      gw.route("GET /", { respond = function() return gw.response(200, "x") end })
    ]] }
    local out, err, code = run("check " .. dir)
    assert.equal("", err)
    assert.equal(0, code)
    assert.truthy(out:find(": ok, 1 route, listens on 127.0.0.1:18080, content %x+\n$"), out)
  end)

  it("names file and line of what is wrong", function()
    local dir = site { ["gateway.lua"] = "local gw = require 'moonlatch'\ngw.listen { prot = 1 }\n" }
    local out, err, code = run("check " .. dir)
    assert.equal(1, code)
    assert.equal("", out)
    assert.truthy(err:find("gateway.lua:2: ", 1, true), err)
  end)

  it("names what cannot be read", function()
    local dir = gateway.folder()
    local _, err, code = run("check " .. dir .. "/nothing")
    assert.equal(1, code)
    assert.truthy(err:find(dir .. "/nothing: there is no such directory", 1, true))
    _, err, code = run("check " .. dir)
    assert.equal(1, code)
    assert.truthy(err:find(dir .. " has no gateway.lua", 1, true))
  end)

  it("survives a site that never ends or crashes its process", function()
    local dir = site { ["gateway.lua"] = "local s = 'x'\nwhile true do s = s .. s end\n" }
    local _, err, code = run("check " .. dir)
    assert.equal(1, code)
    assert.truthy(err ~= "")
  end)
end)

describe("test", function()
  it("says what is missing", function()
    local _, err, code = run("test")
    assert.equal(2, code)
    assert.truthy(err:find("directory is missing", 1, true))
    _, err, code = run("test /no/such/site")
    assert.equal(3, code)
    assert.truthy(err:find("cannot use /no/such/site", 1, true))
  end)
end)

describe("init", function()
  after_each(gateway.stop_all)

  it("writes a site that loads, passes its tests and the linter", function()
    local dir = gateway.folder() .. "/shop"
    local out = run("init " .. dir)
    assert.truthy(out:find("moonlatch run " .. dir, 1, true))
    local _, err, code = run("check " .. dir)
    assert.equal("", err)
    assert.equal(0, code)
    local cd = "cd " .. dir .. " && "
    assert.equal(0, os.execute(cd .. "luacheck --quiet . >/dev/null"))
    out, err, code = run("test " .. dir .. " --output=TAP")
    assert.equal("", err)
    assert.equal(0, code)
    assert.truthy(out:find("1..3", 1, true), out)
  end)

  it("writes a spec that fails when the site does", function()
    local dir = gateway.folder() .. "/shop"
    run("init " .. dir)
    gateway.write(dir .. "/routes/hello.lua", "")
    local out, _, code = run("test " .. dir .. " --output=TAP")
    assert.not_equal(0, code)
    assert.truthy(out:find("not ok 1 - the site greets", 1, true), out)
  end)

  it("serves", function()
    local dir, port = gateway.folder() .. "/shop", gateway.free_port()
    run("init " .. dir)
    local g = gateway.start({}, { dir = dir, env = { PORT = tostring(port) } })
    local status, body, head = g:get("/hello/you", nil, port)
    assert.equal(200, status)
    assert.equal('{"hello":"you"}', body)
    assert.truthy(head:lower():find("x-served-by: moonlatch", 1, true))
  end)

  it("does not write into a directory that is not empty, unless it is forced", function()
    local dir = site { ["gateway.lua"] = "mine" }
    local _, err, code = run("init " .. dir)
    assert.equal(1, code)
    assert.truthy(err:find("is not empty", 1, true))
    assert.equal("mine", gateway.read(dir .. "/gateway.lua"))
    assert.equal("", gateway.read(dir .. "/routes/hello.lua"))
    assert.equal(0, (select(3, run("init --force " .. dir))))
    assert.truthy(gateway.read(dir .. "/gateway.lua"):find("gw.listen", 1, true))
  end)
end)

describe("a running gateway", function()
  after_each(gateway.stop_all)

  local function answering(text)
    return ([[
      local gw = require "moonlatch"
      gw.listen { port = PORT, host = "127.0.0.1" }
      gw.route("GET /", { respond = function() return gw.response(200, "%s") end })
    ]]):format(text)
  end

  it("is found by its directory, and only once at the same socket", function()
    local g = gateway.start { ["gateway.lua"] = answering "one" }
    local out, _, code = run("status --control " .. g.control)
    assert.equal(0, code)
    assert.truthy(out:find("listening on .*127%.0%.0%.1:" .. g.port))
    assert.truthy(out:find("\nWORKER ", 1, true))
    local _, err
    _, err, code = run("run " .. g.dir .. " --control " .. g.control)
    assert.equal(3, code)
    assert.truthy(err:find("already running", 1, true) or err:find("in use", 1, true), err)
  end)

  it("says what became of a reload", function()
    local g = gateway.start { ["gateway.lua"] = answering "one" }
    gateway.write(g.dir .. "/routes/a.lua", "local gw = require 'moonlatch'\n"
      .. "gw.route('GET /a', { respond = function() return gw.response(200, 'a') end })\n")
    local out, code = g:command("reload", "--wait")
    assert.equal(0, code, out)
    assert.truthy(out:find("^generation %d+ %(%x+%) is live"), out)
    assert.equal("a", (select(2, g:get("/a"))))
    g:save("routes/a.lua", "local x = = 1\n")
    out, code = g:command("reload", "--wait")
    assert.equal(1, code)
    assert.truthy(out:find("routes/a.lua:1", 1, true), out)
    assert.equal("a", (select(2, g:get("/a"))))
    out = g:command("status")
    assert.truthy(out:find("failed:\n  routes/a.lua:1", 1, true), out)
    out, code = g:command("reload")
    assert.equal(0, code)
    assert.equal("", out)
  end)
end)
