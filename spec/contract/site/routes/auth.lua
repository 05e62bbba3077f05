--- /auth: the three keys of the contract, each for one algorithm.  Without them it is closed.
local gw = require "moonlatch"

local secret = gw.env("JWT_SECRET", nil)

if not secret then
  local closed = gw.error(403, "closed", "The site was started without keys")
  gw.route("* /auth", { respond = closed })
  gw.route("* /auth/*rest", { respond = closed })
  return
end

local token = { "jwt", algorithms = { "HS256", "RS256", "ES256" }, headers = { ["X-User"] = "sub" },
                required = { "exp" },
                keys = { { secret = secret, algs = "HS256" },
                         { pem = gw.file "keys/rs256.pub.pem", algs = "RS256" },
                         { pem = gw.file "keys/es256.pub.pem", algs = "ES256" } } }

gw.route("* /auth", { token, to = "up" })
gw.route("* /auth/*rest", { token, to = "up" })
