local fake = require "spec.support.core"

describe("gateway.lua", function()
  local core

  local function load(text)
    core = fake.load { ["gateway.lua"] = 'local gw = require "moonlatch"\n' .. text }
    return core
  end
  local function fails(message, text)
    local ok, wrong = pcall(load, text)
    assert.is_false(ok, text)
    assert.equal("gateway.lua:2: " .. message, wrong)
  end

  describe("gw.settings", function()
    it("gives checked values to the core", function()
      load 'gw.settings { workers = 2, script_memory = "8388608", shutdown_delay = "1.5", log_level = "warn" }'
      local given = core.settings_given
      assert.same({ 2, 8388608, 1.5, "warn", {} },
        { given.workers, given.script_memory, given.shutdown_delay, given.log_level, given.unsafe_files })
    end)

    it("makes the settings of logs flat", function()
      load 'gw.settings { access_log = { path = "a", sample = 0.25, level = "warn" }, redact = { "X-A" } }'
      local given = core.settings_given
      assert.same({ "a", 0.75, "warn", "auto" },
        { given.access_log, given.access.skip, given.access.level, given.access.format })
      assert.same({ "x-a\0", {}, true }, { given.redact, given.redact_query, given.redact_defaults })
      load 'gw.settings { access_log = "off" }'
      assert.equal("off", core.settings_given.access_log)
    end)

    it("fails for what is wrong with logs", function()
      fails('gw.settings: access_log: unknown option "sampel" (did you mean "sample"?)',
        "gw.settings { access_log = { sampel = 1 } }")
      fails("gw.settings: access_log: path and syslog exclude each other",
        'gw.settings { access_log = { path = "a", syslog = "unix:/dev/log" } }')
      fails("gw.settings: access_log: request_headers: names of headers are expected",
        "gw.settings { access_log = { request_headers = { 1 } } }")
      fails('gw.settings: redact: option "query" must be a list, not string',
        'gw.settings { redact = { query = "a" } }')
    end)

    it("fails for what is wrong, with the line", function()
      fails('gw.settings: unknown option "worker" (did you mean "workers"?)', "gw.settings { worker = 1 }")
      fails('gw.settings: option "workers" must be at least 1', "gw.settings { workers = 0 }")
      fails('gw.settings: option "log_level" must be one of "debug", "info", "warn", "error"',
            'gw.settings { log_level = "loud" }')
      fails('gw.settings: option "unsafe_files" element 1 must be a string, not 1',
            "gw.settings { unsafe_files = { 1 } }")
    end)

    it("opens files by name", function()
      local files = { ["gateway.lua"] = 'require("moonlatch").settings { unsafe_files = { "lib/a.lua" } } '
                        .. 'found = require "lib.a"', ["lib/a.lua"] = "return io ~= nil" }
      local _, loader = fake.load(files)
      assert.is_true(loader.env.found)
      files["gateway.lua"] = 'found = require "lib.a"'
      assert.has_error(function() fake.load(files) end)
    end)
  end)

  describe("gw.listen", function()
    it("gives limits and timeouts as flat values", function()
      load 'gw.listen { port = "80", limits = { body = 10 }, timeouts = { idle = 5 }, trusted_proxies = { "::1" } }'
      local conf = core.listeners[1]
      assert.equal(80, conf.port)
      assert.equal(10, conf.limit_body)
      assert.equal(5, conf.timeout_idle)
      assert.same({ "::1" }, conf.trusted_proxies)
    end)

    it("fails for what is wrong", function()
      fails('gw.listen: option "port" is missing', "gw.listen {}")
      fails('gw.listen: option "port" must be a port number (0 to 65535), not 65536', "gw.listen { port = 65536 }")
      fails('gw.listen: limits: unknown option "bodi" (did you mean "body"?)',
            "gw.listen { port = 1, limits = { bodi = 1 } }")
      fails('gw.listen: timeouts: option "idle" must be a number of seconds, not string',
            'gw.listen { port = 1, timeouts = { idle = "5s" } }')
    end)

    it("says what the core refuses", function()
      local site = fake.site
      local real = fake.new
      fake.new = function(...)
        local c = real(...)
        c.refusal = "no such address"
        return c
      end
      finally(function() fake.new, fake.site = real, site end)
      fails("gw.listen: no such address", "gw.listen { port = 1 }")
    end)
  end)

  describe("gw.upstream", function()
    it("gives servers with weights, and options, to the core", function()
      load [[gw.upstream("u", { "http://a", { url = "http://b", weight = 3 }, balance = "least_conn",
                                retries = 1, limits = { head = 1000 } })]]
      local conf = core.groups[1]
      assert.equal("u", conf.name)
      assert.same({ { url = "http://a", weight = 1 }, { url = "http://b", weight = 3 } }, conf.servers)
      assert.equal("least_conn", conf.balance)
      assert.equal(1000, conf.limit_head)
    end)

    it("fails for what is wrong", function()
      fails('gw.upstream("u"): unknown option "balanc" (did you mean "balance"?)',
            'gw.upstream("u", { "http://a", balanc = "p2c" })')
      fails('gw.upstream("u"): option "balance" must be one of "round_robin", "least_conn", "hash", "p2c"',
            'gw.upstream("u", { "http://a", balance = "random" })')
      fails('gw.upstream("u"): server 2: option "weight" must be at least 1',
            'gw.upstream("u", { "http://a", { url = "http://b", weight = 0 } })')
      fails('gw.upstream("u"): server 1: options must be a table', 'gw.upstream("u", { 1 })')
      fails('gw.upstream("u"): hash= needs balance = "hash"', 'gw.upstream("u", { "http://a", hash = "ip" })')
      fails('gw.upstream("u"): option "hash" must be "ip", "path", "header:NAME", "cookie:NAME", "param:NAME", '
            .. '"query:NAME" or a function', 'gw.upstream("u", { "http://a", balance = "hash", hash = "x" })')
      fails("gw.upstream: the name must be a string", "gw.upstream({})")
      fails('gw.upstream("u"): a table with servers is expected', 'gw.upstream("u")')
    end)

    it("can not be there twice", function()
      local ok, wrong = pcall(load, 'gw.upstream("u", { "http://a" })\ngw.upstream("u", { "http://a" })')
      assert.is_false(ok)
      assert.equal('gateway.lua:3: gw.upstream("u"): there is one with this name already, at gateway.lua:2', wrong)
    end)
  end)
end)
