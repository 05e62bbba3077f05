--- Tests of sites and policies under busted, on the gateway's own core.
--
--   local t = require "moonlatch.test"
--   it("wants a token", function()
--     local app = t.load(".", { env = { JWT_SECRET = "s" } })
--     assert.response(app:get("/api/patients/1")).has.status(401)
--     assert.equal(0, app.upstreams.patients.calls)
--   end)
--
-- The router, the chain, HTTP, JSON, limits and the rest are the program's own code, loaded as a module of
-- LuaJIT.  Only the clock, random bytes, names, connections and the environment are the test's.
local App = require "moonlatch.test_app"
local E2e = require "moonlatch.test_e2e"
local literal = require "moonlatch.test_literal"

local M = {}

M.now = 1767225600 -- 2026-01-01T00:00:00Z: when an app begins

-- False when load and policy run the real program.
M.simulated = os.getenv("MOONLATCH_TEST") ~= "e2e"

local load_options = { env = true, now = true, seed = true }

local function checked(opts, level)
  opts = opts or {}
  for key in pairs(opts) do
    if not load_options[key] then error(("unknown option %s"):format(tostring(key)), level + 1) end
  end
  return { env = opts.env or {}, now = opts.now or M.now, seed = opts.seed or 1 }
end

local function start(conf, level, real)
  if real == nil then real = not M.simulated end
  local app, why = (real and E2e or App).new(conf)
  if not app then error(why, level + 1) end
  return app
end

--- Loads a site: a directory, or a table of names and texts of files.
-- @param opts { env = {}, now = seconds since 1970, seed = number } the environment is this table alone
-- @return app; raises what `moonlatch check` would say when the site does not load
function M.load(site, opts)
  local conf = checked(opts, 2)
  if type(site) == "table" then conf.files = site else conf.dir = site end
  return start(conf, 2)
end

--- Runs the real program on the site, on free ports, in a world whose time and network are the test's: the
-- same calls, real processes and connections.  With MOONLATCH_TEST=e2e in the environment load and policy do
-- this too.
-- @param opts { dir = or files =, env = {}, now =, seed = }
function M.start(opts)
  return start({ dir = opts.dir, files = opts.files, env = opts.env or {}, now = opts.now or M.now,
                 seed = opts.seed or 1 }, 2, true)
end

local policy_site = [[
local gw = require "moonlatch"
gw.settings { log_level = "debug" }
gw.listen { port = 8080 }
gw.upstream("next", { "http://next.test", max_fails = 0, retries = 0 })
gw.use { %s }
gw.route("* /", { to = "next" })
gw.route("* /*rest", { to = "next" })
]]

local function exists(path)
  local f = io.open(path, "rb")
  if f then f:close() end
  return f ~= nil
end

-- The site that a policy belongs to, and its name there.
local function find_policy(given)
  local dir, name = given:match("^(.-)/?middleware/([^/]+)%.lua$")
  if name then return dir == "" and "." or dir, name end
  return exists("middleware/" .. given .. ".lua") and "." or nil, given
end

local function entry_of(name, conf)
  if type(conf) == "string" then
    return ("(function(o) o[1] = %q return o end)(%s)"):format(name, conf)
  end
  local entry = { name }
  for key, value in pairs(conf or {}) do entry[key] = value end
  return literal.of(entry)
end

local Policy = {}
Policy.__index = Policy

--- One policy around a next() of the test.
-- @param given name of a shipped policy, or of one in middleware/, or "path/to/site/middleware/x.lua"
-- @param conf its options: a table, or a text of Lua when there are functions in it
-- @param opts as those of load
function M.policy(given, conf, opts)
  local dir, name = find_policy(given)
  local files = { ["gateway.lua"] = policy_site:format(entry_of(name, conf)), ["routes/"] = false }
  local load_conf = checked(opts, 2)
  load_conf.dir, load_conf.files = dir, files
  local app = start(load_conf, 2)
  return setmetatable({ app = app, next = app.upstreams.next }, Policy)
end

--- Calls it: a request as for app:request, and next = function(req) -> status, body, headers.
-- @return res; p.next.calls and p.next.last tell what came through
function Policy:call(r)
  r = r or {}
  if r.next then self.next:handler(r.next) end
  return self.app:request(r)
end

function Policy:advance(seconds)
  self.app:advance(seconds)
end

require("moonlatch.test_assert").install()
require("moonlatch.test_coverage").of_environment()

return M
