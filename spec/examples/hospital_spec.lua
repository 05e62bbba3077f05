--- examples/hospital and its services as whole sites: what README and docs say about them is true. `moonlatch test` too.
local gateway = require "spec.support.gateway"
local hospital = require "spec.support.hospital"
local upstream = require "spec.support.upstream"
local cjson = require "cjson"
local socket = require "socket"

local prefixes = {
  { "auth", "/api/auth/users", "u1" }, { "doctor", "/api/doctors", "d1" }, { "patient", "/api/patients", "p1" },
  { "appointment", "/api/appointments", "a1" }, { "department", "/api/departments", "dep1" },
  { "medical-records", "/api/medical-records", "m1" }, { "prescription", "/api/prescriptions", "rx1" },
  { "billing", "/api/billing", "b1" }, { "payment", "/api/payments", "pay1" },
  { "notification", "/api/notifications", "n1" },
}
local variables = {
  auth = "AUTH_SERVICE_URL", doctor = "DOCTOR_SERVICE_URL", patient = "PATIENT_SERVICE_URL",
  appointment = "APPOINTMENT_SERVICE_URL", department = "DEPARTMENT_SERVICE_URL",
  ["medical-records"] = "MEDICAL_RECORDS_SERVICE_URL", prescription = "PRESCRIPTION_SERVICE_URL",
  billing = "BILLING_SERVICE_URL", payment = "PAYMENT_SERVICE_URL", notification = "NOTIFICATION_SERVICE_URL",
  graphql = "GRAPHQL_GATEWAY_URL",
}

local ask, free_offset = hospital.ask, hospital.free_offset
local start_services, start_site = hospital.start_services, hospital.start_site

local function health(g)
  local answer, body = ask(g, "GET /health")
  assert.equal(200, answer.status)
  return body
end

local function wait_for_health(g, service, state)
  return gateway.eventually(function()
    local now = health(g)
    return now.services[service] == state and now
  end, service .. " " .. state)
end

