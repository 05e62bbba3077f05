--- Compresses answers: brotli or gzip, as the client's Accept-Encoding says, piece by piece as they stream.
--
-- Left as they are: what is encoded already, says `Cache-Control: no-transform`, is a part of something
-- (206), is announced shorter than `min_length`, or is of no type in `types`. An answer of such a type gets
-- `Vary: Accept-Encoding` whether it was compressed or not, and a strong ETag becomes a weak one. A stream
-- whose length nobody announced is flushed whenever the upstream pauses, so events arrive at once. When
-- 1024 answers are being compressed in a worker already, others pass as they are.
--
-- Answers that hold a secret and repeat what the client sent tell the secret by their length (BREACH): leave
-- their routes out, or their types.
--
--   gw.use { { "compress", min_length = 1024, types = { "text/*", "application/json", "image/svg+xml" } } }
local gw = require "moonlatch"

local M = { name = "compress" }

local default_types = {
  "text/*", "+json", "+xml", "application/json", "application/javascript", "application/xml",
  "application/wasm", "application/vnd.ms-fontobject", "image/x-icon", "font/ttf", "font/otf",
}

local function type_complaint(list)
  for _, t in ipairs(list) do
    if not (t == "*" or t:find("^[%w!#$&^_.+-]+/%*$") or t:find("^%+[%w.-]+$")
        or t:find("^[%w!#$&^_.+-]+/[%w!#$&^_.+-]+$")) then
      return ('holds "%s": neither "type/subtype", "type/*", "+suffix" nor "*"'):format(t)
    end
  end
end

local function encoding_complaint(list)
  local seen = {}
  if #list == 0 then return "is empty" end
  for _, name in ipairs(list) do
    if name ~= "br" and name ~= "gzip" and name ~= "deflate" then
      return ('holds "%s": neither "br", "gzip" nor "deflate"'):format(name)
    end
    if seen[name] then return ('holds "%s" twice'):format(name) end
    seen[name] = true
  end
end

M.config = {
  encodings = { "list", of = "string", default = { "br", "gzip" }, check = encoding_complaint,
    doc = "What is offered; of equals for the client the first." },
  types = { "list", of = "string", default = default_types, check = type_complaint,
    doc = "Media types: \"type/subtype\", \"type/*\", \"+suffix\" or \"*\"." },
  min_length = { "size", default = 1024, unit = "bytes", doc = "Shorter answers are left as they are." },
  gzip_level = { "integer", default = 5, min = 1, max = 9, doc = "Of gzip and deflate: 1 is fast, 9 small." },
  brotli_level = { "integer", default = 4, min = 0, max = 11, doc = "Of brotli." },
}

local TYPES_MAX = 1000

-- function(Content-Type) -> may it be compressed?  Remembers what it was asked; upstreams can not fill it.
local function type_filter(types)
  local exact, families, suffixes, all = {}, {}, {}, false
  for _, t in ipairs(types) do
    t = t:lower()
    if t == "*" then all = true
    elseif t:sub(-2) == "/*" then families[t:sub(1, -2)] = true
    elseif t:sub(1, 1) == "+" then suffixes[t] = true
    else exact[t] = true end
  end
  local function decide(value)
    local t = value:match("^%s*([^;%s]*)"):lower()
    return all or exact[t] or families[t:match("^[^/]*/") or ""] or suffixes[t:match("%+[^+]*$") or ""]
      or false
  end
  local known, count = {}, 0
  return function(value)
    local answer = known[value]
    if answer == nil then
      if count == TYPES_MAX then known, count = {}, 0 end
      answer, count = decide(value), count + 1
      known[value] = answer
    end
    return answer
  end
end

local function untouchable(message)
  local control = message:header("cache-control")
  return control and control:lower():find("no%-transform") ~= nil
end

--- Makes the policy.  conf has been checked against M.config.
-- @return function(req, next) -> res
function M.new(conf)
  local wanted, vary = type_filter(conf.types), gw.fields { { "Vary", "Accept-Encoding", true } }
  local offers, min = conf.encodings, conf.min_length
  local level = { br = conf.brotli_level, gzip = conf.gzip_level, deflate = conf.gzip_level }

  local function suits(res, length)
    local status, type = res.status, res:header("content-type")
    return type and wanted(type) and (not length or length >= min)
      and status >= 200 and status ~= 204 and status ~= 206 and status ~= 304
      and not res:header("content-encoding")
  end

  return function(req, next)
    local res = next()
    local length = res:length()
    if not suits(res, length) then return res end
    vary:apply(res)
    if untouchable(res) or untouchable(req) then return res end
    local encoding = gw.accept_encoding(req:header("accept-encoding"), offers)
    if encoding then res:encode(encoding, level[encoding], length == nil) end
    return res
  end
end

return M
