--- The auth service: users as a resource, and who the gateway says the caller is.
local gw = require "moonlatch"
local reply = require "lib.reply"
local rest = require "lib.rest"

rest.resource("/api/auth/users", { name = "user", letter = "u",
  fields = { email = { type = "string", required = true }, role = { type = "string" } },
  start = { { email = "admin@hospital.example.com", role = "admin" } } })

gw.route("GET /api/auth/me", { respond = function(req)
  local id = req:header("x-user-id")
  if not id then return reply.fail(401, "NO_USER", "Nobody is logged in") end
  return reply.ok(200, { id = id, role = req:header("x-user-role") })
end })
