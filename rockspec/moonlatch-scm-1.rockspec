rockspec_format = "3.0"
package = "moonlatch"
version = "scm-1"
source = { url = "git+file://." }
description = {
  summary = "Lua-scriptable HTTP gateway: the Lua library and the shipped policies, for tests of policies",
  license = "MIT",
}
dependencies = { "lua == 5.1", "lua-cjson >= 2.1", "busted >= 2.1" }
test = { type = "busted" }
build = {
  type = "builtin",
  modules = {
    ["moonlatch.boot"] = "lua/moonlatch/boot.lua",
    ["moonlatch.chain"] = "lua/moonlatch/chain.lua",
    ["moonlatch.cli"] = "lua/moonlatch/cli.lua",
    ["moonlatch.config"] = "lua/moonlatch/config.lua",
    ["moonlatch.crypto"] = "lua/moonlatch/crypto.lua",
    ["moonlatch.env"] = "lua/moonlatch/env.lua",
    ["moonlatch.handler"] = "lua/moonlatch/handler.lua",
    ["moonlatch.init"] = "lua/moonlatch/init.lua",
    ["moonlatch.jwt"] = "lua/moonlatch/jwt.lua",
    ["moonlatch.loader"] = "lua/moonlatch/loader.lua",
    ["moonlatch.middleware"] = "lua/moonlatch/middleware.lua",
    ["moonlatch.options"] = "lua/moonlatch/options.lua",
    ["moonlatch.pace"] = "lua/moonlatch/pace.lua",
    ["moonlatch.ratelimit"] = "lua/moonlatch/ratelimit.lua",
    ["moonlatch.ratelimit_scripts"] = "lua/moonlatch/ratelimit_scripts.lua",
    ["moonlatch.routes"] = "lua/moonlatch/routes.lua",
    ["moonlatch.sandbox"] = "lua/moonlatch/sandbox.lua",
    ["moonlatch.subject"] = "lua/moonlatch/subject.lua",
    ["moonlatch.undefined"] = "lua/moonlatch/undefined.lua",
    ["moonlatch.where"] = "lua/moonlatch/where.lua",
    ["middleware.api_key"] = "lua/middleware/api_key.lua",
    ["middleware.basic_auth"] = "lua/middleware/basic_auth.lua",
    ["middleware.body_limit"] = "lua/middleware/body_limit.lua",
    ["middleware.circuit_breaker"] = "lua/middleware/circuit_breaker.lua",
    ["middleware.cors"] = "lua/middleware/cors.lua",
    ["middleware.fault"] = "lua/middleware/fault.lua",
    ["middleware.forward_auth"] = "lua/middleware/forward_auth.lua",
    ["middleware.ip_restrict"] = "lua/middleware/ip_restrict.lua",
    ["middleware.jwt"] = "lua/middleware/jwt.lua",
    ["middleware.maintenance"] = "lua/middleware/maintenance.lua",
    ["middleware.mirror"] = "lua/middleware/mirror.lua",
    ["middleware.rate_limit"] = "lua/middleware/rate_limit.lua",
    ["middleware.redirect"] = "lua/middleware/redirect.lua",
    ["middleware.request_id"] = "lua/middleware/request_id.lua",
    ["middleware.retry"] = "lua/middleware/retry.lua",
    ["middleware.security_headers"] = "lua/middleware/security_headers.lua",
    ["middleware.slow_down"] = "lua/middleware/slow_down.lua",
    ["middleware.timeout"] = "lua/middleware/timeout.lua",
    ["middleware.trace_context"] = "lua/middleware/trace_context.lua",
    ["middleware.transform"] = "lua/middleware/transform.lua",
    ["routes.health"] = "lua/routes/health.lua",
    ["routes.redirect"] = "lua/routes/redirect.lua",
    ["routes.status"] = "lua/routes/status.lua",
  },
}
