--- Access and refresh tokens: a login begins a session, each refresh turns its refresh token into the next.
--
--   JWT_SECRET              the gateway has the same
--   JWT_EXPIRES_IN 24h      how long an access token is good
--   JWT_REFRESH_EXPIRES_IN 7d    how long a session lasts at most
--
-- A session is one number in the shared dict: which of its refresh tokens is the next.  Counting on is
-- atomic, so of two uses of one token only one can be the first.  The other one is a sign that the token was
-- stolen, and nobody knows from whom: the session ends for both.  A session that is gone from the dict has
-- ended.
local gw = require "moonlatch"
local duration = require "lib.duration"
local secret = require "lib.secret"

local M = {}

local access_s = duration.env("JWT_EXPIRES_IN", "24h")
local session_s = duration.env("JWT_REFRESH_EXPIRES_IN", "7d")
local keys = gw.jwt.keys { secret = secret }
local verify = gw.jwt.verifier(keys, {
  algs = { "HS256" }, required = { "exp", "sub", "sid", "seq" }, reject_types = {} })
local verify_access = gw.jwt.verifier(keys, { algs = { "HS256" }, required = { "exp", "sub", "sid" } })
local sessions = gw.shared("sessions") -- id of a session -> number of its next refresh token
local ENDED = -1e9 -- what counting on begins with when there is no such session

local function sign(claims, seconds)
  return assert(gw.jwt.sign(claims, keys, { alg = "HS256", expires_in = math.max(1, math.floor(seconds)) }))
end

local function tokens(user, sid, seq, left_s)
  return {
    accessToken = sign({ sub = user.id, email = user.email, role = user.role, sid = sid },
                       math.min(access_s, left_s)),
    refreshToken = sign({ sub = user.id, typ = "refresh", sid = sid, seq = seq }, left_s),
    tokenType = "Bearer", expiresIn = math.min(access_s, left_s),
  }
end

--- The tokens of a new session; nil when there is no memory for it.
function M.begin(user)
  local sid = gw.random_hex(16)
  if not sessions:set(sid, 1, session_s) then return nil end
  return tokens(user, sid, 1, session_s)
end

--- The next tokens of a session.
-- @param find function(id) -> user or nil
-- @return tokens, or nil and "bad" or "reused"
function M.refresh(token, find)
  local claims = type(token) == "string" and verify(token)
  if not claims or claims.typ ~= "refresh" then return nil, "bad" end
  if type(claims.seq) ~= "number" or type(claims.sid) ~= "string" then return nil, "bad" end
  local next_seq, _, left_s = sessions:incr(claims.sid, 1, { init = ENDED, ttl = 1 })
  local user = find(claims.sub)
  if next_seq == claims.seq + 1 and user then return tokens(user, claims.sid, next_seq, left_s) end
  sessions:delete(claims.sid)
  if not next_seq or next_seq < 1 or not user then return nil, "bad" end
  return nil, "reused"
end

--- Ends the session of an access token, if it is one.
function M.finish(token)
  local claims = token and verify_access(token)
  if claims and type(claims.sid) == "string" then sessions:delete(claims.sid) end
end

return M
