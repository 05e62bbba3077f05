--- Finishes the answers that the gateway gives itself as the hospital's clients know them: JSON with its
-- character set, an ETag made of the body, and no WWW-Authenticate (what is wrong with a token is in the
-- body).
local gw = require "moonlatch"
local json_type = require "lib.json_type"

local M = { name = "own_answers" }

-- W/"length in hexadecimal digits-first 27 characters of the hash", as Express writes it.
local function etag(body)
  return ('W/"%x-%s"'):format(#body, gw.base64_encode(gw.crypto.sha1(body, "raw")):sub(1, 27))
end

--- Makes the policy.
-- @return function(req, next) -> res
function M.new()
  return function(_, next)
    local res = next()
    if res.from == "upstream" then return res end
    res:remove_header("WWW-Authenticate")
    if res:header("Content-Type") ~= "application/json" then return res end
    res:set_header("Content-Type", json_type)
    res:set_header("ETag", etag(res:text()))
    return res
  end
end

return M
