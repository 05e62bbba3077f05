--- The script API: `local t = require "moonlatch.test"`.  See tools/api.lua.
local opts = "opts?: moonlatch.test.RequestOptions"
local verbs = {}
for _, verb in ipairs { "get", "head", "post", "put", "patch", "delete", "options" } do
  verbs[#verbs + 1] = { (":%s(path: string, %s): moonlatch.test.Answer?, string?"):format(verb, opts),
                        "Sends a request and waits for its answer." }
end

local function all(...)
  local list = {}
  for _, part in ipairs { ... } do
    for _, member in ipairs(part) do list[#list + 1] = member end
  end
  return list
end

return {
  { class = "moonlatch.test", name = "t", probe = "t", kit = true, doc = "The testing kit, see docs/testing.md.",
    members = {
      { "now: number", "When an app begins, seconds since 1970." },
      { "simulated: boolean", "False when `load` and `policy` run the real program." },
      { "load(site: string|table<string, string>, opts?: moonlatch.test.Options): moonlatch.test.App",
        "Loads a site: a directory, or names and texts of files." },
      { "start(opts: { dir?: string, files?: table<string, string>, env?: table<string, string> })"
        .. ": moonlatch.test.App", "Runs the real program on the site." },
      { "policy(name: string, conf?: table|string, opts?: moonlatch.test.Options): moonlatch.test.Policy",
        "One middleware around a next() of the test." },
    } },
  { class = "moonlatch.test.Options", options = true, doc = "Options of `t.load` and `t.policy`.", members = {
    { "env: table<string, string>?", "The whole environment of the site." },
    { "now: number?", "The wall clock at the begin." }, { "seed: number?", "Of all random bytes." },
  } },
  { class = "moonlatch.test.Policy", name = "p", probe = "policy", kit = true, doc = "What `t.policy` gives.",
    members = {
      { "app: moonlatch.test.App", "The app around it." },
      { "next: moonlatch.test.Upstream", "What plays `next()`." },
      { ":call(r?: moonlatch.test.Call): moonlatch.test.Answer", "Calls it." },
      { ":advance(seconds: seconds)", "Lets time pass." },
    } },
  { class = "moonlatch.test.App", name = "app", probe = "app", kit = true, doc = "A site under test.",
    members = all(verbs, {
      { ":request(r: moonlatch.test.RequestOptions): moonlatch.test.Answer?, string?",
        "Sends a request and waits for its answer." },
      { ":send(r: moonlatch.test.RequestOptions): moonlatch.test.Pending", "Sends without waiting." },
      { ":raw(bytes: string, method?: string): moonlatch.test.Answer?, string?", "Sends bytes as they are." },
      { ":advance(seconds: seconds)", "Lets time pass: timers fire and late upstreams answer, in order." },
      { ":now(): number", "The wall clock that the site sees." },
      { ":elapsed(): seconds", "Time since the app began." },
      { ":later(seconds: seconds, fn: fun())", "Calls fn when so much time has passed." },
      { ":close()", "Ends it." },
      { ":jwt(claims?: table): string",
        "A token; `alg`, `key`, `kid` and `typ` among the claims say how. HS256 by `JWT_SECRET` unless they do." },
      { ":key_pair(alg: string): moonlatch.test.KeyPair", "A new key for that algorithm." },
      { "upstreams: table<string, moonlatch.test.Upstream>", "The upstreams of the site, by name." },
      { "http: table<string, moonlatch.test.Upstream>", "Hosts that scripts call, as `http://host:port`." },
      { ":ws(path: string, opts?: moonlatch.test.SocketOptions): moonlatch.test.Socket?, moonlatch.test.Answer?",
        "Opens a WebSocket; nil and the answer when that is no 101." },
      { "metrics: moonlatch.test.Metrics", "The page for scrapers, taken apart." },
      { "redis: moonlatch.test.Redis", "Every Redis that the site uses." },
      { "logs: table[]", "What was logged, decoded." }, { "access: table[]", "The access log, decoded." },
      { "warnings: string", "What `moonlatch check` would warn of." },
    }) },
  { class = "moonlatch.test.KeyPair", data = true, doc = "A key; of an HS algorithm it has a secret instead of PEM.",
    members = {
      { "alg: string", "The algorithm." }, { "kid: string", "Its id." }, { "secret: string?", "Of an HS algorithm." },
      { "private_pem: string?", "The private key." }, { "public_pem: string?", "The public key." },
      { "private_jwk: table", "The private key." }, { "public_jwk: table", "The public key." },
      { "jwks: string", "A set of the public key, as JSON." },
    } },
  { class = "moonlatch.test.RequestOptions", options = true, doc = "A request.", members = {
    { 'method: string = "GET"', "The method." }, { 'path: string = "/"', "The path and query." },
    { "host: string?", "The Host field." },
    { "headers: table<string, string|string[]>?", "Header fields." }, { "body: string?", "The body." },
    { "json: any?", "A body that becomes JSON." }, { "ip: string?", "The address of the client." },
    { "port: integer?", "Which listener." },
  } },
  { class = "moonlatch.test.Call", options = true, extends = "moonlatch.test.RequestOptions",
    doc = "A request, and what plays `next()`.",
    members = { { "next: (fun(req: moonlatch.test.Seen): (integer, any, table?))?", "status, body, headers" } } },
  { class = "moonlatch.test.Pending", name = "pending", probe = "pending", kit = true,
    doc = "What `app:send` gives.", members = {
      { ":done(): boolean", "Is the answer there?" },
      { ":wait(): moonlatch.test.Answer?, string?", "The answer; waits for it." },
      { ":cancel()", "The client goes away." },
    } },
  { class = "moonlatch.test.Answer", name = "res", probe = "answer", kit = true, doc = "What a client got.",
    members = {
      { "status: integer", "The status." }, { "body: string", "The body." },
      { "headers: table<string, string>", "The header fields, in any case." },
      { "json: any", "The decoded body; an error when it is none." },
      { "decided_by: string", "Who made the answer." },
      { "trace: { name: string, what: string, at?: string }[]", "The steps that ran." },
      { "id: string?", "The request id." }, { "route: string", "The pattern of the route." },
    } },
  { class = "moonlatch.test.Upstream", name = "upstream", probe = "app.upstreams.next", kit = true,
    internal = { new = true, take = true, answer_to = true },
    doc = "An upstream in the hand of a test.", members = {
      { "calls: integer", "How often it was asked." },
      { "last: moonlatch.test.Seen?", "What it was asked last." },
      { "requests: moonlatch.test.Seen[]", "All that it was asked." },
      { ":reply(status: integer, body?: any, headers?: table): moonlatch.test.Upstream",
        "Answers like this from now on." },
      { ":handler(fn: fun(req: moonlatch.test.Seen): (integer, any, table?)): moonlatch.test.Upstream",
        "Decides per request." },
      { ':fail(how: "timeout"|"refused"|"reset"): moonlatch.test.Upstream', "Fails from now on." },
      { ":delay(seconds: seconds): moonlatch.test.Upstream", "Answers later, in simulated time." },
      { ":clear(): moonlatch.test.Upstream", "Forgets what was asked." },
    } },
  { class = "moonlatch.test.SocketOptions", options = true, doc = "The handshake of a WebSocket.", members = {
    { "protocols: string[]?", "Subprotocols that the client offers." }, { "origin: string?", "Its page's origin." },
    { "headers: table<string, string|string[]>?", "Header fields." }, { "host: string?", "The Host field." },
    { "ip: string?", "The address of the client." }, { "port: integer?", "Which listener." },
  } },
  { class = "moonlatch.test.Socket", name = "ws", probe = "socket", kit = true, doc = "What `app:ws` gives.",
    members = {
      { "protocol: string?", "The subprotocol that was agreed on." },
      { ":send(text: string)", "Sends text." }, { ":send_binary(bytes: string)", "Sends bytes." },
      { ":receive(seconds?: seconds): string?, string|integer, string?",
        "The next message and its kind; nil, and the code and reason of the end." },
      { ":ping(data?: string)", "Sends a ping." },
      { ":close(code?: integer = 1000, reason?: string): integer?", "Closes it; the code of the answer." },
      { ":drop()", "The connection breaks." },
    } },
  { class = "moonlatch.test.Metrics", doc = "Lists of samples by name; called, the sum of those that have the labels.",
    index = "{ labels: table<string, string>, value: number }[]",
    call = { "(name: string, labels?: table<string, string|number>): number", "The sum." } },
  { class = "moonlatch.test.Redis", name = "redis", probe = "app.redis", kit = true,
    internal = { database = true, connection = true, feed = true },
    doc = "A Redis in the hand of a test; any command is a method.",
    index = "fun(self: moonlatch.test.Redis, ...: string|number): any, string?, string?",
    members = {
      { ":command(name: string, ...: string|number): any, string?, string?", "A command by its name." },
      { ":down(how?: string = \"refused\")", "`refused`, `timeout`, `reset`, or the text of an error." },
      { ":up()", "Answers again, with the keys it had." },
      { ":delay(seconds: seconds): moonlatch.test.Redis", "Answers later, in simulated time." },
      { ":clear(): moonlatch.test.Redis", "Forgets what was asked." },
      { ":flushall()", "Forgets its keys." },
      { "calls: integer", "How often it was asked." }, { "last: string[]?", "What it was asked last." },
      { "requests: string[][]", "All that it was asked." },
    } },
  { class = "moonlatch.test.Seen", data = true, doc = "A request that an upstream got.", members = {
    { "method: string", "The method." }, { "target: string", "Path and query as they came." },
    { "path: string", "The path." }, { "query: string", "The query." },
    { "headers: table<string, string>", "The header fields, in any case." }, { "body: string", "The body." },
    { "json: any", "The decoded body." },
  } },
}
