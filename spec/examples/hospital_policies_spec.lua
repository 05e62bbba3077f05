--- The chain of examples/hospital: headers, CORS, limits and tokens are as docs/hospital.md says.
local gateway = require "spec.support.gateway"
local hospital = require "spec.support.hospital"
local redis = require "spec.support.redis"
local cjson = require "cjson"
local socket = require "socket"

local ask, bare, bearer, tokens = hospital.ask, hospital.ask_bare, hospital.bearer, hospital.tokens

local security = {
  ["content-security-policy"] = "default-src 'self';base-uri 'self';font-src 'self';form-action 'self';"
    .. "frame-ancestors 'self';img-src 'self' data: https:;object-src 'none';script-src 'self' 'unsafe-inline';"
    .. "script-src-attr 'none';style-src 'self' 'unsafe-inline';upgrade-insecure-requests;"
    .. "connect-src 'self' wss: https:;media-src 'self';frame-src 'none'",
  ["strict-transport-security"] = "max-age=31536000; includeSubDomains; preload",
  ["cross-origin-opener-policy"] = "same-origin", ["cross-origin-resource-policy"] = "same-origin",
  ["origin-agent-cluster"] = "?1", ["referrer-policy"] = "no-referrer", ["x-content-type-options"] = "nosniff",
  ["x-dns-prefetch-control"] = "off", ["x-download-options"] = "noopen", ["x-frame-options"] = "SAMEORIGIN",
  ["x-permitted-cross-domain-policies"] = "none", ["x-xss-protection"] = "0",
}

local function assert_secure(answer)
  for name, value in pairs(security) do assert.equal(value, answer.headers[name], name .. " of " .. answer.head) end
  assert.is_nil(answer.headers["cross-origin-embedder-policy"])
end

