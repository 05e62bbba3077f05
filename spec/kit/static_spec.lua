--- Files of gw.static in the kit: read from the disk, sent to the test as to any client.
package.path = "./lua/?.lua;" .. package.path
local gateway = require "spec.support.gateway"
local t = require "moonlatch.test"

describe("gw.static in the kit", function()
  local app, dir, big

  setup(function()
    dir, big = gateway.folder(), ("0123456789abcde\n"):rep(40000)
    gateway.write(dir .. "/gateway.lua", [[
      local gw = require "moonlatch"
      gw.listen { port = 8080 }
      gw.use { "security_headers" }
      gw.route("GET /*path", gw.static { root = "public", fallback = "/index.html" })
    ]])
    gateway.write(dir .. "/public/index.html", "<h1>index</h1>")
    gateway.write(dir .. "/public/big.txt", big)
    app = t.load(dir)
  end)
  teardown(function()
    app:close()
    gateway.stop_all()
  end)

  it("small and large ones arrive", function()
    local res = app:get("/")
    assert.response(res).has.status(200)
    assert.equal("<h1>index</h1>", res.body)
    assert.equal("nosniff", res.headers["x-content-type-options"])
    assert.is_true(app:get("/big.txt").body == big)
  end)

  it("conditions and ranges count", function()
    local tag = app:get("/big.txt").headers["etag"]
    assert.response(app:get("/big.txt", { headers = { ["If-None-Match"] = tag } })).has.status(304)
    local res = app:get("/big.txt", { headers = { Range = "bytes=16-31" } })
    assert.response(res).has.status(206)
    assert.equal("0123456789abcde\n", res.body)
  end)

  it("a changed file is seen, though the clock stands still", function()
    gateway.write(dir .. "/public/index.html", "new")
    assert.equal("new", app:get("/").body)
  end)
end)
