--- The hospital's services: their names, public prefixes and addresses.
local gw = require "moonlatch"

local M = {}

--- Seconds a service has for the first byte of its answer.
M.timeout_s = gw.env.number("PROXY_TIMEOUT_MS", 30000) / 1000

-- name, prefix below /api, port of the stand-in in services/, variable with the address
local table_of_services = {
  { "auth", "auth", 3001, "AUTH_SERVICE_URL" },
  { "doctor", "doctors", 3002, "DOCTOR_SERVICE_URL" },
  { "patient", "patients", 3003, "PATIENT_SERVICE_URL" },
  { "appointment", "appointments", 3004, "APPOINTMENT_SERVICE_URL" },
  { "department", "departments", 3005, "DEPARTMENT_SERVICE_URL" },
  { "medical-records", "medical-records", 3006, "MEDICAL_RECORDS_SERVICE_URL" },
  { "prescription", "prescriptions", 3007, "PRESCRIPTION_SERVICE_URL" },
  { "billing", "billing", 3008, "BILLING_SERVICE_URL" },
  { "payment", "payments", 3009, "PAYMENT_SERVICE_URL" },
  { "notification", "notifications", 3011, "NOTIFICATION_SERVICE_URL" },
}

--- Each service as { name, prefix, url }.
M.all = {}
for i, row in ipairs(table_of_services) do
  M.all[i] = {
    name = row[1],
    prefix = "/api/" .. row[2],
    url = gw.env(row[4], "http://127.0.0.1:" .. row[3]),
  }
end

return M
