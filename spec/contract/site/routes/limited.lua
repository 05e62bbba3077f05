--- /limited: ten requests a minute for each address of a client, whatever it says about itself.
local gw = require "moonlatch"

gw.group("/limited", { { "rate_limit", algorithm = "gcra", limit = 10, window = 60, burst = 10 } }, function()
  gw.route("* /*rest", { to = "up" })
end)
