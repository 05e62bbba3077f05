--- The nine other services, each a resource.
local rest = require "lib.rest"

local text, needed = { type = "string" }, { type = "string", required = true }
local number = { type = "number", required = true }

rest.resource("/api/doctors", { name = "doctor", letter = "d",
  fields = { name = needed, specialty = needed, departmentId = text },
  start = { { name = "Dr. Ada Lin", specialty = "cardiology", departmentId = "dep1" },
            { name = "Dr. Bela Kun", specialty = "neurology", departmentId = "dep2" },
            { name = "Dr. Cleo Ray", specialty = "pediatrics", departmentId = "dep3" } } })

rest.resource("/api/patients", { name = "patient", letter = "p",
  fields = { name = needed, birthDate = needed, phone = text },
  start = { { name = "Pat Doe", birthDate = "1980-02-29", phone = "555-0100" },
            { name = "Sam Roe", birthDate = "1975-07-01", phone = "555-0101" } } })

rest.resource("/api/appointments", { name = "appointment", letter = "a",
  fields = { patientId = needed, doctorId = needed, at = needed,
             status = { type = "string", one_of = { scheduled = true, cancelled = true, done = true } } },
  start = { { patientId = "p1", doctorId = "d1", at = "2030-01-01T09:00:00Z", status = "scheduled" } } })

rest.resource("/api/departments", { name = "department", letter = "dep",
  fields = { name = needed, floor = { type = "number" } },
  start = { { name = "Cardiology", floor = 1 }, { name = "Neurology", floor = 2 },
            { name = "Pediatrics", floor = 3 } } })

rest.resource("/api/medical-records", { name = "medical-record", letter = "m",
  fields = { patientId = needed, diagnosis = needed, notes = text },
  start = { { patientId = "p1", diagnosis = "hypertension", notes = "check monthly" } } })

rest.resource("/api/prescriptions", { name = "prescription", letter = "rx",
  fields = { patientId = needed, drug = needed, dose = needed },
  start = { { patientId = "p1", drug = "lisinopril", dose = "10 mg daily" } } })

rest.resource("/api/billing", { name = "invoice", letter = "b",
  fields = { patientId = needed, amount = number, status = text },
  start = { { patientId = "p1", amount = 120.5, status = "open" } } })

rest.resource("/api/payments", { name = "payment", letter = "pay",
  fields = { invoiceId = needed, amount = number, method = text },
  start = { { invoiceId = "b1", amount = 20, method = "card" } } })

rest.resource("/api/notifications", { name = "notification", letter = "n",
  fields = { userId = needed, message = needed, channel = text },
  start = { { userId = "p1", message = "Your appointment is confirmed", channel = "email" } } })
