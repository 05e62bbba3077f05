--- gw.metrics at load: what may be declared, and what the complaints say.
local fake = require "spec.support.core"

describe("gw.metrics", function()
  local metrics, declared, closed
  before_each(function()
    local core = fake.new { ["gateway.lua"] = "" }
    declared, closed = {}, false
    function core.metric(conf)
      declared[#declared + 1] = conf
      if conf.name == "refused_total" then return nil, "because" end
      return conf
    end
    metrics = require("moonlatch.metrics").new(function() return closed end)
  end)

  local function refused(message, kind, given)
    local ok, err = pcall(metrics[kind], given)
    assert.is_false(ok)
    assert.equal(message, (err:gsub("^[^:]+:%d+: ", "")))
  end

  it("fills in defaults", function()
    metrics.counter { name = "orders_total", help = "Orders", labels = { "shop" } }
    metrics.histogram { name = "size_bytes", help = "Size" }
    metrics.gauge { name = "carts", help = "Carts" }
    assert.same({ kind = "counter", name = "orders_total", help = "Orders", labels = { "shop" }, max_series = 1000,
                  merge = "sum" }, declared[1])
    assert.equal(11, #declared[2].buckets)
    assert.equal("sum", declared[3].merge)
  end)

  it("knows what names mean to those who read the page", function()
    refused('gw.metrics.counter: the name "orders" of a counter ends with "_total"', "counter",
            { name = "orders", help = "x" })
    refused('gw.metrics.gauge: the name "x_count" of a gauge can not end with "_count"', "gauge",
            { name = "x_count", help = "x" })
    refused('gw.metrics.histogram: the name "x_total" of a histogram can not end with "_total"', "histogram",
            { name = "x_total", help = "x" })
    metrics.counter { name = "orders_total", help = "x" }
    refused('gw.metrics.gauge: the name "orders" can not be beside orders_total', "gauge",
            { name = "orders", help = "x" })
  end)

  it("keeps the gateway's own names", function()
    for _, name in ipairs { "http_requests_total", "moonlatch_x_total", "process_x_total" } do
      refused(('gw.metrics.counter: the name "%s" is the gateway\'s own'):format(name), "counter",
              { name = name, help = "x" })
    end
  end)

  it("refuses names, labels and buckets that are none", function()
    refused('gw.metrics.counter: option "name" has letters, digits and _, and begins with no digit', "counter",
            { name = "a-b_total", help = "x" })
    refused('gw.metrics.counter: option "labels" "a b" is no name of a label', "counter",
            { name = "a_total", help = "x", labels = { "a b" } })
    refused('gw.metrics.histogram: option "labels" "le" is no name of a label', "histogram",
            { name = "a", help = "x", labels = { "le" } })
    refused('gw.metrics.counter: option "labels" the label "a" is there twice', "counter",
            { name = "a_total", help = "x", labels = { "a", "a" } })
    refused('gw.metrics.histogram: option "buckets" bounds must ascend', "histogram",
            { name = "a", help = "x", buckets = { 1, 1 } })
    refused('gw.metrics.gauge: unknown option "label" (did you mean "labels"?)', "gauge",
            { name = "a", help = "x", label = {} })
  end)

  it("passes on what the core refuses, and is over once the site is loaded", function()
    refused('gw.metrics.counter "refused_total": because', "counter", { name = "refused_total", help = "x" })
    closed = true
    refused("gw.metrics.counter can not be called once the site is loaded", "counter", { name = "a_total", help = "x" })
  end)
end)