describe("examples/hospital with its services", function()
  local g
  setup(function()
    math.randomseed(socket.gettime() * 1000)
    local offset = free_offset()
    start_services(offset)
    g = start_site { PORT_OFFSET = tostring(offset) }
  end)
  teardown(gateway.stop_all)

  it("answers for each prefix through its service: list, get, query, nothing there", function()
    for _, row in ipairs(prefixes) do
      local _, path, id = unpack(row)
      local answer, list = ask(g, "GET " .. path .. "?limit=1&page=1")
      assert.equal(200, answer.status, path)
      assert.same({ 1, 1, 1 }, { #list.data, list.pagination.limit, list.pagination.page })
      assert.equal(id, list.data[1].id)
      local _, one = ask(g, "GET " .. path .. "/" .. id)
      assert.same(list.data[1], one.data)
      local missing, body = ask(g, "GET " .. path .. "/none")
      assert.equal(404, missing.status)
      assert.equal("NOT_FOUND", body.error.code) -- the service's own words
    end
  end)

  it("creates, replaces, changes and deletes", function()
    local created, body = ask(g, "POST /api/doctors", { name = "Dr. New", specialty = "surgery", odd = 1 })
    assert.equal(201, created.status)
    local path = created.headers.location
    assert.equal("/api/doctors/" .. body.data.id, path)
    assert.is_nil(body.data.odd)
    assert.same(body.data, select(2, ask(g, "GET " .. path)).data)
    local _, patched = ask(g, "PATCH " .. path, { specialty = "radiology" })
    assert.same({ "Dr. New", "radiology" }, { patched.data.name, patched.data.specialty })
    local _, put = ask(g, "PUT " .. path, { name = "Dr. Put", specialty = "x" })
    assert.same({ id = body.data.id, name = "Dr. Put", specialty = "x" }, put.data)
    assert.equal(204, ask(g, "DELETE " .. path).status)
    assert.equal(404, ask(g, "GET " .. path).status)
    assert.equal(404, ask(g, "DELETE " .. path).status)
  end)

  it("refuses what is no item and no page, as JSON", function()
    local function refused(status, code, what, text)
      local answer = g:ask(what, { body = text, headers = hospital.bearer() })
      assert.equal(status, answer.status, what .. " " .. tostring(text):sub(1, 40))
      local body = cjson.decode(answer.body)
      assert.equal(code, body.error.code)
      assert.is_false(body.success)
    end
    for _, text in ipairs { "", "{", '{"name":"x",}', "\0" } do
      refused(400, "BAD_JSON", "POST /api/doctors", text)
    end
    for _, text in ipairs { "[]", "[1]", "1", '"s"', "null", "{}", '{"name":"x"}', '{"name":1,"specialty":"y"}',
                            '{"name":null,"specialty":"y"}' } do
      refused(422, "VALIDATION", "POST /api/doctors", text)
    end
    refused(422, "VALIDATION", "PATCH /api/appointments/a1", '{"status":"lost"}')
    refused(422, "VALIDATION", "PUT /api/doctors/d2", '{"name":"x"}')
    refused(413, "TOO_LARGE", "POST /api/doctors", '{"name":"' .. ("x"):rep(1100000) .. '","specialty":"y"}')
    for _, query in ipairs { "page=0", "page=-1", "page=1e3", "limit=x", "limit=", "page=9999999999", "page=1&page=2" } do
      refused(400, "BAD_PAGE", "GET /api/doctors?" .. query)
    end
    refused(404, "NOT_FOUND", "GET /api/doctors/d" .. ("1"):rep(3000))
    refused(404, "NOT_FOUND", "GET /api/doctors/d1/more")
    refused(405, "METHOD", "POST /api/doctors/d1")
    local _, far = ask(g, "GET /api/doctors?page=999999999&limit=999999999")
    assert.same({ 0, 100 }, { #far.data, far.pagination.limit })
  end)

  it("gives each created item an id of its own, in all workers", function()
    local sockets, ids = {}, {}
    local body = cjson.encode { patientId = "p1", diagnosis = "x" }
    for i = 1, 40 do
      sockets[i] = g:connect()
      sockets[i]:send(("POST /api/medical-records HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n%s")
                      :format(hospital.bearer(), #body, body))
    end
    for i = 1, 40 do
      local answer = gateway.parse(sockets[i]:receive("*a"))
      assert.equal(201, answer.status)
      local id = cjson.decode(answer.body).data.id
      assert.is_nil(ids[id])
      ids[id] = true
    end
    assert.equal(41, select(2, ask(g, "GET /api/medical-records")).pagination.total)
  end)

  it("words unknown routes and methods", function()
    local answer, body = ask(g, "GET /nowhere?x=1")
    assert.equal(404, answer.status)
    assert.same({ error = "Not Found", message = "Route GET /nowhere not found" }, body)
    assert.equal(32, #answer.headers["x-request-id"])
    answer, body = ask(g, "POST /health", {})
    assert.equal(405, answer.status)
    assert.equal("GET, HEAD, OPTIONS", answer.headers.allow)
    assert.equal("Method Not Allowed", body.error)
    assert.equal(404, g:ask("GET /graphqlx").status)
    assert.equal(404, g:ask("GET /api/doctorsx").status)
  end)

  it("tells the health of all services", function()
    local now = wait_for_health(g, "notification", "up")
    assert.same({ "healthy", "api-gateway" }, { now.status, now.service })
    assert.truthy(now.uptime > 0 and now.timestamp:find("^%d+%-%d+%-%d+T"))
    for _, row in ipairs(prefixes) do assert.equal("up", now.services[row[1]]) end
  end)
end)

describe("examples/hospital", function()
  after_each(gateway.stop_all)

  it("takes each address from the environment, and forwards path, query, body and method", function()
    local ups, env = {}, { HEALTH_CHECK_INTERVAL = "60000" }
    for name, variable in pairs(variables) do
      ups[name] = upstream.listen()
      env[variable] = ups[name]:url()
    end
    local g = start_site(env)
    for _, row in ipairs(prefixes) do
      local s = assert(ups[row[1]]:accept())
      assert.equal("GET /health HTTP/1.1", upstream.head(s):match("^[^\n]+"))
      s:send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
      s:close()
    end
    local function passes(name, method, target)
      local client = g:connect()
      client:send(("%s %s HTTP/1.1\r\nHost: a\r\n%sContent-Length: 4\r\n\r\nbody"):format(method, target, hospital.bearer()))
      local s = assert(ups[name]:accept(), name)
      assert.equal(("%s %s HTTP/1.1"):format(method, target), upstream.head(s):match("^[^\n]+"))
      assert.equal("body", (s:receive(4)))
      s:send("HTTP/1.1 418 Teapot\r\nX-From: " .. name .. "\r\nContent-Length: 2\r\nConnection: close\r\n\r\nup")
      assert.truthy(upstream.head(client):find("X-From: " .. name, 1, true))
      assert.equal("up", (client:receive(2)))
      client:close()
      s:close()
    end
    for _, row in ipairs(prefixes) do
      local name, prefix = row[1], row[2]:match("^/api/[^/]+")
      for _, method in ipairs { "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS" } do
        passes(name, method, prefix .. "/a/b%20c/d?x=1&x=2&y=%2f")
      end
      passes(name, "POST", prefix)
    end
    passes("graphql", "POST", "/graphql")
    passes("graphql", "GET", "/graphql?query={__typename}")
    passes("graphql", "POST", "/graphql/batch")
    for _, up in pairs(ups) do up:close() end
  end)

  it("says which service is gone, slow or talks nonsense, and stays alive itself", function()
    local doctor, patient = upstream.listen(), upstream.listen()
    local g = start_site { PORT_OFFSET = tostring(free_offset()), PROXY_TIMEOUT_MS = "150", HEALTH_CHECK_INTERVAL = "60000",
                           DOCTOR_SERVICE_URL = doctor:url(), PATIENT_SERVICE_URL = patient:url() }
    local function fails(path, status, err, message)
      local answer, body = ask(g, "GET " .. path)
      assert.equal(status, answer.status)
      assert.same({ error = err, message = message }, body)
    end
    fails("/api/billing/b1", 503, "Service Unavailable", "billing service is unavailable")
    fails("/graphql", 503, "Service Unavailable", "graphql service is unavailable")
    fails("/api/doctors/d1", 504, "Gateway Timeout", "doctor service did not respond in time")
    local client = g:connect()
    client:send("GET /api/patients HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" .. hospital.bearer() .. "\r\n")
    local s
    repeat -- the probes come here as well
      s = assert(patient:accept())
      local probe = upstream.head(s):find("^GET /health")
      s:send(probe and "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" or "nonsense\r\n\r\n")
      s:close()
    until not probe
    local answer = gateway.parse(client:receive("*a"))
    assert.equal(502, answer.status)
    assert.equal("Invalid response from patient service", cjson.decode(answer.body).message)
    assert.equal(200, g:ask("GET /health").status)
    doctor:close()
    patient:close()
  end)

  it("is degraded while a service is down, and healthy again after it came back", function()
    local offset = free_offset()
    local g = start_site { PORT_OFFSET = tostring(offset) }
    local now = wait_for_health(g, "auth", "down")
    assert.equal("degraded", now.status)
    local services = start_services(offset)
    assert.equal("healthy", wait_for_health(g, "auth", "up").status)
    services:stop()
    assert.equal("degraded", wait_for_health(g, "doctor", "down").status)
    start_services(offset)
    assert.equal("healthy", wait_for_health(g, "doctor", "up").status)
  end)

  it("is edited while it runs", function()
    local dir = gateway.folder() .. "/site"
    assert(os.execute("cp -r examples/hospital '" .. dir .. "'") == 0)
    local g = start_site({ PORT_OFFSET = tostring(free_offset()) }, dir)
    assert.equal("degraded", wait_for_health(g, "auth", "down").status)
    local file = dir .. "/routes/health.lua"
    gateway.write(file, (gateway.read(file):gsub('"degraded"', '"limping"')))
    gateway.eventually(function() return health(g).status == "limping" end, "the edited answer")
    gateway.write(dir .. "/routes/hello.lua", 'require("moonlatch").route("GET /hello", function() '
                  .. 'return require("moonlatch").response(200, "hello\\n") end)')
    gateway.eventually(function() return g:ask("GET /hello").body == "hello\n" end, "the new route")
    assert(os.remove(dir .. "/routes/hello.lua"))
    gateway.eventually(function() return g:ask("GET /hello").status == 404 end, "the end of the route")
  end)

  it("has tests of its own, which pass", function()
    local p = io.popen(("'%s' test examples/hospital -o TAP 2>&1"):format(gateway.binary))
    local out = p:read("*a")
    p:close()
    assert.truthy(out:find("ok 1", 1, true) and not out:find("not ok", 1, true), out)
  end)

  it("ends with file and line when the environment is wrong", function()
    local g = gateway.start({}, { dir = "examples/hospital", env = { PORT = "x" }, wait = false })
    assert.same({ "exited", 1 }, { g:wait() })
    assert.truthy(g:output():find("gateway.lua:%d+: .*PORT"))
  end)
end)
