--- The auth service: users as a resource, without passwords or tokens of its own.
local gw = require "moonlatch"
local rest = require "lib.rest"

rest.resource("/api/auth/users", { name = "user", letter = "u",
  fields = { email = { type = "string", required = true }, role = { type = "string" } },
  seed = { { email = "admin@hospital.example.com", role = "admin" } } })

gw.route("GET /api/auth/me", { respond = function(req)
  local id = req:header("x-user-id")
  if not id then return rest.fail(401, "UNAUTHENTICATED", "No user") end
  return gw.response(200, { success = true, data = { id = id, role = req:header("x-user-role") } })
end })