describe("the chain of examples/hospital", function()
  local g
  setup(function()
    math.randomseed(socket.gettime() * 1000)
    local offset = hospital.free_offset()
    hospital.start_services(offset, { ADMIN_PASSWORD = "an admin's password" })
    g = hospital.start_site { PORT_OFFSET = tostring(offset), ALLOWED_ORIGINS = "https://a.example,https://b.example",
                              BILLING_SERVICE_URL = "http://127.0.0.1:1" }
  end)
  teardown(gateway.stop_all)

  local function unauthorized(err, message, what, headers)
    local answer, body = bare(g, what or "GET /api/doctors/d1", nil, headers)
    assert.equal(401, answer.status)
    assert.same({ success = false, error = err, message = message }, body)
    assert_secure(answer)
  end

  it("sets the security headers on every answer: its own, services', refusals, failures", function()
    for what, status in pairs { ["GET /health"] = 200, ["GET /api/doctors/d1"] = 200, ["GET /nowhere"] = 404,
                                ["POST /health"] = 405, ["GET /api/billing/b1"] = 503, ["GET /api/doctors/no"] = 404 } do
      local answer = ask(g, what)
      assert.equal(status, answer.status, what)
      assert_secure(answer)
      assert.equal("Origin", answer.headers.vary)
    end
    for bytes, status in pairs { ["GET /api/doctors%2fd1 HTTP/1.1\r\nHost: a\r\n\r\n"] = 400, ["x\r\n\r\n"] = 400,
                                 ["TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"] = 405 } do
      local answer = gateway.parse(g:raw(bytes))
      assert.equal(status, answer.status)
      assert_secure(answer)
      assert.equal("Origin", answer.headers.vary)
    end
  end)

  it("asks for a token everywhere but at login, register and refresh", function()
    local text = "Authorization header with Bearer token is required"
    for _, what in ipairs { "GET /api/doctors", "POST /api/doctors", "GET /api/patients/p1", "GET /api/auth/me",
                            "GET /api/auth/login", "POST /api/auth/login/", "POST /api/auth/login/x",
                            "POST /api/auth/logout", "DELETE /api/auth/users/u1", "GET /api/billing" } do
      unauthorized("No token provided", text, what)
    end
    unauthorized("No token provided", text, nil, "Authorization: Basic YTpi\r\n")
    unauthorized("No token provided", text, nil, "Authorization: Bearer\r\n")
    for _, name in ipairs { "login", "register", "refresh" } do
      local answer, body = bare(g, "POST /api/auth/" .. name, {})
      assert.is_true(answer.status == 400 or answer.status == 401, name)
      assert.is_string(body.error.code) -- the service's own words
    end
    assert.equal(200, bare(g, "GET /health").status)
    assert.equal(503, bare(g, "GET /graphql").status) -- a token is optional there, a bad one is not
    unauthorized("Token expired", "jwt expired", "GET /graphql", bearer(tokens.expired))
  end)

  it("refuses tokens that are expired, forged, endless, malformed, or for refreshing", function()
    unauthorized("Token expired", "jwt expired", nil, bearer(tokens.expired))
    unauthorized("Invalid token", "invalid signature", nil, bearer(tokens.forged))
    unauthorized("Invalid token", "jwt malformed", nil, bearer("x"))
    unauthorized("Invalid token", "invalid token", nil, bearer("x.y.z"))
    unauthorized("Invalid token", "jwt signature is required", nil, bearer(tokens.good:match("^.*%.")))
    unauthorized("Invalid token", "invalid token", nil, bearer(tokens.refresh))
    unauthorized("Invalid token", "invalid token", nil, bearer(tokens.endless))
    unauthorized("Invalid token", "invalid token", nil, bearer(tokens.injecting))
  end)

  it("logs in, refreshes, finds out a token that is used twice, and logs out", function()
    local me = { email = "Someone@x.example", password = "correct horse", fullName = "Some One" }
    local answer, body = bare(g, "POST /api/auth/register", me)
    assert.equal(201, answer.status)
    assert.equal("no-store", answer.headers["cache-control"])
    assert.same({ "Someone@x.example", "patient", "Some One" },
                { body.data.user.email, body.data.user.role, body.data.user.fullName })
    assert.equal("CONFLICT", select(2, bare(g, "POST /api/auth/register", me)).error.code)

    me.email = "someone@X.example"
    local logged_in = select(2, bare(g, "POST /api/auth/login", me)).data
    assert.equal("Bearer", logged_in.tokenType)
    local access = bearer(logged_in.accessToken)
    assert.same({ id = body.data.user.id, role = "patient", email = "Someone@x.example", fullName = "Some One" },
                select(2, ask(g, "GET /api/auth/me", nil, access)).data)
    assert.equal(200, ask(g, "GET /api/doctors/d1", nil, access).status)

    local function refresh(token) return bare(g, "POST /api/auth/refresh", { refreshToken = token }) end
    local _, first = refresh(logged_in.refreshToken)
    assert.equal(200, ask(g, "GET /api/auth/me", nil, bearer(first.data.accessToken)).status)
    local _, second = refresh(first.data.refreshToken)
    local again, reused = refresh(first.data.refreshToken) -- somebody else has it
    assert.same({ 401, "REFRESH_REUSED" }, { again.status, reused.error.code })
    assert.equal("BAD_REFRESH", select(2, refresh(second.data.refreshToken)).error.code) -- for both
    assert.equal("BAD_REFRESH", select(2, refresh(second.data.refreshToken)).error.code)
    assert.equal("BAD_REFRESH", select(2, refresh(logged_in.accessToken)).error.code)
    assert.equal("BAD_REFRESH", select(2, refresh(tokens.refresh)).error.code)

    local other = select(2, bare(g, "POST /api/auth/login", me)).data
    assert.equal(204, ask(g, "POST /api/auth/logout", nil, bearer(other.accessToken)).status)
    assert.equal("BAD_REFRESH", select(2, refresh(other.refreshToken)).error.code)
  end)

  it("rotates a token for one of many who use it at once, and then ends the session", function()
    local me = { email = "many@x.example", password = "correct horse" }
    local token = select(2, bare(g, "POST /api/auth/register", me)).data.refreshToken
    local body, sockets, good = cjson.encode { refreshToken = token }, {}, {}
    for i = 1, 20 do
      sockets[i] = g:connect()
      sockets[i]:send(("POST /api/auth/refresh HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s")
                      :format(#body, body))
    end
    for i = 1, 20 do
      local answer = gateway.parse(sockets[i]:receive("*a"))
      if answer.status == 200 then good[#good + 1] = cjson.decode(answer.body).data.refreshToken end
    end
    assert.equal(1, #good)
    assert.equal(401, bare(g, "POST /api/auth/refresh", { refreshToken = good[1] }).status)
  end)

  it("refuses wrong passwords and accounts that make no sense", function()
    local function refused(status, code, what, body)
      local answer, said = bare(g, "POST /api/auth/" .. what, body)
      assert.same({ status, code }, { answer.status, said.error.code }, cjson.encode(body))
    end
    refused(401, "BAD_CREDENTIALS", "login", { email = "admin@hospital.example.com", password = "wrong" })
    refused(401, "BAD_CREDENTIALS", "login", { email = "nobody@x.example", password = "wrong" })
    refused(401, "BAD_CREDENTIALS", "login", { email = "", password = "" })
    refused(401, "BAD_CREDENTIALS", "login", { email = { "a" }, password = 1 })
    for _, body in ipairs { { email = "a@x.example" }, { email = "a@x.example", password = "short" }, { email = "a" },
                            { email = "a b@x.example", password = "long enough" },
                            { email = "a@x.example", password = ("x"):rep(201) } } do
      refused(400, "VALIDATION", "register", body)
    end
    refused(400, "BAD_JSON", "register", { 1 })
    refused(413, "TOO_LARGE", "login", { email = ("x"):rep(20000) })
  end)

  it("lets administrators change users, and nobody else", function()
    local _, body = bare(g, "POST /api/auth/login",
                         { email = "admin@hospital.example.com", password = "an admin's password" })
    local admin = bearer(body.data.accessToken)
    assert.equal("admin", body.data.user.role)
    local user = { email = "new@x.example", role = "nurse" }
    local answer, said = ask(g, "POST /api/auth/users", user) -- a doctor
    assert.same({ 403, "FORBIDDEN" }, { answer.status, said.error.code })
    assert_secure(answer)
    answer = ask(g, "POST /api/auth/users", user, admin)
    assert.equal(201, answer.status)
    local path = answer.headers.location
    assert.equal(200, ask(g, "GET " .. path).status)
    assert.equal(403, ask(g, "PUT /api/auth/users/u1", user).status)
    assert.equal(204, ask(g, "DELETE " .. path, nil, admin).status)
  end)

  it("answers preflights of its pages, and tells others nothing that they could use", function()
    local preflight = "Origin: %s\r\nAccess-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-a\r\n"
    local answer = bare(g, "OPTIONS /api/doctors/d1", nil, preflight:format("https://b.example"))
    local h = answer.headers
    assert.same({ 204, "https://b.example", "true", "GET,HEAD,PUT,PATCH,POST,DELETE", "x-a" },
                { answer.status, h["access-control-allow-origin"], h["access-control-allow-credentials"],
                  h["access-control-allow-methods"], h["access-control-allow-headers"] })
    assert.is_nil(h["ratelimit-limit"]) -- a preflight does not count
    assert_secure(answer)
    answer = bare(g, "OPTIONS /api/doctors/d1", nil, preflight:format("https://evil.example"))
    assert.equal(204, answer.status)
    assert.is_nil(answer.headers["access-control-allow-origin"])

    h = ask(g, "GET /api/doctors/d1", nil, bearer() .. "Origin: https://a.example\r\n").headers
    assert.equal("https://a.example", h["access-control-allow-origin"])
    assert.truthy(h["access-control-expose-headers"]:find("RateLimit-Remaining", 1, true))
    h = bare(g, "GET /api/doctors/d1", nil, "Origin: https://a.example\r\n").headers -- 401 is readable too
    assert.equal("https://a.example", h["access-control-allow-origin"])
    h = ask(g, "GET /api/doctors/d1", nil, bearer() .. "Origin: https://a.example.evil\r\n").headers
    assert.is_nil(h["access-control-allow-origin"])
    assert.is_nil(h["access-control-expose-headers"])
  end)
end)

describe("examples/hospital", function()
  after_each(function()
    gateway.stop_all()
    redis.stop_all()
  end)

  local function start(env)
    env.PORT_OFFSET = tostring(hospital.free_offset())
    env.HEALTH_CHECK_INTERVAL = "60000"
    return hospital.start_site(env)
  end

  local function limit_of(g, what)
    local answer, body = bare(g, what or "GET /nowhere")
    return answer.status, answer.headers["ratelimit-remaining"], answer, body
  end

  it("limits each client, but not on exactly /health and /metrics", function()
    local g = start { RATE_LIMIT_MAX = "3", RATE_LIMIT_WINDOW_MS = "60000" }
    for left = 2, 0, -1 do
      local status, remaining, answer = limit_of(g)
      assert.same({ 404, tostring(left) }, { status, remaining })
      assert.same({ "3;w=60", "3" }, { answer.headers["ratelimit-policy"], answer.headers["ratelimit-limit"] })
    end
    local status, remaining, answer, body = limit_of(g)
    assert.same({ 429, "0" }, { status, remaining })
    local seconds = tonumber(answer.headers["retry-after"])
    assert.is_true(seconds >= 1 and seconds <= 60)
    assert.same({ error = "Too many requests", message = "Rate limit exceeded. Please try again later.",
                  retryAfter = seconds }, body)
    assert_secure(answer)
    for what, expected in pairs { ["GET /health"] = 200, ["GET /health?x=1"] = 200, ["GET /health/x"] = 429,
                                  ["GET /api/doctors/health"] = 429, ["GET /metrics/x"] = 429 } do
      status, remaining = limit_of(g, what)
      assert.equal(expected, status, what)
      if expected == 200 then assert.is_nil(remaining) end
    end
    for _ = 1, 5 do assert.equal(200, g:ask("GET /metrics").status) end
  end)

  it("counts under the routes that dashboards know, unless METRICS_ENABLED is false", function()
    local g = start {}
    ask(g, "GET /api/doctors/d1")
    bare(g, "GET /api/doctors")
    bare(g, "GET /nowhere")
    local page = g:ask("GET /metrics").body
    for _, series in ipairs { 'route="/api/doctors/*",status_code="401"', 'route="unmatched",status_code="404"' } do
      assert.truthy(page:find('http_requests_total{method="GET",' .. series .. ',service="api-gateway"} 1', 1, true), series)
    end
    assert.truthy(page:find("# TYPE graphql_operations_total counter\n", 1, true))
    assert.truthy(page:find("# TYPE graphql_operation_duration_seconds histogram\n", 1, true))
    g = start { METRICS_ENABLED = "false" }
    assert.equal(404, (bare(g, "GET /metrics").status))
  end)

  it("limits the address that a trusted proxy names, and takes nobody else's word for it", function()
    local function asks(g, address) return bare(g, "GET /nowhere", nil, "X-Forwarded-For: " .. address .. "\r\n").status end
    local g = start { RATE_LIMIT_MAX = "1", TRUST_PROXY = "1" }
    assert.same({ 404, 429, 404 }, { asks(g, "192.0.2.1"), asks(g, "198.51.100.9, 192.0.2.1"), asks(g, "192.0.2.2") })
    g = start { RATE_LIMIT_MAX = "1" }
    assert.same({ 404, 429 }, { asks(g, "192.0.2.1"), asks(g, "192.0.2.2") })
  end)

  it("counts in Redis with others, and alone while Redis is down", function()
    local r = redis.start {}
    local env = { RATE_LIMIT_MAX = "3", REDIS_URL = "redis://127.0.0.1:" .. r.port, REDIS_PREFIX = "spec:" }
    local one, two = start(env), start(env)
    assert.same({ "2", "1", "0" }, { select(2, limit_of(one)), select(2, limit_of(two)), (select(2, limit_of(one))) })
    assert.equal(429, (limit_of(two)))
    assert.truthy(r:call("KEYS", "spec:rl*")[1])
    r:kill()
    local status, remaining, answer = limit_of(two)
    assert.same({ 404, "2", "local" }, { status, remaining, answer.headers["x-ratelimit-degraded"] })
  end)

  it("lets requests wait when it is told to", function()
    local g = start { SLOWDOWN_AFTER = "2", SLOWDOWN_DELAY_MS = "100", SLOWDOWN_MAX_MS = "150" }
    local times = {}
    for i = 1, 4 do
      local begin = socket.gettime()
      assert.equal(404, (limit_of(g)))
      times[i] = socket.gettime() - begin
    end
    assert.is_true(times[3] >= 0.1 and times[4] >= 0.15, cjson.encode(times))
  end)

  it("says when waiting makes the limit meaningless, and does not do so by itself", function()
    local wrong = "the rate_limit of 2000 in 900 s (gateway.lua:"
    assert.truthy(start { SLOWDOWN_AFTER = "100" }:output():find(wrong, 1, true))
    assert.truthy(start { SLOW_DOWN_IMPL = "v1" }:output():find(wrong, 1, true))
    assert.truthy(start { SLOW_DOWN_IMPL = "v3" }:output():find(wrong, 1, true)) -- 100 and 900 / 0.5: 1900
    assert.falsy(start { SLOW_DOWN_IMPL = "v3", SLOWDOWN_DELAY_MS = "100" }:output():find(wrong, 1, true))
    assert.falsy(start {}:output():find(wrong, 1, true))
  end)

  it("makes a random secret when it is given none, and says so once", function()
    local g = start { JWT_SECRET = "" }
    g:wait_for_log("JWT_SECRET is not set")
    assert.equal(401, ask(g, "GET /api/doctors").status)
    g:command("reload", "--wait")
    assert.equal(1, select(2, g:output():gsub("JWT_SECRET is not set", "")))
  end)

  it("refuses an environment that makes no sense", function()
    for name, value in pairs { ALLOWED_ORIGINS = "a.example", SLOW_DOWN_IMPL = "v2", RATE_LIMIT_MAX = "0",
                               TRUST_PROXY = "all", REDIS_URL = "http://127.0.0.1" } do
      local g = gateway.start({}, { dir = "examples/hospital", env = { [name] = value, JWT_SECRET = hospital.secret },
                                    wait = false })
      assert.same({ "exited", 1 }, { g:wait() }, name)
    end
  end)
end)
