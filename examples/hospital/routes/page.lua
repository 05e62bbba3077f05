--- The page, when the gateway is its own edge.
local gw = require "moonlatch"

if gw.env("LB_HTTPS_PORT", "") ~= "" then require("lib.edge.page").serve("edge/public") end
