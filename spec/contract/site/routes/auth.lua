--- /auth: the three keys of the contract, each for one algorithm.  Without them it is closed.
local gw = require "moonlatch"

local secret = gw.env("JWT_SECRET", nil)

if not secret then
  gw.route("* /auth/*rest", { respond = gw.error(403, "closed", "The site was started without keys") })
  return
end

gw.group("/auth", {
  { "jwt", algorithms = { "HS256", "RS256", "ES256" }, headers = { ["X-User"] = "sub" }, required = { "exp" },
    keys = { { secret = secret, algs = "HS256" },
             { pem = gw.file "keys/rs256.pub.pem", algs = "RS256" },
             { pem = gw.file "keys/es256.pub.pem", algs = "ES256" } } },
}, function()
  gw.route("* /*rest", { to = "up" })
end)
