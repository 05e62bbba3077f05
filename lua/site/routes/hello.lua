--- GET /hello and GET /hello/:name, answered by this script.
local gw = require "moonlatch"

gw.route("GET /hello", { respond = function()
  return gw.response(200, { hello = "world" })
end })

gw.route("GET /hello/:name", { respond = function(req)
  return gw.response(200, { hello = req.params.name })
end })
