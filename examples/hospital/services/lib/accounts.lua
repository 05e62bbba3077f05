--- Who may log in: an account per email address, with the hash of its password.
--
-- An account names a user, as which /api/auth/users knows him; an account whose user was deleted is none.
--
--   ADMIN_PASSWORD    password of the administrator u1, as whom nobody can log in without it
local gw = require "moonlatch"
local store = require "lib.store"

local M = {}

local PASSWORD_MIN, PASSWORD_MAX, EMAIL_MAX = 8, 200, 254

--- The users, as /api/auth/users has them.
M.definition = { name = "user", letter = "u",
  fields = { email = { type = "string", required = true }, role = { type = "string" },
             fullName = { type = "string" } },
  start = { { email = "admin@hospital.example.com", role = "admin" } } }

local users = store.new(M.definition.name, M.definition.letter, M.definition.start)
local accounts = gw.shared("accounts") -- email in lower case -> JSON { id, hash }

local function key_of(email)
  return email:lower()
end

--- What is wrong with what somebody wants to register as, or nil.
function M.complaint(email, password)
  if type(email) ~= "string" or type(password) ~= "string" then return "email and password are required" end
  if #email > EMAIL_MAX or not email:find("^[^%s@]+@[^%s@]+$") then return "email is no address" end
  if #password < PASSWORD_MIN or #password > PASSWORD_MAX then
    return ("password must have %d to %d bytes"):format(PASSWORD_MIN, PASSWORD_MAX)
  end
end

--- The user of an id, or nil.
function M.user(id)
  return users:get(id)
end

-- Gives the user an account; false when there is one of that address.
local function open(user, hash)
  return accounts:add(key_of(user.email), gw.json.encode { id = user.id, hash = hash })
end

--- Makes a user with an account.
-- @return user, or nil and "taken", "overload", "full" or "too_large"
function M.register(email, password, full_name)
  if accounts:get(key_of(email)) then return nil, "taken" end
  local hash, code = gw.crypto.password_hash(password)
  if not hash then return nil, code end
  local user = { email = email, role = "patient", fullName = full_name }
  local ok, err = users:add(user)
  if not ok then return nil, err end
  if open(user, hash) then return user end
  users:delete(user.id)
  return nil, "taken"
end

local admin_password = gw.env("ADMIN_PASSWORD", nil)

-- The administrator's account is made when somebody first wants to log in to it.
local function open_for_admin(key)
  local admin = admin_password and users:get("u1")
  if not admin or key_of(admin.email) ~= key then return nil end
  local hash, code = gw.crypto.password_hash(admin_password)
  if not hash then return nil, code end
  open(admin, hash)
  return accounts:get(key)
end

-- What an unknown address costs: as long as a known one, so that nobody learns which there are.
local nobody

local function hash_of_nobody()
  nobody = nobody or gw.crypto.password_hash(gw.random_hex(16))
  return nobody
end

--- The user whose address and password these are.
-- @return user, or nil and "wrong" or "overload"
function M.login(email, password)
  if type(email) ~= "string" or type(password) ~= "string" or email == "" or #password > PASSWORD_MAX then
    return nil, "wrong"
  end
  local key = key_of(email:sub(1, EMAIL_MAX))
  local text = accounts:get(key) or open_for_admin(key)
  local account = text and gw.json.decode(text)
  local hash = account and account.hash or hash_of_nobody()
  if not hash then return nil, "overload" end
  local good, code = gw.crypto.password_verify(password, hash)
  if code == "overload" then return nil, code end
  local user = good and account and users:get(account.id)
  if user then return user end
  return nil, "wrong"
end

return M
