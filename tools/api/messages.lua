--- The script API: what a request, a response and their parts can do.  See tools/api.lua.
local header_members = {
  { ":header(name: string): string?", "The first value of a field." },
  { ":header_values(name: string): string[]", "All values of a field, in their order." },
  { ":header_count(name: string): integer", "How many fields of that name there are." },
  { ":each_header(): fun(): (string?, string?)", "Iterates over names and values of all fields, in their order." },
  { ":set_header(name: string, value: string|number|string[]|nil)",
    "Replaces a field; a list makes several, nil removes. Content-Length, Transfer-Encoding and Connection "
    .. "belong to the core." },
  { ":add_header(name: string, value: string|number|string[])", "Adds a field beside those of the same name." },
  { ":remove_header(name: string)", "Removes all fields of that name." },
}

local body_members = {
  { ":body(opts?: moonlatch.BodyOptions): string?, string?", "The whole body as it was sent.", waits = true,
    errors = { "too_large" } },
  { ":text(opts?: moonlatch.BodyOptions): string?, string?", "The same as `body`.", waits = true,
    errors = { "too_large" } },
  { ":json(opts?: moonlatch.BodyOptions): any, string?", "The body decoded as JSON.", waits = true,
    errors = { "too_large", "malformed_json" } },
  { ":form(opts?: moonlatch.BodyOptions): table<string, string|string[]>?, string?",
    "The fields of an application/x-www-form-urlencoded body; a name that occurs again has a list.",
    waits = true, errors = { "too_large" } },
  { ":set_body(text: string, content_type?: string)", "Replaces the body." },
  { ":set_json(value: any)", "Replaces the body by JSON." },
}

local function all(...)
  local list = {}
  for _, part in ipairs { ... } do
    for _, member in ipairs(part) do list[#list + 1] = member end
  end
  return list
end

return {
  { class = "moonlatch.Request", name = "req", probe = "req", when = "request",
    doc = "A request. Using it after the request ended raises an error.",
    members = all({
      { "method: string", "The method, in capitals as a rule." },
      { "path: string", "The path in its normal form, decoded as docs/http.md says." },
      { "raw_path: string", "The path as it was sent." },
      { "query: string", "The query as it was sent, without `?`." },
      { "args: table<string, string|string[]>", "The query decoded; a name that occurs again has a list." },
      { "params: table<string, string>", "What the pattern's `:name` and `*rest` matched, decoded." },
      { "cookies: table<string, string>", "The first cookie of each name." },
      { "host: string", "The host that the client asked for, with its port if it named one." },
      { "scheme: string", "`http` or `https`: of the connection, or as a trusted proxy says." },
      { "version: string", "The version of HTTP, as `1.1`." },
      { "ip: string", "The client's address; `trusted_proxies` decides whom to believe." },
      { "peer_ip: string", "The address at the other end of the connection." },
      { "id: string", "The request id: 1 to 128 visible characters.", set = true },
      { "route: string?", "The pattern of the route that answers." },
      { "headers: moonlatch.Headers", "The header fields, in any case; assigning sets, nil removes." },
      { "trace: { id: string, span: string, parent: string?, sampled: boolean }?", "The trace; nil unless `tracing` is on." },
      { "tls: moonlatch.TlsInfo?", "What is known about the client's TLS; nil on a plain connection." },
      { "listener: string", "The name of the listener: `host:port` unless gw.listen names it." },
      { "user: any", "Nil until a middleware assigns it; its `id`, `sub`, `userId` or `user_id` is logged.",
        set = true },
      { "ctx: table", "A table in which middlewares leave things for one another.", set = true },
    }, header_members, body_members, {
      { ":bearer_token(): string?", "The token of `Authorization: Bearer`." },
      { ":basic_auth(): string?, string?", "User and password of `Authorization: Basic`." },
      { ":set_path(path: string)", "The path that the upstream gets." },
      { ":set_query(query?: string|table)", "The query that the upstream gets: text, or names and values." },
      { ":set_host(host: string)", "The Host that the upstream gets." },
      { ":set_upstream(name: string)", "Sends the request to another upstream than the route says." },
      { ":set_timeout(seconds: seconds)", "Time to the first byte of the answer, instead of the route's." },
      { ":limit_body(bytes: bytes): boolean",
        "Limits the body; false when it is known to be larger. One that grows over it breaks off with 413." },
      { ":log_field(name: string, value: string|number|boolean|nil): boolean",
        "Adds a field to the request's line of the access log; false when there is no room left." },
      { ":on_done(fn: fun(done: moonlatch.Done))", "Calls fn in the background after the exchange ended." },
    }) },

  { class = "moonlatch.Response", name = "res", probe = "res", when = "request",
    doc = "A response: what `next()` gave, or one that a script made.",
    members = all({
      { "status: integer", "The status, 200 to 599.", set = true },
      { "headers: moonlatch.Headers", "The header fields, in any case; assigning sets, nil removes." },
      { 'from: "upstream"|"script"|"gateway"', "Who made it." },
      { "timing: moonlatch.Timing", "How long it took." },
    }, header_members, body_members, {
      { ":map_body(fn: fun(chunk: string, last: boolean): string?): nil, string?",
        "Sends what fn returns for each piece of the body, decoded, as it streams by; fn may wait.",
        errors = { "unsupported_encoding", "overload" } },
      { ":length(): number?", "Bytes of the body, when that is known." },
      { ':encode(coding: "br"|"gzip"|"deflate", level?: integer, flush?: boolean): boolean?, string?',
        "Compresses the body as it streams by; flush lets the client read each piece as it comes.",
        errors = { "overload" } },
      { ":decode(): boolean?, string?", "Makes an encoded body plain as it streams by.",
        errors = { "unsupported_encoding", "overload" } },
    }) },

  { class = "moonlatch.Headers", doc = "Header fields that are read, and set, like a table's.",
    index = "string|number|string[]|nil" },
  { class = "moonlatch.BodyOptions", options = true, doc = "How much of a body to take.", members = {
    { "max: bytes = 1048576", "A larger body is `nil, \"too_large\"`, and stays whole." },
  } },
  { class = "moonlatch.Timing", data = true, doc = "Durations of an exchange.", members = {
    { "upstream: seconds?", "From sending the request to the head of the upstream's answer." },
    { "total: seconds", "Since the request came." },
    { "tries: integer", "Servers that were asked." },
  } },
  { class = "moonlatch.Done", data = true, doc = "What is known when an exchange has ended.", members = {
    { "status: integer", "The status that was sent." },
    { "duration: seconds", "From the request's first byte to the end." },
    { "bytes_in: bytes", "Size of the request's body." },
    { "bytes_out: bytes", "Size of the answer's body." },
    { "tries: integer", "Servers that were asked." },
    { "upstream_duration: seconds?", "From sending the request to the head of the upstream's answer." },
    { "method: string", "The method." }, { "path: string", "The path." }, { "id: string", "The request id." },
    { "ip: string", "The client's address." }, { "route: string?", "The pattern of the route." },
    { "upstream: string?", "The name of the upstream." }, { "server: string?", "The server that answered." },
    { "user_id: string?", "Who it was, see `req.user`." },
    { "err: string?", "Why it did not end well." },
  } },
}
