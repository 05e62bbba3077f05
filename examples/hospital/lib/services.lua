--- The hospital's services: their names, public prefixes and addresses.
local gw = require "moonlatch"

local M = {}

-- name, prefix, variable with the address, port of the stand-in in services/
local rows = {
  { "auth", "/api/auth", "AUTH_SERVICE_URL", 3001 },
  { "doctor", "/api/doctors", "DOCTOR_SERVICE_URL", 3002 },
  { "patient", "/api/patients", "PATIENT_SERVICE_URL", 3003 },
  { "appointment", "/api/appointments", "APPOINTMENT_SERVICE_URL", 3004 },
  { "department", "/api/departments", "DEPARTMENT_SERVICE_URL", 3005 },
  { "medical-records", "/api/medical-records", "MEDICAL_RECORDS_SERVICE_URL", 3006 },
  { "prescription", "/api/prescriptions", "PRESCRIPTION_SERVICE_URL", 3007 },
  { "billing", "/api/billing", "BILLING_SERVICE_URL", 3008 },
  { "payment", "/api/payments", "PAYMENT_SERVICE_URL", 3009 },
  { "notification", "/api/notifications", "NOTIFICATION_SERVICE_URL", 3011 },
}

-- PORT_OFFSET moves the stand-ins, so that several of them can live on one machine.
local offset = gw.env.number("PORT_OFFSET", 0)

local function local_url(port)
  return ("http://127.0.0.1:%d"):format(port + offset)
end

--- Each service as { name, prefix, url }.
M.all = {}
for i, row in ipairs(rows) do
  local name, prefix, variable, port = unpack(row)
  M.all[i] = { name = name, prefix = prefix, url = gw.env(variable, local_url(port)) }
end

M.graphql = { name = "graphql", prefix = "/graphql", url = gw.env("GRAPHQL_GATEWAY_URL", local_url(3200)) }

return M
