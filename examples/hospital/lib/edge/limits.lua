--- How fast one client may ask: API_RATE 10 requests a second and API_BURST 20 more at once, GRAPHQL_RATE 5
-- and GRAPHQL_BURST 10.  A refusal is 429 with the time to wait, and has the headers of CORS.
local gw = require "moonlatch"

local function limit(name, rate, burst)
  return { "rate_limit", algorithm = "gcra", name = "edge_" .. name, window = 1,
           limit = gw.env.number(name:upper() .. "_RATE", rate),
           burst = gw.env.number(name:upper() .. "_BURST", burst) + 1 } -- one, and so many more
end

return { api = limit("api", 10, 20), graphql = limit("graphql", 5, 10) }
