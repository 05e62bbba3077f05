--- Requests and answers as tests write and read them; the same for simulated and real connections.
local native = require "moonlatch.test_native"

local M = {}

local any_case = { __index = function(t, name)
  return type(name) == "string" and rawget(t, name:lower()) or nil
end }

--- A table of fields that is asked in any case.  Values of repeated fields are joined by ", ", those of
-- Set-Cookie by newlines.
-- @param list of names and values by turns
function M.fields(list)
  local fields = {}
  for i = 1, #list, 2 do
    local name, value = list[i]:lower(), list[i + 1]
    local before = fields[name]
    fields[name] = before and before .. (name == "set-cookie" and "\n" or ", ") .. value or value
  end
  return setmetatable(fields, any_case)
end

local function decoded(body)
  local value, why = native.json_decode(body)
  if why then error("the body is no JSON: " .. why .. ": " .. body, 3) end
  return value
end

local function add_field(lines, name, value)
  if type(value) == "table" then
    for _, each in ipairs(value) do add_field(lines, name, each) end
  else
    lines[#lines + 1] = name .. ": " .. tostring(value) .. "\r\n"
  end
end

local function has(headers, name)
  for key in pairs(headers) do
    if key:lower() == name then return true end
  end
end

-- Text of a body that may be a table, and whether it is JSON.
local function text_of(body)
  if type(body) ~= "table" then return body and tostring(body), false end
  local text, why = native.json_encode(body)
  if not text then error("the body can not be JSON: " .. why, 4) end
  return text, true
end

local request_options = { method = true, path = true, headers = true, body = true, json = true, ip = true,
                          host = true, port = true, next = true }

--- The bytes of a request.
-- @param r { method = "GET", path = "/", host =, headers = {}, body = text, json = value }
function M.request(r)
  for key in pairs(r) do
    if not request_options[key] then error(("unknown option %s of a request"):format(tostring(key)), 4) end
  end
  local headers, body = r.headers or {}, r.body
  if r.json ~= nil then body = assert(native.json_encode(r.json)) end
  local lines = { ("%s %s HTTP/1.1\r\n"):format(r.method or "GET", r.path or "/") }
  if not has(headers, "host") then add_field(lines, "Host", r.host or "localhost") end
  if r.json ~= nil and not has(headers, "content-type") then
    add_field(lines, "Content-Type", "application/json")
  end
  if body and not has(headers, "content-length") and not has(headers, "transfer-encoding") then
    add_field(lines, "Content-Length", #body)
  end
  for name, value in pairs(headers) do add_field(lines, name, value) end
  return table.concat(lines) .. "\r\n" .. (body or "")
end

--- The bytes of an answer; a table as body becomes JSON.
function M.response(status, body, headers, method)
  headers = headers or {}
  local text, json = text_of(body)
  local lines = { ("HTTP/1.1 %d \r\n"):format(status) }
  if json and not has(headers, "content-type") then add_field(lines, "Content-Type", "application/json") end
  local bare = status == 204 or status == 304
  if not bare and not has(headers, "content-length") then
    add_field(lines, "Content-Length", #(text or ""))
  end
  for name, value in pairs(headers) do add_field(lines, name, value) end
  return table.concat(lines) .. "\r\n" .. ((bare or method == "HEAD") and "" or text or "")
end

local Seen = { __index = function(t, name)
  if name == "json" and t.body ~= "" then
    t.json = decoded(t.body)
    return t.json
  end
end }

--- What an upstream saw: { method, target, path, query, headers, body, json }.
function M.seen(raw)
  raw.path, raw.query = raw.target:match("^([^?]*)%??(.*)$")
  raw.headers = M.fields(raw.headers)
  return setmetatable(raw, Seen)
end

-- ---- what decided ----

local function steps_of(text)
  local steps, open = {}, {}
  for what, name, detail in text:gmatch("([^\31]*)\31([^\31]*)\31([^\30]*)\30") do
    if what == "runs" then
      local step = { name = name, what = "stopped", at = detail ~= "handler" and detail or nil,
                     handler = detail == "handler" or nil }
      steps[#steps + 1], open[#open + 1] = step, step
    else
      local step = table.remove(open)
      step.what = what
      if step.handler then step.from = detail end
      if what == "answered" then steps.decided = step end
    end
  end
  if #open > 0 then steps.decided, steps.unfinished = nil, open[#open] end
  return steps
end

local core_reasons = { [404] = "not_found", [405] = "method_not_allowed", [204] = "options" }

local function reason_in_body(t)
  local ok, value = pcall(native.json_decode, t.body)
  return ok and type(value) == "table" and type(value.error) == "string" and value.error
end

local function decided(t, record, steps)
  local step = steps.decided
  if not step then return "core:" .. (record.why or reason_in_body(t) or tostring(t.status)) end
  if not step.handler then return step.name end
  if step.name == "core:unmatched" then return "core:" .. (core_reasons[t.status] or t.status) end
  if step.from == "upstream" then return "upstream:" .. record.upstream end
  if step.from == "gateway" then return "core:" .. (record.why or reason_in_body(t) or tostring(t.status)) end
  return step.name
end

local lazy = {}
function lazy.json(t) return decoded(t.body) end
function lazy.trace(t)
  local steps = steps_of(t.record.trace)
  steps.decided, steps.unfinished = nil, nil
  return steps
end
function lazy.decided_by(t) return decided(t, t.record, steps_of(t.record.trace)) end
function lazy.id(t) return t.record.id ~= "" and t.record.id or t.headers["x-request-id"] end
function lazy.route(t) return t.record.route end

local Answer = { __index = function(t, name)
  local make = lazy[name]
  if not make then return nil end
  local value = make(t)
  t[name] = value
  return value
end }

--- What a client got: { status, headers, body, json, decided_by, trace, id, route }.
function M.answer(raw, record)
  raw.headers = M.fields(raw.headers)
  raw.record = record
  return setmetatable(raw, Answer)
end

return M
