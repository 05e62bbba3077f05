--- An upstream in the hand of a test: what it answers, and what it was asked.
local message = require "moonlatch.test_message"

local Stub = {}
Stub.__index = Stub

local failures = { timeout = "accept", refused = "refuse", reset = "reset" }

--- @param name for messages
-- @param set_mode function(mode) "accept" | "refuse" | "reset": what the network does
-- @param mode that it has at first
function Stub.new(name, set_mode, mode)
  local self = setmetatable({ name = name, set_mode = set_mode, wait_s = 0, calls = 0, requests = {} }, Stub)
  self:reply(200, "")
  set_mode(mode)
  return self
end

local function become(self, mode, answer)
  self.failure, self.answer = nil, answer
  self.set_mode(mode)
  return self
end

--- Answers every request like this; a table as body becomes JSON.
function Stub:reply(status, body, headers)
  return become(self, "accept", function() return status, body, headers end)
end

--- Answers with what fn(req) -> status, body, headers says.
function Stub:handler(fn)
  if type(fn) ~= "function" then error("handler: a function(req) -> status, body, headers is expected", 2) end
  return become(self, "accept", fn)
end

--- Fails: "timeout" (takes the request, never answers), "refused" (no connection), "reset" (the connection
-- breaks after the request).
function Stub:fail(how)
  local mode = failures[how]
  if not mode then error('fail: "timeout", "refused" or "reset"', 2) end
  become(self, mode, self.answer)
  self.failure = how
  return self
end

--- Answers that many seconds later; nobody waits for real.
function Stub:delay(seconds)
  if type(seconds) ~= "number" or seconds < 0 then error("delay: seconds", 2) end
  self.wait_s = seconds
  return self
end

--- Forgets what was asked.
function Stub:clear()
  self.calls, self.last, self.requests = 0, nil, {}
  return self
end

--- A request came.  The bytes of the answer, or nil and "silent" or "reset".
function Stub:take(raw)
  local req = message.seen(raw)
  self.calls, self.last = self.calls + 1, req
  self.requests[self.calls] = req
  if self.failure then return nil, self.failure == "reset" and "reset" or "silent" end
  return message.response(self:answer_to(req))
end

function Stub:answer_to(req)
  local status, body, headers = self.answer(req)
  if type(status) ~= "number" then
    error(("the handler of %s returned no status, but %s"):format(self.name, type(status)), 0)
  end
  return status, body, headers, req.method
end

return Stub
