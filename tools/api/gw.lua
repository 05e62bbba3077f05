--- The script API: `local gw = require "moonlatch"`.  See tools/api.lua.
local hash = "(text: string, form?: \"hex\"|\"raw\"): string"

return {
  { class = "moonlatch", name = "gw", probe = "gw", doc = "What a script may ask of the gateway.", members = {
    -- what describes the site
    { "settings(options: moonlatch.Settings)", "Settings of the whole gateway; once, in gateway.lua.", load = true },
    { "listen(options: moonlatch.Listen)", "A listener.", load = true },
    { "upstream(name: string, options: moonlatch.Upstream): moonlatch.UpstreamHandle", "A named group of servers.",
      load = true },
    { "static(options: moonlatch.Static): moonlatch.Responder", "Files of a directory, as what a route responds with.",
      load = true },
    { "use(list: moonlatch.Step[])", "Middlewares of all requests, or of the group around it.", load = true },
    { "group(prefix: string, options: moonlatch.Group|fun(), body?: fun())",
      "Routes with a common prefix, and what they go through.", load = true },
    { "route(pattern: string, options: moonlatch.Route|fun(req: moonlatch.Request): moonlatch.Response?)",
      "A route: `METHOD /path/:param/*rest`.", load = true },
    { "mount(name: string, options?: table)", "Routes that are shipped: `health`, `status`, `redirect` ...",
      load = true },
    { "file(name: string): string", "The text of a data file of the site.", load = true },
    { "secret(name: string): string",
      "64 hexadecimal digits that nobody else can know, the same in all workers until a restart.", load = true },
    { "client_tls(options: moonlatch.ClientTls): moonlatch.ClientTls",
      "TLS options for `gw.http`, checked once.", load = true },
    { "redis(url: string, options?: moonlatch.RedisOptions): moonlatch.Redis",
      "A client of Redis; connects with its first command.", load = true },
    { "ratelimit(options: moonlatch.LimiterOptions): moonlatch.Limiter", "A limiter.", load = true },
    -- answers
    { "response(status: integer, body?: string|table, headers?: table<string, string|number|string[]>)"
      .. ": moonlatch.Response", "A response; a table as body becomes JSON." },
    { "error(status: integer, code: string, message?: string): moonlatch.Response",
      "A JSON response `{ error, message, requestId }`." },
    { "redirect(location: string, status?: integer = 302): moonlatch.Response", "A redirect." },
    { "websocket(options: moonlatch.WebSocketOptions|moonlatch.Request, "
      .. "fn: moonlatch.WebSocketOptions|fun(ws: moonlatch.WebSocket, req: moonlatch.Request), "
      .. "fn_with_request?: fun(ws: moonlatch.WebSocket, req: moonlatch.Request))"
      .. ": moonlatch.Responder|moonlatch.Response",
      "A WebSocket that ends in the script: what a route responds with; with the request first, a response." },
    -- waiting
    { "sleep(seconds: seconds)", "Waits.", waits = true },
    { "all(functions: table<any, fun(): any>, options?: { settle?: boolean }): table",
      "Runs functions side by side; their first results under the same keys. One that raises cancels the "
      .. "others; with `settle` each result is `{ ok, value or error }`.", waits = true },
    { "race(functions: table<any, fun(): any>): any, any",
      "The first result and its key; the others are cancelled.", waits = true },
    { "spawn(fn: fun(...), ...: any)", "Runs a function in the background; its errors go to the log." },
    { "detach(fn: fun(req: moonlatch.Request)): boolean?, string?",
      "Runs fn in the background with a copy of the running request; `next()` in it goes through the inner "
      .. "part again.", errors = { "overload" } },
    { "timer(seconds: seconds, fn: fun(), options?: moonlatch.TimerOptions): moonlatch.Timer",
      "Calls fn later; made at load it starts when the site becomes live." },
    -- shared
    { "shared(name: string): moonlatch.Dict", "A table that all workers share and that survives reloads." },
    { "fields(list: any[]): moonlatch.Fields",
      "Changes of header fields, checked once: `{ name, value }`, `{ name, false }` removes, "
      .. "`{ \"X-In-*\", false }` by prefix, `{ name, value, true }` merges into a list." },
    { "networks(list: string[]): moonlatch.Networks", "A set of networks; asking costs the same for any number." },
    -- values
    { "now(): number", "The wall clock, seconds since 1970." },
    { "mono(): number", "A clock that only goes forward, in seconds." },
    { "time_iso(seconds?: number): string", "A time, now unless given, as RFC 3339 writes it." },
    { "uptime(): seconds", "Time since the gateway started." },
    { "status(): string", "JSON text of `moonlatch status --json`." },
    { "random(): number", "Unpredictable, from 0 to below 1." },
    { "random_hex(bytes: integer): string", "Unpredictable bytes, as hexadecimal digits." },
    { "ip_match(ip: string, networks: string[]): boolean", "Is the address in one of the networks?" },
    { "url_encode(text: string): string", "Text with percent escapes." },
    { "url_decode(text: string): string?", "Text without them." },
    { "base64_encode(text: string, url?: boolean): string", "Base64; with `url` base64url without padding." },
    { "accept_encoding(value?: string, codings: string[]): string?",
      "The one of these codings that a client with that Accept-Encoding wants most; nil for none." },
    { "base64_decode(text: string, url?: boolean): string?", "The bytes; nil for what is no base64." },
    -- parts
    { "env: moonlatch.Env", "The environment." }, { "json: moonlatch.Json", "JSON." },
    { "log: moonlatch.Log", "The log." }, { "http: moonlatch.Http", "HTTP requests of scripts." },
    { "crypto: moonlatch.Crypto", "Hashes and passwords." }, { "jwt: moonlatch.Jwt", "Tokens." },
    { "metrics: moonlatch.Metrics", "Metrics of the site." },
    { "upstreams: table<string, moonlatch.UpstreamHandle>", "The upstreams of the site, by name." },
  } },

  { class = "moonlatch.Env", name = "gw.env", probe = "gw.env", doc = "Values of the environment, read at load.",
    call = { "(name: string, default?: string): string",
             "Text; without a default the site does not load when the variable is not set." },
    members = {
      { "number(name: string, default?: number): number", "A number; anything else is a load error." },
      { "boolean(name: string, default?: boolean): boolean", "`true 1 yes on`, `false 0 no off`." },
      { "list(name: string, default?: string[]): string[]", "The parts between commas." },
    } },

  { class = "moonlatch.Json", name = "gw.json", probe = "gw.json", doc = "JSON.", members = {
    { "encode(value: any): string?, string?", "JSON text; nil and a message when it can not be done." },
    { "pretty(value: any): string?, string?", "The same with line breaks and indentation." },
    { "decode(text: string): any, string?", "The value; nil and a message for malformed text." },
    { "array(t: table): table", "Marks a list, so that an empty one is `[]`." },
    { "null: any", "JSON's null." },
  } },

  { class = "moonlatch.Log", name = "gw.log", probe = "gw.log", doc = "The log: JSON lines with the request id.",
    call = { "(message: string, fields?: table)", "A line of level info." },
    members = {
      { "debug(message: string, fields?: table)", "A line of level debug." },
      { "info(message: string, fields?: table)", "A line of level info." },
      { "warn(message: string, fields?: table)", "A line of level warn." },
      { "error(message: string, fields?: table)", "A line of level error." },
    } },

  { class = "moonlatch.Http", name = "gw.http", probe = "gw.http", doc = "HTTP requests of scripts.",
    call = { "(request: moonlatch.HttpRequest): moonlatch.HttpResult?, string?, string?",
             "Sends a request; nil, a code and a message when there is no answer." },
    members = {
      { "request(request: moonlatch.HttpRequest): moonlatch.HttpResult?, string?, string?",
        "The same as calling it.", waits = true },
      { "get(url: string, options?: moonlatch.HttpRequest): moonlatch.HttpResult?, string?, string?",
        "GET.", waits = true },
      { "head(url: string, options?: moonlatch.HttpRequest): moonlatch.HttpResult?, string?, string?",
        "HEAD.", waits = true },
      { "post(url: string, options?: moonlatch.HttpRequest): moonlatch.HttpResult?, string?, string?",
        "POST.", waits = true },
      { "put(url: string, options?: moonlatch.HttpRequest): moonlatch.HttpResult?, string?, string?",
        "PUT.", waits = true },
      { "patch(url: string, options?: moonlatch.HttpRequest): moonlatch.HttpResult?, string?, string?",
        "PATCH.", waits = true },
      { "delete(url: string, options?: moonlatch.HttpRequest): moonlatch.HttpResult?, string?, string?",
        "DELETE.", waits = true },
    } },

  { class = "moonlatch.Crypto", name = "gw.crypto", probe = "gw.crypto", doc = "Hashes and passwords.", members = {
    { "sha1" .. hash, "A hash, as hexadecimal digits unless raw." },
    { "sha256" .. hash, "A hash, as hexadecimal digits unless raw." },
    { "sha384" .. hash, "A hash, as hexadecimal digits unless raw." },
    { "sha512" .. hash, "A hash, as hexadecimal digits unless raw." },
    { "hmac(hash: string, key: string, text: string, form?: \"hex\"|\"raw\"): string",
      "A keyed hash by `sha1`, `sha256`, `sha384` or `sha512`." },
    { "equals(a: string, b: string): boolean", "Compares in a time that does not depend on where they differ." },
    { "random(bytes: integer): string", "Unpredictable bytes." },
    { "password_hash(password: string, options?: { method?: \"yescrypt\"|\"scrypt\"|\"bcrypt\"|\"sha512\", "
      .. "cost?: integer }): string?, string?", "A hash to keep; computed by a thread beside the loop.",
      waits = true, errors = { "overload", "password_unusable" } },
    { "password_verify(password: string, hash: string): boolean?, string?",
      "Is it the password of that hash? Also of htpasswd's.", waits = true, errors = { "overload" } },
    { "password_check(hash: string): string?", "Nil, or what is wrong with a hash." },
  } },

  { class = "moonlatch.Jwt", name = "gw.jwt", probe = "gw.jwt", doc = "Tokens.", members = {
    { "keys(source: moonlatch.KeySource|moonlatch.KeySource[]): moonlatch.Keys",
      "Keys, parsed once; each verifies the algorithms of its kind only." },
    { "verifier(keys: moonlatch.Keys, rules: moonlatch.JwtRules): "
      .. "fun(token: string): (table?, string?, string?)",
      "A function that gives the claims, or nil, a code and a message; with a cache of good tokens." },
    { "verify(token: string, keys: moonlatch.Keys, rules: moonlatch.JwtRules): table?, string?, string?",
      "The same for one token, without a cache.", errors = { "token_missing", "token_malformed",
      "token_too_large", "header_critical", "token_type_not_allowed", "alg_not_allowed", "key_unknown",
      "keys_unavailable", "signature_invalid", "claim_invalid", "claim_missing", "token_expired",
      "token_not_yet_valid", "issuer_invalid", "audience_invalid", "subject_invalid" } },
    { "sign(claims: table, keys: moonlatch.Keys, options: { alg: string, kid?: string, expires_in?: seconds })"
      .. ": string?, string?", "A token with `iat` of now, and `exp` when it expires; nil and a message." },
  } },
}
