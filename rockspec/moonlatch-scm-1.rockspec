rockspec_format = "3.0"
package = "moonlatch"
version = "scm-1"
source = { url = "git+file://." }
description = {
  summary = "Lua-scriptable HTTP gateway runtime: the Lua library and its shipped policies",
  license = "MIT",
}
dependencies = { "lua == 5.1", "lua-cjson >= 2.1" }
test_dependencies = { "busted >= 2.1" }
test = { type = "busted" }
build = {
  type = "builtin",
  modules = {},
  install = { lua = {} },
  copy_directories = { "lua", "spec" },
}
