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
    ["moonlatch.env"] = "lua/moonlatch/env.lua",
    ["moonlatch.handler"] = "lua/moonlatch/handler.lua",
    ["moonlatch.init"] = "lua/moonlatch/init.lua",
    ["moonlatch.loader"] = "lua/moonlatch/loader.lua",
    ["moonlatch.middleware"] = "lua/moonlatch/middleware.lua",
    ["moonlatch.options"] = "lua/moonlatch/options.lua",
    ["moonlatch.routes"] = "lua/moonlatch/routes.lua",
    ["moonlatch.sandbox"] = "lua/moonlatch/sandbox.lua",
    ["moonlatch.undefined"] = "lua/moonlatch/undefined.lua",
    ["moonlatch.where"] = "lua/moonlatch/where.lua",
    ["middleware.body_limit"] = "lua/middleware/body_limit.lua",
    ["middleware.cors"] = "lua/middleware/cors.lua",
    ["middleware.ip_restrict"] = "lua/middleware/ip_restrict.lua",
    ["middleware.maintenance"] = "lua/middleware/maintenance.lua",
    ["middleware.redirect"] = "lua/middleware/redirect.lua",
    ["middleware.request_id"] = "lua/middleware/request_id.lua",
    ["middleware.security_headers"] = "lua/middleware/security_headers.lua",
    ["routes.health"] = "lua/routes/health.lua",
    ["routes.redirect"] = "lua/routes/redirect.lua",
    ["routes.status"] = "lua/routes/status.lua",
  },
}
