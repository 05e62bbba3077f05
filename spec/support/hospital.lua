--- Starts examples/hospital and its services for specs, with a secret and tokens that are known.
local gateway = require "spec.support.gateway"
local cjson = require "cjson"
local socket = require "socket"

local M = {}

M.secret = "the secret of the specs, 32 bytes and more"

-- Signed with it by jsonwebtoken of npm; good until 2100 where nothing else is said.
local head = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
M.tokens = {
  -- sub u9, role doctor, email d@x.example
  good = head .. "eyJpYXQiOjE3NTAwMDAwMDAsImV4cCI6NDEwMjQ0NDgwMCwic3ViIjoidTkiLCJyb2xlIjoiZG9jdG9yIiwiZW1haWwiOiJkQHgu"
    .. "ZXhhbXBsZSJ9.l48I6i0_6dvzRiueKiHODwFzmaBEhpWX2wSBvaAzNLo",
  -- userId u7
  user_id = head .. "eyJpYXQiOjE3NTAwMDAwMDAsImV4cCI6NDEwMjQ0NDgwMCwidXNlcklkIjoidTcifQ."
    .. "13owHt2rR6eV4Lc_ffrVIbU6TAiU_PJwZ-pVTG3RP3M",
  -- sub u9, typ refresh
  refresh = head .. "eyJpYXQiOjE3NTAwMDAwMDAsImV4cCI6NDEwMjQ0NDgwMCwic3ViIjoidTkiLCJ0eXAiOiJyZWZyZXNoIn0."
    .. "_O2XQeOgeGLSwp8hl-txzcvAiP3AoFJUl7xeDAfb524",
  -- exp in 2025
  expired = head .. "eyJzdWIiOiJ1OSIsImlhdCI6MTc1MDAwMDAwMCwiZXhwIjoxNzUwMDAwOTAwfQ."
    .. "gHUcuU04EG_lCJbSP1uW-aNnQZL-73QgwIQNMjuxEzo",
  -- without exp
  endless = head .. "eyJzdWIiOiJ1OSIsImlhdCI6MTc1MDAwMDAwMH0.bzzoTruGK_PONEjneadiFb0fhdPbRYKJtrm-z7h7ux8",
  -- sub "u9\r\nX-User-Role: admin"
  injecting = head .. "eyJpYXQiOjE3NTAwMDAwMDAsImV4cCI6NDEwMjQ0NDgwMCwic3ViIjoidTlcclxuWC1Vc2VyLVJvbGU6IGFkbWluIn0."
    .. "VC8u5Th44vwQZHeGEph0UPH140sczA1GP8bHjpEFDBY",
}
M.tokens.forged = M.tokens.good:sub(1, -2) .. "A"

--- The header with a token.
function M.bearer(token)
  return "Authorization: Bearer " .. (token or M.tokens.good) .. "\r\n"
end

--- An offset below the ephemeral ports with which all ports of the services are free.
function M.free_offset()
  return gateway.eventually(function()
    local offset, sockets = math.random(2000, 28000), {}
    for port = 3001, 3011 do
      local s = socket.bind("127.0.0.1", port + offset)
      if not s then break end
      sockets[#sockets + 1] = s
    end
    for _, s in ipairs(sockets) do s:close() end
    return #sockets == 11 and offset
  end, "free ports for the services")
end

local function joined(env, more)
  for name, value in pairs(more or {}) do env[name] = value end
  return env
end

function M.start_services(offset, env)
  return gateway.start({}, { dir = "examples/hospital/services",
                             env = joined({ PORT_OFFSET = tostring(offset), JWT_SECRET = M.secret }, env) })
end

--- @param env additions; dir: another directory than examples/hospital
function M.start_site(env, dir)
  local port = gateway.free_port()
  local all = joined({ PORT = tostring(port), HOST = "127.0.0.1", HEALTH_CHECK_INTERVAL = "100",
                       JWT_SECRET = M.secret }, env)
  local g = gateway.start({}, { dir = dir or "examples/hospital", env = all })
  g.port = port
  return g
end

--- One request with the good token, or that of headers; the answer, and its body decoded.
-- @param body table, optional
-- @param headers text, optional
function M.ask(g, what, body, headers)
  headers = headers or ""
  if not headers:find("Authorization", 1, true) then headers = headers .. M.bearer() end
  return M.ask_bare(g, what, body, headers)
end

--- The same without a token.
function M.ask_bare(g, what, body, headers)
  local answer = g:ask(what, { body = body and cjson.encode(body), headers = headers })
  return answer, answer.body ~= "" and cjson.decode(answer.body) or nil
end

return M
