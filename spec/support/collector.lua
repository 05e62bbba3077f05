--- Elasticsearch or a collector of OTLP, as far as tests need one: a gateway of ours that keeps what it gets.
--
--   local c = collector.start()
--   c.url                       -- "http://127.0.0.1:PORT"
--   c:documents()               -- what was taken by the bulk API: { index =, id =, doc = }
--   c:bodies("/v1/logs")        -- decoded bodies of the requests that were taken
--   c:heads("/_bulk")           -- fields of all requests, taken or not
--   c:say { status = 503 }      -- from now on; c:say {} ends it.  hang = true: no answer; body = "text";
--                               -- item = 429 or 400, for = "text": what bulk says of documents with that text
--   c:stop()  c:again()         -- the same port
local cjson = require "cjson"
local gateway = require "spec.support.gateway"

local M = {}
local Collector = {}
Collector.__index = Collector

local site = [[
local gw = require "moonlatch"
gw.settings { access_log = "off", shared_memory = 64 * 1024 * 1024, script_budget_ms = 2000 }
gw.listen { port = PORT, limits = { body = 64 * 1024 * 1024 } }
local got = gw.shared("got")

local function keep(kind, text)
  local n = got:incr(kind, 1)
  got:set(kind .. n, text)
end

local function said() return gw.json.decode(got:get("say") or "{}") end

local function told(req)
  local say = said()
  local head = { method = req.method, path = req.path, query = req.query }
  for _, name in ipairs { "authorization", "content-type", "content-encoding", "x-tenant" } do
    head[name] = req:header(name)
  end
  keep("head" .. req.path, gw.json.encode(head))
  if say.hang then gw.sleep(600) end
  if say.status then return gw.response(say.status, say.body or { error = "so" }) end
end

gw.route("POST /__say", function(req)
  got:set("say", req:text())
  return gw.response(204)
end)
gw.route("GET /__got", function(req)
  local list, kind = {}, req.args.kind
  for i = 1, got:get(kind) or 0 do list[i] = got:get(kind .. i) end
  return gw.response(200, gw.json.encode(gw.json.array(list)))
end)
gw.route("PUT /_index_template/:name", function(req)
  local refused = told(req)
  if refused then return refused end
  keep("template", gw.json.encode { name = req.params.name, body = gw.json.decode(req:text()) })
  return gw.response(200, { acknowledged = true })
end)
gw.route("POST /_bulk", function(req)
  local text = req:text { max = 64 * 1024 * 1024 }
  local refused = told(req)
  if refused then return refused end
  local say, items, errors = said(), {}, false
  for action, doc in text:gmatch("([^\n]+)\n([^\n]+)\n") do
    local create = gw.json.decode(action).create
    local status = got:add("id" .. create._id, true) and 201 or 409
    if status == 201 and say.item and doc:find(say["for"], 1, true) then
      got:delete("id" .. create._id)
      status = say.item
    end
    if status == 201 then keep("bulk", gw.json.encode { index = create._index, id = create._id, doc = doc }) end
    errors = errors or status >= 300
    items[#items + 1] = { create = { status = status, error = status >= 300 and { type = "so" } or nil } }
  end
  keep("batch", #items)
  if say.lose then gw.sleep(600) end -- it was taken, but nobody hears of it
  if say.garbage then return gw.response(200, say.garbage) end
  return gw.response(200, { errors = errors, items = gw.json.array(items) })
end)
for _, path in ipairs { "/v1/logs", "/v1/traces" } do
  gw.route("POST " .. path, function(req)
    local text = req:text { max = 64 * 1024 * 1024 }
    local refused = told(req)
    if refused then return refused end
    keep("body" .. path, text)
    return gw.response(200, said().partial or {})
  end)
end
]]

function M.start(opts)
  local self = setmetatable({ opts = opts or {} }, Collector)
  self:again()
  return self
end

function Collector:again()
  self.gateway = gateway.start({ ["gateway.lua"] = self.port and site:gsub("PORT", self.port) or site },
    { args = { "--workers", "1" } })
  self.port = self.port or self.gateway.port
  self.gateway.port = self.port
  self.url = "http://127.0.0.1:" .. self.port
end

-- Not by force: a worker that outlives its supervisor goes on for a moment.
function Collector:stop()
  self.gateway:signal("TERM")
  self.gateway:wait()
end

function Collector:say(what)
  assert(self.gateway:ask("POST /__say", { body = cjson.encode(what) }).status == 204)
end

local function got(self, kind)
  return cjson.decode(self.gateway:ask("GET /__got?kind=" .. kind).body)
end

local function decoded(list)
  for i, text in ipairs(list) do list[i] = cjson.decode(text) end
  return list
end

function Collector:documents()
  local list = decoded(got(self, "bulk"))
  for _, it in ipairs(list) do it.doc = cjson.decode(it.doc) end
  return list
end

function Collector:templates() return decoded(got(self, "template")) end
function Collector:batches() return got(self, "batch") end
function Collector:heads(path) return decoded(got(self, "head" .. path)) end
function Collector:bodies(path) return decoded(got(self, "body" .. path)) end

--- Documents of requests for that path (all: nil), by their number.
function Collector:requests(path)
  local list = {}
  for _, it in ipairs(self:documents()) do
    if it.doc.statusCode and (not path or it.doc.url == path) then list[#list + 1] = it end
  end
  return list
end

return M
