--- How the services answer: {"success": true, "data": ...} or {"success": false, "error": {...}}.
local gw = require "moonlatch"

local M = {}

--- @param more table of further members, optional
function M.ok(status, data, more, headers)
  local body = { success = true, data = data }
  for name, value in pairs(more or {}) do body[name] = value end
  return gw.response(status, body, headers)
end

--- The body of an error.
function M.failure(code, message, details)
  return { success = false, error = { code = code, message = message, details = details } }
end

--- @param code string for programs; @param message string for people
function M.fail(status, code, message, details)
  return gw.response(status, M.failure(code, message, details))
end

return M
