--- The routes of the contract; /admin is closed in gateway.lua.
local gw = require "moonlatch"

gw.route("* /", { to = "up" })
gw.route("* /*rest", { to = "up" })
gw.route("* /ws/*rest", { to = "up", websocket = true })
gw.route("* /dead/*rest", { to = "dead" })
gw.route("* /ver/*rest", { respond = function() return gw.response(200, "v1\n") end })
gw.mount("redirect", { from = "/redir/*rest", to = "https://hospital.example.com/", status = 302, methods = "*" })

gw.group("/cors", {
  { "cors", origins = { "https://hospital.example.com", "https://admin.hospital.example.com" }, credentials = true,
    methods = { "GET", "POST", "PUT", "DELETE", "OPTIONS" }, headers = { "Authorization", "Content-Type" } },
}, function()
  gw.route("* /*rest", { to = "up" })
end)
