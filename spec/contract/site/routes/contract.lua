--- The routes of the contract.
local gw = require "moonlatch"

local function deny() return gw.error(403, "forbidden", "This path is closed") end

gw.route("* /admin", { respond = deny })
gw.route("* /admin/*rest", { respond = deny })
gw.route("* /dead/*rest", { to = "dead" })
gw.route("* /ver/*rest", { respond = function() return gw.response(200, "v1\n") end })
gw.route("* /redir/*rest", { respond = function(req)
  return gw.redirect("https://hospital.example.com/" .. req.path:sub(#"/redir/" + 1), 302)
end })
gw.route("* /", { to = "up" })
gw.route("* /*rest", { to = "up" })
