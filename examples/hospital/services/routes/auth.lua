--- The auth service: accounts, tokens, and who the gateway says the caller is.
local gw = require "moonlatch"
local accounts = require "lib.accounts"
local reply = require "lib.reply"
local rest = require "lib.rest"
local sessions = require "lib.sessions"

local function public(user)
  return { id = user.id, email = user.email, role = user.role, fullName = user.fullName }
end

-- The body as a JSON object, or nil and the refusal.
local function body_of(req)
  local body, err = req:json { max = 16384 }
  if err == "too_large" then return nil, reply.fail(413, "TOO_LARGE", "The body is too large") end
  if type(body) ~= "table" or body[1] ~= nil then
    return nil, reply.fail(400, "BAD_JSON", "Request body is not a JSON object")
  end
  return body
end

local overload = { 503, "OVERLOAD", "Too many passwords are being checked, try again later" }
local refusals = {
  wrong = { 401, "BAD_CREDENTIALS", "Email or password is wrong" },
  taken = { 409, "CONFLICT", "email is taken" },
  overload = overload,
  full = { 507, "FULL", "There are too many users" },
  too_large = { 413, "TOO_LARGE", "The user is too large" },
}

local function refuse(code)
  return reply.fail(unpack(refusals[code] or overload))
end

-- The answer with the tokens of a session that begins.
local function logged_in(status, user)
  local tokens = sessions.begin(user)
  if not tokens then return reply.fail(507, "FULL", "There are too many sessions") end
  tokens.user = public(user)
  return reply.ok(status, tokens, nil, { ["Cache-Control"] = "no-store" })
end

gw.route("POST /api/auth/register", { respond = function(req)
  local body, refusal = body_of(req)
  if not body then return refusal end
  local wrong = accounts.complaint(body.email, body.password)
  if wrong then return reply.fail(400, "VALIDATION", wrong) end
  local name = type(body.fullName) == "string" and body.fullName or nil
  local user, code = accounts.register(body.email, body.password, name)
  if not user then return refuse(code) end
  return logged_in(201, user)
end })

gw.route("POST /api/auth/login", { respond = function(req)
  local body, refusal = body_of(req)
  if not body then return refusal end
  local user, code = accounts.login(body.email, body.password)
  if not user then return refuse(code) end
  return logged_in(200, user)
end })

gw.route("POST /api/auth/refresh", { respond = function(req)
  local body, refusal = body_of(req)
  if not body then return refusal end
  local tokens, code = sessions.refresh(body.refreshToken, accounts.user)
  if tokens then return reply.ok(200, tokens, nil, { ["Cache-Control"] = "no-store" }) end
  if code == "reused" then
    gw.log.warn("a refresh token was used twice: its session has ended")
    return reply.fail(401, "REFRESH_REUSED", "This refresh token was used before; log in again")
  end
  return reply.fail(401, "BAD_REFRESH", "Refresh token is not valid")
end })

gw.route("POST /api/auth/logout", { respond = function(req)
  sessions.finish(req:bearer_token())
  return gw.response(204)
end })

gw.route("GET /api/auth/me", { respond = function(req)
  local id = req:header("x-user-id")
  local user = id and accounts.user(id)
  if not user then return reply.fail(401, "NO_USER", "Nobody is logged in") end
  return reply.ok(200, public(user))
end })

-- Only administrators change users; the role decides what a token may do.
local function admins_change(req)
  if req.method ~= "GET" and req.method ~= "HEAD" and req:header("x-user-role") ~= "admin" then
    return reply.fail(403, "FORBIDDEN", "Only administrators change users")
  end
end

gw.group("", { admins_change }, function()
  rest.resource("/api/auth/users", accounts.definition)
end)
