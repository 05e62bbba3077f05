---@meta moonlatch
--- Types of moonlatch's script API for lua-language-server; made by `moonlatch init`, never run.
---@diagnostic disable: lowercase-global, unused-local, missing-return
-- luacheck: ignore

--- The policy api_key and its options, see docs/policies.md.
---@class moonlatch.policy.api_key
---@field [1] "api_key"
---@field cache seconds? How long an answer of Redis is remembered; a key that was withdrawn works that long.
---@field file string? The text of a file (see gw.file) with lines of name:hash; # begins a comment.
---@field header string? The header with the key.
---@field hide boolean? Removes the key's header from what the upstream gets.
---@field keys table? Keys by name: the SHA-256 of each, in hexadecimal digits.
---@field prefix string? What stands before the hash in Redis.
---@field query string? A parameter of the query that may have the key; beware, queries are logged by many.
---@field redis any? A gw.redis: the key is known when there is a value, its name, under prefix and hash.
---@field user_header string? The header in which the upstream gets the name of the key.

--- The policy basic_auth and its options, see docs/policies.md.
---@class moonlatch.policy.basic_auth
---@field [1] "basic_auth"
---@field cache seconds? How long a password that was good is not checked again; 0 checks each time.
---@field hide boolean? Removes Authorization from what the upstream gets.
---@field realm string? What browsers show when they ask.
---@field user_header string? The header in which the upstream gets the user's name.
---@field users string|table The text of an htpasswd file (see gw.file), or a table of hashes by user.

--- The policy body_limit and its options, see docs/policies.md.
---@class moonlatch.policy.body_limit
---@field [1] "body_limit"
---@field max bytes The largest body that may come; 0 for none.

--- The policy cache and its options, see docs/policies.md.
---@class moonlatch.policy.cache
---@field [1] "cache"
---@field bypass function? function(req): true when the cache is not to be used.
---@field default_ttl seconds? Lifetime of responses that state none; 0 does not keep them.
---@field header string? Name of the field that tells what happened.
---@field ignore_client boolean? Ignore Cache-Control and Pragma of requests, so that clients can not make the upstream work.
---@field keep seconds? How long a stale response that can be revalidated stays.
---@field key function? function(req) -> text that belongs to the key, beside scheme, host, path and query.
---@field max_body bytes? Largest body.
---@field max_ttl seconds? Longest lifetime.
---@field name string? Caches of one name share what they keep.
---@field purge string[]? Networks whose clients may PURGE; none by default.
---@field stale_if_error seconds? Answer with what is stale for no longer when the upstream fails.
---@field stale_while_revalidate seconds? Answer with what is stale for no longer, and ask in the background.
---@field statuses integer[]? Statuses of responses that may be kept.
---@field strip_set_cookie boolean? Keep responses with Set-Cookie, without that field; the first client still gets it.
---@field wait seconds? How long a request waits for another one that fetches the same.

--- The policy circuit_breaker and its options, see docs/policies.md.
---@class moonlatch.policy.circuit_breaker
---@field [1] "circuit_breaker"
---@field error_ratio number? Share of failures that opens it.
---@field key (string|function)? A name, or function(req) -> name of at most 200 bytes (else none); or the route's pattern.
---@field min_requests integer? Requests in the window before the share counts.
---@field open_for seconds? How long nothing is asked.
---@field probe_timeout seconds? After so long a probe that did not end is taken for lost, and another one may go.
---@field statuses integer[]? Statuses of the upstream that are failures.
---@field window seconds? Length of a window.

--- The policy compress and its options, see docs/policies.md.
---@class moonlatch.policy.compress
---@field [1] "compress"
---@field brotli_level integer? Of brotli.
---@field encodings string[]? What is offered; of equals for the client the first.
---@field gzip_level integer? Of gzip and deflate: 1 is fast, 9 small.
---@field min_length bytes? Shorter answers are left as they are.
---@field types string[]? Media types: "type/subtype", "type/*", "+suffix" or "*".

--- The policy cors and its options, see docs/policies.md.
---@class moonlatch.policy.cors
---@field [1] "cors"
---@field credentials boolean? Allow cookies and HTTP authentication.
---@field expose string[]? Response headers that pages may read.
---@field headers string[]? Request headers that a preflight allows; without it, those that it asks for.
---@field max_age seconds? How long browsers may remember a preflight.
---@field methods string[]? Methods that a preflight allows.
---@field origins string[] Origins, patterns, `null` or `*`; nobody when it is empty.
---@field preflight_status integer? Status of the answer to a preflight.
---@field private_network boolean? Allow pages of the public network to call a server in a private one.

--- The policy fault and its options, see docs/policies.md.
---@class moonlatch.policy.fault
---@field [1] "fault"
---@field abort_share number? Share of the requests that are refused.
---@field delay seconds? How long a request is held.
---@field delay_share number? Share of the requests that are held.
---@field enabled boolean Must be true: the policy does harm.
---@field header string? Only requests with this header are hurt.
---@field status integer? Status of the refusal.

--- The policy forward_auth and its options, see docs/policies.md.
---@class moonlatch.policy.forward_auth
---@field [1] "forward_auth"
---@field copy string[]? Headers of the service's answer that the upstream gets; the client's own are removed.
---@field redirects boolean? Let the service redirect the client (302, 303, 307).
---@field send string[]? Request headers that the service gets.
---@field timeout seconds? How long to wait.
---@field tls table? What is demanded of an https server, see gw.client_tls.
---@field url string Where to ask.

--- The policy ip_restrict and its options, see docs/policies.md.
---@class moonlatch.policy.ip_restrict
---@field [1] "ip_restrict"
---@field allow string[]? Networks that may in; everybody when it is empty.
---@field deny string[]? Networks that may not.
---@field of ("client"|"peer")? Whose address is judged.

--- The policy jwt and its options, see docs/policies.md.
---@class moonlatch.policy.jwt
---@field [1] "jwt"
---@field algorithms string[] The algorithms that are accepted, such as HS256, RS256, ES256 or EdDSA; there is no default.
---@field audience (string|any[])? The claim aud must have this, or one of these.
---@field cache boolean? Remember tokens whose signature was good, until they expire: bounded, in each worker.
---@field deny function? function(req, status, code, message) that makes another answer than the usual one.
---@field headers table? Headers for the upstream by name: the claim whose value they have, or a list, of which the first that the token has counts.
---@field issuer (string|any[])? The claim iss must be this, or one of these.
---@field jwks (string|table)? A JSON Web Key Set.
---@field jwks_refresh seconds? How often the key set is fetched.
---@field jwks_tls table? What is demanded of the server of jwks_url, see gw.client_tls; it is verified in any case.
---@field jwks_url string? Where to fetch the key set: in the background, and again when a token names an unknown key.
---@field keys any? What gw.jwt.keys returned, or a list of sources for it: for several keys, each with its algs.
---@field leeway seconds? How far the clocks of issuer and gateway may differ.
---@field optional boolean? Lets requests without a token pass, without req.user; a bad token is still refused.
---@field public_key string? A public key or certificate as PEM text, see gw.file.
---@field realm string? The realm in WWW-Authenticate.
---@field reject_types string[]? Tokens with one of these as typ, type, token_type or token_use are refused.
---@field required string[]? Claims that a token must have.
---@field roles string[]? Roles of which a token must have one.
---@field roles_claim string? The claim with the roles: words, or a list.
---@field scope_claim string? The claim with the scopes: words, or a list.
---@field scopes string[]? Scopes that a token must have, all of them.
---@field secret string? The secret of HS256, HS384 and HS512.
---@field sources string[]? Where the token is looked for, in this order: "bearer", "cookie:NAME", "query:NAME".

--- The policy maintenance and its options, see docs/policies.md.
---@class moonlatch.policy.maintenance
---@field [1] "maintenance"
---@field allow string[]? Networks whose clients are served as ever.
---@field enabled boolean? Whether the service is closed.
---@field except string[]? Paths that are served as ever, each exactly as written.
---@field html string? A whole HTML page for browsers.
---@field message string? `message` of the JSON answer.
---@field retry_after integer? Retry-After: when to come back.

--- The policy mirror and its options, see docs/policies.md.
---@class moonlatch.policy.mirror
---@field [1] "mirror"
---@field credentials boolean? Copy Authorization and Cookie.
---@field max_body bytes? Requests with a larger body are not copied.
---@field max_concurrent integer? Copies under way, per worker.
---@field methods string[]? Methods that are copied; others would be done twice when both servers share their data.
---@field share number? Share of the requests that are copied.
---@field timeout seconds? When a copy is given up.
---@field tls table? What is demanded of an https server, see gw.client_tls.
---@field to string Origin of the other server, `http://host:port`, maybe with a prefix of the path.

--- The policy rate_limit and its options, see docs/policies.md.
---@class moonlatch.policy.rate_limit
---@field [1] "rate_limit"
---@field algorithm ("fixed"|"gcra"|"sliding"|"concurrency")? A window that begins with a client's first request; a bucket of `burst` that fills evenly; this window's and, fading, the last one's; or `limit` at a time.
---@field body (table|string|function)? Body of a refusal: a table (JSON), a text or a function(req, info) that gives one of them; otherwise `{ error, message, retryAfter }`. info: limit remaining reset retry_after degraded.
---@field burst integer? gcra: requests at once; `limit` when not given.
---@field cost (integer|function)? What a request counts, or a function(req) that says so (a whole number, 0 and more).
---@field fallback table? `{ share = 0.5 }`: this gateway's part of the limit while Redis fails; 1 when not given.
---@field headers ("draft6"|"draft8"|"legacy"|"none")? Which headers tell what is left.
---@field ipv6_prefix integer? IPv6 addresses count as the network of so many bits: a client has all addresses of one.
---@field key (string|function)? Who is counted: "ip", "user" (without one: the address), "route", "header:NAME" (without it: the address) or a function(req); when that gives nil, the request is not counted.
---@field limit integer? Requests per window, or at a time.
---@field name string? Name of the counters, also in draft8.
---@field nodelay boolean? gcra: `false` lets requests of a burst wait until they flow evenly.
---@field on_limited function? function(req, info), called for each refusal.
---@field redis any? What gw.redis returned: count there.
---@field skip string[]? Paths or route patterns that are not counted, exactly as written: "/health", "GET /metrics".
---@field skip_if function? function(req): true when this request is not counted.
---@field status integer? Status of a refusal.
---@field window seconds? Length of a window; sliding: whole seconds; concurrency in Redis: the longest a request counts.

--- The policy redirect and its options, see docs/policies.md.
---@class moonlatch.policy.redirect
---@field [1] "redirect"
---@field except string[]? Paths that are left alone, each exactly as written.
---@field host string? The canonical host, in lower case and without a port.
---@field https boolean? Redirect what did not come by https.
---@field https_port integer? Port of the https address.
---@field status integer? Status of the answer.
---@field trailing_slash ("add"|"remove")? `add` one to each path whose last part has no dot, or `remove` it from each but `/`.

--- The policy request_id and its options, see docs/policies.md.
---@class moonlatch.policy.request_id
---@field [1] "request_id"
---@field accept_from string[]? Networks of the proxies whose ids are used.
---@field format ("hex"|"uuid7")? How new ids look.
---@field header string? The header's name.

--- The policy retry and its options, see docs/policies.md.
---@class moonlatch.policy.retry
---@field [1] "retry"
---@field attempts integer? Attempts in all.
---@field backoff seconds? Longest pause before attempt 2.
---@field budget number? Retries per request.
---@field errors boolean? Try again when no answer of the upstream came.
---@field max_backoff seconds? Longest pause at all.
---@field max_body bytes? Largest request body that is kept to be sent again.
---@field methods string[]? Methods that may be repeated.
---@field reserve integer? Retries that are possible at once.
---@field statuses integer[]? Statuses of the upstream after which to try again.

--- The policy security_headers and its options, see docs/policies.md.
---@class moonlatch.policy.security_headers
---@field [1] "security_headers"
---@field content_type_options (string|boolean)? X-Content-Type-Options
---@field cross_origin_embedder_policy (string|boolean)? Cross-Origin-Embedder-Policy; off, as in helmet 8.
---@field cross_origin_opener_policy (string|boolean)? Cross-Origin-Opener-Policy
---@field cross_origin_resource_policy (string|boolean)? Cross-Origin-Resource-Policy
---@field csp (table|boolean)? Content-Security-Policy: directives; `true` for helmet's alone, `false` for none.
---@field csp_defaults boolean? Complete `csp` by helmet's directives.
---@field csp_report_only boolean? Browsers report what they would block, no more.
---@field dns_prefetch_control (string|boolean)? X-DNS-Prefetch-Control
---@field download_options (string|boolean)? X-Download-Options
---@field frame_options (string|boolean)? X-Frame-Options
---@field hsts (string|boolean)? Strict-Transport-Security: on every answer, on those over TLS only, or never.
---@field hsts_max_age seconds? How long browsers use TLS only.
---@field hsts_preload boolean? Consent to be in the lists that browsers ship.
---@field hsts_subdomains boolean? Also for all sub-domains.
---@field origin_agent_cluster (string|boolean)? Origin-Agent-Cluster
---@field permissions_policy string? Permissions-Policy, such as `camera=(), geolocation=(self)`.
---@field permitted_cross_domain_policies (string|boolean)? X-Permitted-Cross-Domain-Policies
---@field referrer_policy (string|boolean)? Referrer-Policy: one policy, or several separated by commas.
---@field remove string[]? Response headers that tell what is behind the gateway.
---@field xss_protection (string|boolean)? X-XSS-Protection; the filter it controlled did harm, `0` turns it off.

--- The policy session and its options, see docs/policies.md.
---@class moonlatch.policy.session
---@field [1] "session"
---@field absolute seconds? A session ends so long after it began, or after `regenerate`.
---@field cookie string? Name of the cookie.
---@field domain string? `Domain` of the cookie.
---@field hide boolean? Removes the cookie from what the upstream gets.
---@field http_only boolean? `HttpOnly`: scripts of a page can not read the cookie.
---@field idle seconds? A session that is not used for so long ends.
---@field max_size bytes? Largest data, as JSON.
---@field on_failure ("refuse"|"anonymous")? When the store fails: `"refuse"` answers 503, `"anonymous"` goes on without a session.
---@field path string? `Path` of the cookie.
---@field prefix string? What keys of the store begin with.
---@field rolling boolean? Sets the cookie with each answer, living for `idle`; otherwise once, living for `absolute`.
---@field same_site ("Lax"|"Strict"|"None")? `SameSite` of the cookie.
---@field secrets string|string[] Secrets of at least 32 bytes: the first one signs, all are accepted.
---@field secure boolean? `Secure`: the cookie is sent over TLS only.
---@field store any? `"shared"` (memory of this machine) or what `gw.redis` returned.

--- The policy slow_down and its options, see docs/policies.md.
---@class moonlatch.policy.slow_down
---@field [1] "slow_down"
---@field delay_after integer? Requests per window that do not wait.
---@field delay_fixed seconds? How long each further request waits; instead of `delay_step`.
---@field delay_step seconds? How much longer each further request waits than the one before it.
---@field ipv6_prefix integer? IPv6 addresses count as the network of so many bits: a client has all addresses of one.
---@field key (string|function)? Who is counted: "ip", "user" (without one: the address), "route", "header:NAME" (without it: the address) or a function(req); when that gives nil, the request is not counted.
---@field max_delay seconds? No request waits longer.
---@field max_waiting integer? Requests that may wait at a time in a worker.
---@field name string? Name of the counters.
---@field redis any? What gw.redis returned: count there.
---@field skip string[]? Paths or route patterns that are not counted, exactly as written: "/health", "GET /metrics".
---@field skip_if function? function(req): true when this request is not counted.
---@field window seconds? Length of a window.

--- The policy timeout and its options, see docs/policies.md.
---@class moonlatch.policy.timeout
---@field [1] "timeout"
---@field seconds seconds Until the answer's head is there.

--- The policy trace_context and its options, see docs/policies.md.
---@class moonlatch.policy.trace_context
---@field [1] "trace_context"
---@field accept_from string[]? Networks of peers whose traces are continued; without it, everybody's.
---@field response_header string? Name of a response header that tells the client the trace.
---@field sample number? Share of the traces begun here that say `sampled`; those of others keep what they say.

--- The policy transform and its options, see docs/policies.md.
---@class moonlatch.policy.transform
---@field [1] "transform"
---@field max_body bytes? Largest body whose JSON is changed.
---@field request table? Changes of `headers query path json`.
---@field response table? Changes of `headers json`.

--- A policy that is shipped, with options.
---@alias moonlatch.Policy moonlatch.policy.api_key|moonlatch.policy.basic_auth|moonlatch.policy.body_limit|moonlatch.policy.cache|moonlatch.policy.circuit_breaker|moonlatch.policy.compress|moonlatch.policy.cors|moonlatch.policy.fault|moonlatch.policy.forward_auth|moonlatch.policy.ip_restrict|moonlatch.policy.jwt|moonlatch.policy.maintenance|moonlatch.policy.mirror|moonlatch.policy.rate_limit|moonlatch.policy.redirect|moonlatch.policy.request_id|moonlatch.policy.retry|moonlatch.policy.security_headers|moonlatch.policy.session|moonlatch.policy.slow_down|moonlatch.policy.timeout|moonlatch.policy.trace_context|moonlatch.policy.transform


--- What a script may ask of the gateway.
---@class moonlatch
---@field env moonlatch.Env The environment.
---@field json moonlatch.Json JSON.
---@field log moonlatch.Log The log.
---@field http moonlatch.Http HTTP requests of scripts.
---@field crypto moonlatch.Crypto Hashes and passwords.
---@field jwt moonlatch.Jwt Tokens.
---@field metrics moonlatch.Metrics Metrics of the site.
---@field upstreams table<string, moonlatch.UpstreamHandle> The upstreams of the site, by name.
local moonlatch = {}

--- Settings of the whole gateway; once, in gateway.lua.
--- Only while the site is loaded.
---@param options moonlatch.Settings
function moonlatch.settings(options) end

--- A listener.
--- Only while the site is loaded.
---@param options moonlatch.Listen
function moonlatch.listen(options) end

--- A named group of servers.
--- Only while the site is loaded.
---@param name string
---@param options moonlatch.Upstream
---@return moonlatch.UpstreamHandle
function moonlatch.upstream(name, options) end

--- Files of a directory, as what a route responds with.
--- Only while the site is loaded.
---@param options moonlatch.Static
---@return moonlatch.Responder
function moonlatch.static(options) end

--- Middlewares of all requests, or of the group around it.
--- Only while the site is loaded.
---@param list moonlatch.Step[]
function moonlatch.use(list) end

--- Routes with a common prefix, and what they go through.
--- Only while the site is loaded.
---@param prefix string
---@param options moonlatch.Group|fun()
---@param body? fun()
function moonlatch.group(prefix, options, body) end

--- A route: `METHOD /path/:param/*rest`.
--- Only while the site is loaded.
---@param pattern string
---@param options moonlatch.Route|fun(req: moonlatch.Request): moonlatch.Response?
function moonlatch.route(pattern, options) end

--- Routes that are shipped: `health`, `status`, `redirect` ...
--- Only while the site is loaded.
---@param name string
---@param options? table
function moonlatch.mount(name, options) end

--- The text of a data file of the site.
--- Only while the site is loaded.
---@param name string
---@return string
function moonlatch.file(name) end

--- 64 hexadecimal digits that nobody else can know, the same in all workers until a restart.
--- Only while the site is loaded.
---@param name string
---@return string
function moonlatch.secret(name) end

--- TLS options for `gw.http`, checked once.
--- Only while the site is loaded.
---@param options moonlatch.ClientTls
---@return moonlatch.ClientTls
function moonlatch.client_tls(options) end

--- A client of Redis; connects with its first command.
--- Only while the site is loaded.
---@param url string
---@param options? moonlatch.RedisOptions
---@return moonlatch.Redis
function moonlatch.redis(url, options) end

--- A limiter.
--- Only while the site is loaded.
---@param options moonlatch.LimiterOptions
---@return moonlatch.Limiter
function moonlatch.ratelimit(options) end

--- A response; a table as body becomes JSON.
---@param status integer
---@param body? string|table
---@param headers? table<string, string|number|string[]>
---@return moonlatch.Response
function moonlatch.response(status, body, headers) end

--- A JSON response `{ error, message, requestId }`.
---@param status integer
---@param code string
---@param message? string
---@return moonlatch.Response
function moonlatch.error(status, code, message) end

--- A redirect.
---@param location string
---@param status? integer
---@return moonlatch.Response
function moonlatch.redirect(location, status) end

--- A WebSocket that ends in the script: what a route responds with; with the request first, a response.
---@param options moonlatch.WebSocketOptions|moonlatch.Request
---@param fn moonlatch.WebSocketOptions|fun(ws: moonlatch.WebSocket, req: moonlatch.Request)
---@param fn_with_request? fun(ws: moonlatch.WebSocket, req: moonlatch.Request)
---@return moonlatch.Responder|moonlatch.Response
function moonlatch.websocket(options, fn, fn_with_request) end

--- Waits.
--- Waits.
---@param seconds seconds
function moonlatch.sleep(seconds) end

--- Runs functions side by side; their first results under the same keys. One that raises cancels the others; with `settle` each result is `{ ok, value or error }`.
--- Waits.
---@param functions table<any, fun(): any>
---@param options? { settle?: boolean }
---@return table
function moonlatch.all(functions, options) end

--- The first result and its key; the others are cancelled.
--- Waits.
---@param functions table<any, fun(): any>
---@return any
---@return any
function moonlatch.race(functions) end

--- Runs a function in the background; its errors go to the log.
---@param fn fun(...)
---@param ... any
function moonlatch.spawn(fn, ...) end

--- Runs fn in the background with a copy of the running request; `next()` in it goes through the inner part again.
--- Codes: overload.
---@param fn fun(req: moonlatch.Request)
---@return boolean?
---@return string?
function moonlatch.detach(fn) end

--- Calls fn later; made at load it starts when the site becomes live.
---@param seconds seconds
---@param fn fun()
---@param options? moonlatch.TimerOptions
---@return moonlatch.Timer
function moonlatch.timer(seconds, fn, options) end

--- A table that all workers share and that survives reloads.
---@param name string
---@return moonlatch.Dict
function moonlatch.shared(name) end

--- Changes of header fields, checked once: `{ name, value }`, `{ name, false }` removes, `{ "X-In-*", false }` by prefix, `{ name, value, true }` merges into a list.
---@param list any[]
---@return moonlatch.Fields
function moonlatch.fields(list) end

--- A set of networks; asking costs the same for any number.
---@param list string[]
---@return moonlatch.Networks
function moonlatch.networks(list) end

--- The wall clock, seconds since 1970.
---@return number
function moonlatch.now() end

--- A clock that only goes forward, in seconds.
---@return number
function moonlatch.mono() end

--- A time, now unless given, as RFC 3339 writes it.
---@param seconds? number
---@return string
function moonlatch.time_iso(seconds) end

--- Time since the gateway started.
---@return seconds
function moonlatch.uptime() end

--- JSON text of `moonlatch status --json`.
---@return string
function moonlatch.status() end

--- Unpredictable, from 0 to below 1.
---@return number
function moonlatch.random() end

--- Unpredictable bytes, as hexadecimal digits.
---@param bytes integer
---@return string
function moonlatch.random_hex(bytes) end

--- Is the address in one of the networks?
---@param ip string
---@param networks string[]
---@return boolean
function moonlatch.ip_match(ip, networks) end

--- Text with percent escapes.
---@param text string
---@return string
function moonlatch.url_encode(text) end

--- Text without them.
---@param text string
---@return string?
function moonlatch.url_decode(text) end

--- Base64; with `url` base64url without padding.
---@param text string
---@param url? boolean
---@return string
function moonlatch.base64_encode(text, url) end

--- The one of these codings that a client with that Accept-Encoding wants most; nil for none.
---@param value? string
---@param codings string[]
---@return string?
function moonlatch.accept_encoding(value, codings) end

--- The bytes; nil for what is no base64.
---@param text string
---@param url? boolean
---@return string?
function moonlatch.base64_decode(text, url) end

--- Values of the environment, read at load.
---@class moonlatch.Env
---@overload fun(name: string, default?: string): string
local moonlatch_Env = {}

--- A number; anything else is a load error.
---@param name string
---@param default? number
---@return number
function moonlatch_Env.number(name, default) end

--- `true 1 yes on`, `false 0 no off`.
---@param name string
---@param default? boolean
---@return boolean
function moonlatch_Env.boolean(name, default) end

--- The parts between commas.
---@param name string
---@param default? string[]
---@return string[]
function moonlatch_Env.list(name, default) end

--- JSON.
---@class moonlatch.Json
---@field null any JSON's null.
local moonlatch_Json = {}

--- JSON text; nil and a message when it can not be done.
---@param value any
---@return string?
---@return string?
function moonlatch_Json.encode(value) end

--- The same with line breaks and indentation.
---@param value any
---@return string?
---@return string?
function moonlatch_Json.pretty(value) end

--- The value; nil and a message for malformed text.
---@param text string
---@return any
---@return string?
function moonlatch_Json.decode(text) end

--- Marks a list, so that an empty one is `[]`.
---@param t table
---@return table
function moonlatch_Json.array(t) end

--- The log: JSON lines with the request id.
---@class moonlatch.Log
---@overload fun(message: string, fields?: table)
local moonlatch_Log = {}

--- A line of level debug.
---@param message string
---@param fields? table
function moonlatch_Log.debug(message, fields) end

--- A line of level info.
---@param message string
---@param fields? table
function moonlatch_Log.info(message, fields) end

--- A line of level warn.
---@param message string
---@param fields? table
function moonlatch_Log.warn(message, fields) end

--- A line of level error.
---@param message string
---@param fields? table
function moonlatch_Log.error(message, fields) end

--- HTTP requests of scripts.
---@class moonlatch.Http
---@overload fun(request: moonlatch.HttpRequest): moonlatch.HttpResult?, string?, string?
local moonlatch_Http = {}

--- The same as calling it.
--- Waits.
---@param request moonlatch.HttpRequest
---@return moonlatch.HttpResult?
---@return string?
---@return string?
function moonlatch_Http.request(request) end

--- GET.
--- Waits.
---@param url string
---@param options? moonlatch.HttpRequest
---@return moonlatch.HttpResult?
---@return string?
---@return string?
function moonlatch_Http.get(url, options) end

--- HEAD.
--- Waits.
---@param url string
---@param options? moonlatch.HttpRequest
---@return moonlatch.HttpResult?
---@return string?
---@return string?
function moonlatch_Http.head(url, options) end

--- POST.
--- Waits.
---@param url string
---@param options? moonlatch.HttpRequest
---@return moonlatch.HttpResult?
---@return string?
---@return string?
function moonlatch_Http.post(url, options) end

--- PUT.
--- Waits.
---@param url string
---@param options? moonlatch.HttpRequest
---@return moonlatch.HttpResult?
---@return string?
---@return string?
function moonlatch_Http.put(url, options) end

--- PATCH.
--- Waits.
---@param url string
---@param options? moonlatch.HttpRequest
---@return moonlatch.HttpResult?
---@return string?
---@return string?
function moonlatch_Http.patch(url, options) end

--- DELETE.
--- Waits.
---@param url string
---@param options? moonlatch.HttpRequest
---@return moonlatch.HttpResult?
---@return string?
---@return string?
function moonlatch_Http.delete(url, options) end

--- Hashes and passwords.
---@class moonlatch.Crypto
local moonlatch_Crypto = {}

--- A hash, as hexadecimal digits unless raw.
---@param text string
---@param form? "hex"|"raw"
---@return string
function moonlatch_Crypto.sha1(text, form) end

--- A hash, as hexadecimal digits unless raw.
---@param text string
---@param form? "hex"|"raw"
---@return string
function moonlatch_Crypto.sha256(text, form) end

--- A hash, as hexadecimal digits unless raw.
---@param text string
---@param form? "hex"|"raw"
---@return string
function moonlatch_Crypto.sha384(text, form) end

--- A hash, as hexadecimal digits unless raw.
---@param text string
---@param form? "hex"|"raw"
---@return string
function moonlatch_Crypto.sha512(text, form) end

--- A keyed hash by `sha1`, `sha256`, `sha384` or `sha512`.
---@param hash string
---@param key string
---@param text string
---@param form? "hex"|"raw"
---@return string
function moonlatch_Crypto.hmac(hash, key, text, form) end

--- Compares in a time that does not depend on where they differ.
---@param a string
---@param b string
---@return boolean
function moonlatch_Crypto.equals(a, b) end

--- Unpredictable bytes.
---@param bytes integer
---@return string
function moonlatch_Crypto.random(bytes) end

--- A hash to keep; computed by a thread beside the loop.
--- Waits. Codes: overload, password_unusable.
---@param password string
---@param options? { method?: "yescrypt"|"scrypt"|"bcrypt"|"sha512", cost?: integer }
---@return string?
---@return string?
function moonlatch_Crypto.password_hash(password, options) end

--- Is it the password of that hash? Also of htpasswd's.
--- Waits. Codes: overload.
---@param password string
---@param hash string
---@return boolean?
---@return string?
function moonlatch_Crypto.password_verify(password, hash) end

--- Nil, or what is wrong with a hash.
---@param hash string
---@return string?
function moonlatch_Crypto.password_check(hash) end

--- Tokens.
---@class moonlatch.Jwt
local moonlatch_Jwt = {}

--- Keys, parsed once; each verifies the algorithms of its kind only.
---@param source moonlatch.KeySource|moonlatch.KeySource[]
---@return moonlatch.Keys
function moonlatch_Jwt.keys(source) end

--- A function that gives the claims, or nil, a code and a message; with a cache of good tokens.
---@param keys moonlatch.Keys
---@param rules moonlatch.JwtRules
---@return fun(token: string): (table?, string?, string?)
function moonlatch_Jwt.verifier(keys, rules) end

--- The same for one token, without a cache.
--- Codes: token_missing, token_malformed, token_too_large, header_critical, token_type_not_allowed, alg_not_allowed, key_unknown, keys_unavailable, signature_invalid, claim_invalid, claim_missing, token_expired, token_not_yet_valid, issuer_invalid, audience_invalid, subject_invalid.
---@param token string
---@param keys moonlatch.Keys
---@param rules moonlatch.JwtRules
---@return table?
---@return string?
---@return string?
function moonlatch_Jwt.verify(token, keys, rules) end

--- A token with `iat` of now, and `exp` when it expires; nil and a message.
---@param claims table
---@param keys moonlatch.Keys
---@param options { alg: string, kid?: string, expires_in?: seconds }
---@return string?
---@return string?
function moonlatch_Jwt.sign(claims, keys, options) end

--- A request. Using it after the request ended raises an error.
---@class moonlatch.Request
---@field method string The method, in capitals as a rule.
---@field path string The path in its normal form, decoded as docs/http.md says.
---@field raw_path string The path as it was sent.
---@field query string The query as it was sent, without `?`.
---@field args table<string, string|string[]> The query decoded; a name that occurs again has a list.
---@field params table<string, string> What the pattern's `:name` and `*rest` matched, decoded.
---@field cookies table<string, string> The first cookie of each name.
---@field host string The host that the client asked for, with its port if it named one.
---@field scheme string `http` or `https`: of the connection, or as a trusted proxy says.
---@field version string The version of HTTP, as `1.1`.
---@field ip string The client's address; `trusted_proxies` decides whom to believe.
---@field peer_ip string The address at the other end of the connection.
---@field id string The request id: 1 to 128 visible characters.
---@field route string? The pattern of the route that answers.
---@field headers moonlatch.Headers The header fields, in any case; assigning sets, nil removes.
---@field trace { id: string, span: string, parent: string?, sampled: boolean }? The trace; nil unless `tracing` is on.
---@field tls moonlatch.TlsInfo? What is known about the client's TLS; nil on a plain connection.
---@field listener string The name of the listener: `host:port` unless gw.listen names it.
---@field user any Nil until a middleware assigns it; its `id`, `sub`, `userId` or `user_id` is logged.
---@field ctx table A table in which middlewares leave things for one another.
local moonlatch_Request = {}

--- The first value of a field.
---@param name string
---@return string?
function moonlatch_Request:header(name) end

--- All values of a field, in their order.
---@param name string
---@return string[]
function moonlatch_Request:header_values(name) end

--- How many fields of that name there are.
---@param name string
---@return integer
function moonlatch_Request:header_count(name) end

--- Iterates over names and values of all fields, in their order.
---@return fun(): (string?, string?)
function moonlatch_Request:each_header() end

--- Replaces a field; a list makes several, nil removes. Content-Length, Transfer-Encoding and Connection belong to the core.
---@param name string
---@param value? string|number|string[]|nil
function moonlatch_Request:set_header(name, value) end

--- Adds a field beside those of the same name.
---@param name string
---@param value string|number|string[]
function moonlatch_Request:add_header(name, value) end

--- Removes all fields of that name.
---@param name string
function moonlatch_Request:remove_header(name) end

--- The whole body as it was sent.
--- Waits. Codes: too_large.
---@param opts? moonlatch.BodyOptions
---@return string?
---@return string?
function moonlatch_Request:body(opts) end

--- The same as `body`.
--- Waits. Codes: too_large.
---@param opts? moonlatch.BodyOptions
---@return string?
---@return string?
function moonlatch_Request:text(opts) end

--- The body decoded as JSON.
--- Waits. Codes: too_large, malformed_json.
---@param opts? moonlatch.BodyOptions
---@return any
---@return string?
function moonlatch_Request:json(opts) end

--- The fields of an application/x-www-form-urlencoded body; a name that occurs again has a list.
--- Waits. Codes: too_large.
---@param opts? moonlatch.BodyOptions
---@return table<string, string|string[]>?
---@return string?
function moonlatch_Request:form(opts) end

--- Replaces the body.
---@param text string
---@param content_type? string
function moonlatch_Request:set_body(text, content_type) end

--- Replaces the body by JSON.
---@param value any
function moonlatch_Request:set_json(value) end

--- The token of `Authorization: Bearer`.
---@return string?
function moonlatch_Request:bearer_token() end

--- User and password of `Authorization: Basic`.
---@return string?
---@return string?
function moonlatch_Request:basic_auth() end

--- The path that the upstream gets.
---@param path string
function moonlatch_Request:set_path(path) end

--- The query that the upstream gets: text, or names and values.
---@param query? string|table
function moonlatch_Request:set_query(query) end

--- The Host that the upstream gets.
---@param host string
function moonlatch_Request:set_host(host) end

--- Sends the request to another upstream than the route says.
---@param name string
function moonlatch_Request:set_upstream(name) end

--- Time to the first byte of the answer, instead of the route's.
---@param seconds seconds
function moonlatch_Request:set_timeout(seconds) end

--- Limits the body; false when it is known to be larger. One that grows over it breaks off with 413.
---@param bytes bytes
---@return boolean
function moonlatch_Request:limit_body(bytes) end

--- Adds a field to the request's line of the access log; false when there is no room left.
---@param name string
---@param value? string|number|boolean|nil
---@return boolean
function moonlatch_Request:log_field(name, value) end

--- Calls fn in the background after the exchange ended.
---@param fn fun(done: moonlatch.Done)
function moonlatch_Request:on_done(fn) end

--- A response: what `next()` gave, or one that a script made.
---@class moonlatch.Response
---@field status integer The status, 200 to 599.
---@field headers moonlatch.Headers The header fields, in any case; assigning sets, nil removes.
---@field from "upstream"|"script"|"gateway" Who made it.
---@field timing moonlatch.Timing How long it took.
local moonlatch_Response = {}

--- The first value of a field.
---@param name string
---@return string?
function moonlatch_Response:header(name) end

--- All values of a field, in their order.
---@param name string
---@return string[]
function moonlatch_Response:header_values(name) end

--- How many fields of that name there are.
---@param name string
---@return integer
function moonlatch_Response:header_count(name) end

--- Iterates over names and values of all fields, in their order.
---@return fun(): (string?, string?)
function moonlatch_Response:each_header() end

--- Replaces a field; a list makes several, nil removes. Content-Length, Transfer-Encoding and Connection belong to the core.
---@param name string
---@param value? string|number|string[]|nil
function moonlatch_Response:set_header(name, value) end

--- Adds a field beside those of the same name.
---@param name string
---@param value string|number|string[]
function moonlatch_Response:add_header(name, value) end

--- Removes all fields of that name.
---@param name string
function moonlatch_Response:remove_header(name) end

--- The whole body as it was sent.
--- Waits. Codes: too_large.
---@param opts? moonlatch.BodyOptions
---@return string?
---@return string?
function moonlatch_Response:body(opts) end

--- The same as `body`.
--- Waits. Codes: too_large.
---@param opts? moonlatch.BodyOptions
---@return string?
---@return string?
function moonlatch_Response:text(opts) end

--- The body decoded as JSON.
--- Waits. Codes: too_large, malformed_json.
---@param opts? moonlatch.BodyOptions
---@return any
---@return string?
function moonlatch_Response:json(opts) end

--- The fields of an application/x-www-form-urlencoded body; a name that occurs again has a list.
--- Waits. Codes: too_large.
---@param opts? moonlatch.BodyOptions
---@return table<string, string|string[]>?
---@return string?
function moonlatch_Response:form(opts) end

--- Replaces the body.
---@param text string
---@param content_type? string
function moonlatch_Response:set_body(text, content_type) end

--- Replaces the body by JSON.
---@param value any
function moonlatch_Response:set_json(value) end

--- Sends what fn returns for each piece of the body, decoded, as it streams by; fn may wait.
--- Codes: unsupported_encoding, overload.
---@param fn fun(chunk: string, last: boolean): string?
---@return nil
---@return string?
function moonlatch_Response:map_body(fn) end

--- Bytes of the body, when that is known.
---@return number?
function moonlatch_Response:length() end

--- Compresses the body as it streams by; flush lets the client read each piece as it comes.
--- Codes: overload.
---@param coding "br"|"gzip"|"deflate"
---@param level? integer
---@param flush? boolean
---@return boolean?
---@return string?
function moonlatch_Response:encode(coding, level, flush) end

--- Makes an encoded body plain as it streams by.
--- Codes: unsupported_encoding, overload.
---@return boolean?
---@return string?
function moonlatch_Response:decode() end

--- Header fields that are read, and set, like a table's.
---@class moonlatch.Headers
---@field [string] string|number|string[]|nil
local moonlatch_Headers = {}

--- How much of a body to take.
---@class moonlatch.BodyOptions
---@field max bytes? A larger body is `nil, "too_large"`, and stays whole. Default: `1048576`.
local moonlatch_BodyOptions = {}

--- Durations of an exchange.
---@class moonlatch.Timing
---@field upstream seconds? From sending the request to the head of the upstream's answer.
---@field total seconds Since the request came.
---@field tries integer Servers that were asked.
local moonlatch_Timing = {}

--- What is known when an exchange has ended.
---@class moonlatch.Done
---@field status integer The status that was sent.
---@field duration seconds From the request's first byte to the end.
---@field bytes_in bytes Size of the request's body.
---@field bytes_out bytes Size of the answer's body.
---@field tries integer Servers that were asked.
---@field upstream_duration seconds? From sending the request to the head of the upstream's answer.
---@field method string The method.
---@field path string The path.
---@field id string The request id.
---@field ip string The client's address.
---@field route string? The pattern of the route.
---@field upstream string? The name of the upstream.
---@field server string? The server that answered.
---@field user_id string? Who it was, see `req.user`.
---@field err string? Why it did not end well.
local moonlatch_Done = {}

--- What `gw.shared(name)` gives.
---@class moonlatch.Dict
local moonlatch_Dict = {}

--- The value.
---@param key string
---@return string|number|boolean|nil
function moonlatch_Dict:get(key) end

--- Sets a value.
---@param key string
---@param value string|number|boolean
---@param ttl? seconds
---@return boolean?
---@return string?
function moonlatch_Dict:set(key, value, ttl) end

--- Sets a value unless there is one.
--- Codes: exists.
---@param key string
---@param value string|number|boolean
---@param ttl? seconds
---@return boolean?
---@return string?
function moonlatch_Dict:add(key, value, ttl) end

--- Adds to a number; the sum, nil, and the time that is left.
---@param key string
---@param by? number
---@param options? seconds|{ init?: number, ttl?: seconds }
---@return number?
---@return string?
---@return seconds?
function moonlatch_Dict:incr(key, by, options) end

--- Removes a value.
---@param key string
function moonlatch_Dict:delete(key) end

--- Removes all.
function moonlatch_Dict:clear() end

--- Some of the keys.
---@param max? integer
---@return string[]
function moonlatch_Dict:keys(max) end

--- What `gw.fields(list)` gives.
---@class moonlatch.Fields
local moonlatch_Fields = {}

--- Puts them on a request or a response.
---@param message moonlatch.Request|moonlatch.Response
function moonlatch_Fields:apply(message) end

--- Puts them on answers that the core makes in place of the chain's.
---@param req moonlatch.Request
function moonlatch_Fields:keep(req) end

--- What `gw.networks(list)` gives.
---@class moonlatch.Networks
local moonlatch_Networks = {}

--- Is the address in one of them?
---@param ip string
---@return boolean
function moonlatch_Networks:has(ip) end

--- What `gw.timer` gives.
---@class moonlatch.Timer
local moonlatch_Timer = {}

--- Ends it.
function moonlatch_Timer:cancel() end

--- Options of `gw.timer`.
---@class moonlatch.TimerOptions
---@field repeating boolean? Again and again. Default: `false`.
---@field immediately boolean? The first time at once. Default: `false`.
---@field once_per_machine boolean? In one worker only. Default: `false`.
local moonlatch_TimerOptions = {}

--- A request of `gw.http`.
---@class moonlatch.HttpRequest
---@field url string? `http://host[:port]/path`; get, post ... have it as their first argument.
---@field method string? The method. Default: `"GET"`.
---@field headers table<string, string|number|string[]>? Header fields.
---@field body string? The body.
---@field json any? A body that becomes JSON.
---@field query string|table|nil The query: text, or names and values.
---@field timeout seconds? Of the whole request. Default: `10`.
---@field connect_timeout seconds? Until there is a connection. Default: `2`.
---@field max_body bytes? The largest body of an answer. Default: `1048576`.
---@field redirects integer? How many redirects to follow. Default: `0`.
---@field keepalive boolean? May the connection be used again? Default: `true`.
---@field tls moonlatch.ClientTls? What is demanded of an https server.
local moonlatch_HttpRequest = {}

--- TLS to servers: what is demanded of them.
---@class moonlatch.ClientTls
---@field ca string? Authorities that count instead of the system's: PEM text, or a file.
---@field cert string? A certificate of ours, PEM text or a file; with `key`.
---@field key string? Its key.
---@field name string? SNI, and whose certificate it must be; the URL's host.
---@field verify boolean? False: anybody's certificate will do. Default: `true`.
---@field min_version "1.2"|"1.3"|nil The lowest version.
---@field max_version "1.2"|"1.3"|nil The highest version.
---@field ciphers string[]? OpenSSL's names.
---@field curves string[]? OpenSSL's names.
local moonlatch_ClientTls = {}

--- An answer to `gw.http`.
---@class moonlatch.HttpResult
---@field status integer The status.
---@field headers table<string, string|string[]> The header fields, in any case.
---@field body string The body.
local moonlatch_HttpResult = {}

--- The body decoded as JSON.
--- Codes: malformed_json.
---@return any
---@return string?
function moonlatch_HttpResult:json() end

--- What `gw.redis` gives; any command of Redis is a method: `r:get(k)`, `r:set(k, v, "EX", 10)`.
---@class moonlatch.Redis
---@field [string] fun(self: moonlatch.Redis, ...: string|number): any, string?, string?
local moonlatch_Redis = {}

--- A command by its name.
--- Waits. Codes: redis_error, redis_timeout, redis_unavailable.
---@param name string
---@param ... string|number
---@return any
---@return string?
---@return string?
function moonlatch_Redis:command(name, ...) end

--- Sends all at once; with `atomic` as a transaction.
--- Waits. Codes: redis_error, redis_timeout, redis_unavailable.
---@param commands (string|number)[][]
---@param options? { atomic?: boolean }
---@return any[]?
---@return string?
---@return string?
function moonlatch_Redis:pipeline(commands, options) end

--- Runs a script of Redis by its hash.
--- Waits. Codes: redis_error, redis_timeout, redis_unavailable.
---@param script string
---@param keys? string[]
---@param args? (string|number)[]
---@return any
---@return string?
---@return string?
function moonlatch_Redis:eval(script, keys, args) end

--- What the connection does.
---@return "idle"|"connecting"|"ready"|"down"
function moonlatch_Redis:state() end

--- Options of `gw.redis`.
---@class moonlatch.RedisOptions
---@field timeout seconds? Of a command, from the call to the reply. Default: `1`.
---@field connect_timeout seconds? Name, connection, sign-in, answer to PING. Default: `1`.
---@field username string? Instead of the URL's.
---@field password string? Instead of the URL's.
---@field db integer? Instead of the URL's.
---@field tls moonlatch.ClientTls? Of rediss:// URLs.
local moonlatch_RedisOptions = {}

--- What `gw.ratelimit` gives.
---@class moonlatch.Limiter
local moonlatch_Limiter = {}

--- Counts for a key.
--- Waits.
---@param key string
---@param cost? integer
---@return moonlatch.Taken?
---@return string?
function moonlatch_Limiter:take(key, cost) end

--- The same without a table: allowed, remaining, reset, retry_after, delay, lease, degraded.
--- Waits.
---@param key string
---@param cost? integer
---@return boolean?
---@return integer|string
---@return seconds?
---@return seconds?
---@return seconds?
---@return moonlatch.Lease?
---@return boolean?
function moonlatch_Limiter:count(key, cost) end

--- What a limiter says.
---@class moonlatch.Taken
---@field allowed boolean May it pass?
---@field limit integer The limit that counts now.
---@field remaining integer What is left.
---@field reset seconds Until all is there again.
---@field retry_after seconds? When not allowed: until it is worth trying.
---@field delay seconds? gcra: how much too early for an even flow.
---@field degraded boolean Redis failed: counted by this gateway alone.
---@field lease moonlatch.Lease? concurrency: to be given back.
local moonlatch_Taken = {}

--- What a concurrency limiter admitted.
---@class moonlatch.Lease
local moonlatch_Lease = {}

--- Gives it back.
function moonlatch_Lease:release() end

--- Options of `gw.ratelimit`.
---@class moonlatch.LimiterOptions
---@field algorithm "gcra"|"fixed"|"sliding"|"concurrency"? How to count, see docs/limits.md. Default: `"gcra"`.
---@field limit integer Requests per window; concurrency: at a time.
---@field window seconds? The window. Default: `60`.
---@field burst integer? gcra: how many at once; the limit unless given.
---@field redis moonlatch.Redis? Counts there, for all gateways.
---@field prefix string? Name of the counters; limiters with one name share them.
---@field fallback { share?: number }? This gateway's part of the limit while Redis fails.
local moonlatch_LimiterOptions = {}

--- What `gw.jwt.keys` gives; has no members.
---@class moonlatch.Keys
local moonlatch_Keys = {}

--- Where keys come from: exactly one of the first five.
---@class moonlatch.KeySource
---@field secret string? A shared secret.
---@field pem string? A public or private key, or a certificate.
---@field jwk string|table|nil One key.
---@field jwks string|table|nil A set of keys.
---@field url string? A set that is fetched in the background.
---@field kid string? The key's id.
---@field algs string|string[]|nil The algorithms it may be used for.
---@field refresh seconds? url: how often to fetch. Default: `300`.
---@field timeout seconds? url: of a fetch. Default: `5`.
local moonlatch_KeySource = {}

--- What a token has to be like.
---@class moonlatch.JwtRules
---@field algs string|string[] The algorithms that count.
---@field iss string|string[]|nil The issuers that count.
---@field aud string|string[]|nil The audiences that count.
---@field sub string|string[]|nil The subjects that count.
---@field leeway seconds? For clocks that differ. Default: `0`.
---@field required string[]? Claims that must be there.
---@field reject_types string[]? Values of `typ` that are refused.
local moonlatch_JwtRules = {}

--- TLS of a listener; files are in the site.
---@class moonlatch.Tls
---@field cert string? The certificate and its chain.
---@field key string? Its private key.
---@field ocsp string? An OCSP response to staple.
---@field certificates moonlatch.TlsCertificate[]? Several of these, chosen by the name that clients ask for.
---@field min_version "1.2"|"1.3"|nil The least version.
---@field max_version "1.2"|"1.3"|nil The largest version.
---@field ciphers string[]? Cipher suites, by OpenSSL's names.
---@field curves string[]? Groups for the key exchange.
---@field session_tickets boolean? Clients may resume. Default: `true`.
---@field session_timeout seconds? For how long. Default: `3600`.
---@field handshake_timeout seconds? How long a handshake may take. Default: `10`.
---@field client_auth "none"|"optional"|"required"? Are clients asked for a certificate? Default: `"none"`.
---@field client_ca string? Authorities of clients' certificates.
---@field client_crl string? Their lists of revoked certificates.
local moonlatch_Tls = {}

--- One of several certificates.
---@class moonlatch.TlsCertificate
---@field cert string The certificate and its chain.
---@field key string Its private key.
---@field ocsp string? An OCSP response to staple.
---@field names string[]? Names it counts for, instead of those in it.
local moonlatch_TlsCertificate = {}

--- A listener that sends clients to the one with TLS.
---@class moonlatch.TlsRedirect
---@field to "https"? Where to. Default: `"https"`.
---@field status integer? 301, 302, 307 or 308. Default: `308`.
---@field host string? Where to, whatever the client asked for.
---@field port integer? Of the listener with TLS. Default: `443`.
---@field except string[]? Paths that are answered.
local moonlatch_TlsRedirect = {}

--- Whose PROXY headers are believed.
---@class moonlatch.ProxyProtocol
---@field from string[] Networks.
---@field required boolean? Refuses connections from there without one. Default: `false`.
local moonlatch_ProxyProtocol = {}

--- What `req.tls` says.
---@class moonlatch.TlsInfo
---@field version string As `TLSv1.3`.
---@field cipher string The cipher suite.
---@field sni string? The name that the client asked for.
---@field alpn string? `h2` or `http/1.1`.
---@field resumed boolean Was a session resumed?
---@field client { subject: string, issuer: string, serial: string, fingerprint: string, san: string[], verified: boolean }? The client's certificate.
local moonlatch_TlsInfo = {}

--- What `gw.upstream` gives, and `gw.upstreams.NAME` at any time.
---@class moonlatch.UpstreamHandle
---@field name string Its name.
local moonlatch_UpstreamHandle = {}

--- Other servers from now on, in all workers; nil: those of the site again.
---@param list? (string|moonlatch.Server)[]
---@return boolean?
---@return string?
function moonlatch_UpstreamHandle:set_servers(list) end

--- The servers and what is known of them.
---@return moonlatch.ServerState[]
function moonlatch_UpstreamHandle:servers() end

--- No new requests for a server.
---@param url string
---@return boolean?
---@return string?
function moonlatch_UpstreamHandle:drain(url) end

--- Uses it again.
---@param url string
---@return boolean?
---@return string?
function moonlatch_UpstreamHandle:undrain(url) end

--- A server of an upstream.
---@class moonlatch.Server
---@field url string `http://host:port[/prefix]`, `https://...` or `unix:/path`.
---@field weight integer? Its part of the requests. Default: `1`.
---@field max_conns integer? Requests at a time, of all workers; 0 is no limit.
---@field backup boolean? Used when no other server is left.
local moonlatch_Server = {}

--- What is known of a server.
---@class moonlatch.ServerState
---@field url string Its URL.
---@field state string A word such as `up`, `down`, `draining`.
---@field weight number Its weight.
---@field backup boolean Is it a backup?
---@field in_flight integer Requests it has now.
---@field requests integer Requests it had.
---@field errors integer How many of them failed.
---@field last_error string? What failed last.
---@field last_error_at number? When, seconds since 1970.
local moonlatch_ServerState = {}

--- Active checks of servers.
---@class moonlatch.Health
---@field path string? Asked for by HTTP; without it a connection is enough.
---@field host string? The Host field of checks.
---@field method string? The method. Default: `"GET"`.
---@field expect integer|string|(integer|string)[]? Statuses that are good. Default: `"200-399"`.
---@field body string? Text that the answer must have.
---@field port integer? Another port than the server's.
---@field interval seconds? Between two checks. Default: `5`.
---@field timeout seconds? Of a check. Default: `2`.
---@field jitter number? Random part of the interval. Default: `0.1`.
---@field rise integer? Good checks in a row that bring a server back.
---@field fall integer? Bad checks in a row that take it out.
---@field initially "up"|"down"? What counts before the first check. Default: `"up"`.
---@field slow_start seconds? Time to its full weight after it came back.
local moonlatch_Health = {}

--- Options of `gw.static`.
---@class moonlatch.Static
---@field root string The directory with the files; a relative one is below the site.
---@field index string[]? Files that answer for a directory; `index.html` unless given.
---@field try string[]? What is looked for, in this order.
---@field fallback string? The file for every path that leads nowhere.
---@field assets string[]? Patterns of paths that get 404 and not the fallback.
---@field not_found string? The file that is sent with the status 404.
---@field cache string|table<string, string|number>|nil Cache-Control, for all files or by pattern.
---@field precompressed boolean? Sends file.br or file.gz to clients that take it. Default: `false`.
---@field symlinks "no"|"inside"|"yes"? Which symbolic links are followed. Default: `"inside"`.
---@field dotfiles boolean? Serves names that begin with a dot. Default: `false`.
---@field types table<string, string>? Media types by ending.
---@field charset string? The charset of text files. Default: `"utf-8"`.
---@field recheck seconds? How long the way to a file is remembered. Default: `1`.
local moonlatch_Static = {}

--- What the function of `gw.websocket` gets.
---@class moonlatch.WebSocket
---@field open boolean Can it still be sent to?
---@field protocol string? The subprotocol that was agreed on.
---@field compressed boolean Are messages compressed?
local moonlatch_WebSocket = {}

--- The next message and its kind; nil, and the code and reason of the end.
--- Waits. Codes: timeout.
---@param seconds? seconds
---@return string?
---@return string|integer
---@return string?
function moonlatch_WebSocket:receive(seconds) end

--- Iterates over messages and their kinds.
--- Waits.
---@return fun(): (string?, string?)
function moonlatch_WebSocket:messages() end

--- Sends text.
--- Waits. Codes: closed.
---@param text string
---@return boolean?
---@return string?
function moonlatch_WebSocket:send(text) end

--- Sends bytes.
--- Waits. Codes: closed.
---@param bytes string
---@return boolean?
---@return string?
function moonlatch_WebSocket:send_binary(bytes) end

--- Sends a ping.
--- Waits. Codes: closed.
---@param data? string
---@return boolean?
---@return string?
function moonlatch_WebSocket:ping(data) end

--- Closes it.
---@param code? integer
---@param reason? string
function moonlatch_WebSocket:close(code, reason) end

--- Options of `gw.websocket`.
---@class moonlatch.WebSocketOptions
---@field protocols string[]? Subprotocols, of which the client's first one counts.
---@field origins string[]|"*"|nil Whose pages may connect; the own host's unless given.
---@field max_message bytes? A longer message ends it. Default: `1048576`.
---@field idle_timeout seconds? So long a silence ends it; 0 is never. Default: `120`.
---@field ping_interval seconds? After so long a silence the client is sent a ping. Default: `30`.
---@field compress boolean|moonlatch.WebSocketCompress? permessage-deflate. Default: `false`.
local moonlatch_WebSocketOptions = {}

--- How messages are packed.
---@class moonlatch.WebSocketCompress
---@field level integer? 1 (fast) to 9. Default: `1`.
---@field window_bits integer? 9 to 15. Default: `15`.
---@field context_takeover boolean? False packs each message by itself. Default: `true`.
---@field min_length bytes? Shorter messages are sent as they are. Default: `128`.
local moonlatch_WebSocketCompress = {}

--- Metrics of the site.
---@class moonlatch.Metrics
local moonlatch_Metrics = {}

--- A number that only grows.
--- Only while the site is loaded.
---@param options moonlatch.CounterOptions
---@return moonlatch.Counter
function moonlatch_Metrics.counter(options) end

--- A number that goes up and down.
--- Only while the site is loaded.
---@param options moonlatch.GaugeOptions
---@return moonlatch.Gauge
function moonlatch_Metrics.gauge(options) end

--- Counts values in buckets.
--- Only while the site is loaded.
---@param options moonlatch.HistogramOptions
---@return moonlatch.Histogram
function moonlatch_Metrics.histogram(options) end

--- The page for scrapers, and its media type.
---@param accept? string
---@return string
---@return string
function moonlatch_Metrics.text(accept) end

--- What `gw.metrics.counter` gives.
---@class moonlatch.Counter
local moonlatch_Counter = {}

--- Adds to it.
---@param labels? table<string, string|number|boolean>
---@param by? number
function moonlatch_Counter:inc(labels, by) end

--- What `gw.metrics.gauge` gives.
---@class moonlatch.Gauge
local moonlatch_Gauge = {}

--- Sets it.
---@param labels? table<string, string|number|boolean>
---@param value? number
function moonlatch_Gauge:set(labels, value) end

--- Adds to it.
---@param labels? table<string, string|number|boolean>
---@param by? number
function moonlatch_Gauge:inc(labels, by) end

--- Takes from it.
---@param labels? table<string, string|number|boolean>
---@param by? number
function moonlatch_Gauge:dec(labels, by) end

--- Takes this worker's value away.
---@param labels? table<string, string|number|boolean>
function moonlatch_Gauge:unset(labels) end

--- What `gw.metrics.histogram` gives.
---@class moonlatch.Histogram
local moonlatch_Histogram = {}

--- Counts a value.
---@param labels? table<string, string|number|boolean>
---@param value? number
function moonlatch_Histogram:observe(labels, value) end

--- Options of `gw.metrics.counter`.
---@class moonlatch.CounterOptions
---@field name string Its name; ends with `_total`.
---@field help string A sentence for the reader.
---@field labels string[]? Names of its labels.
---@field max_series integer? Combinations of labels' values. Default: `1000`.
local moonlatch_CounterOptions = {}

--- Options of `gw.metrics.gauge`.
---@class moonlatch.GaugeOptions
---@field name string Its name.
---@field help string A sentence for the reader.
---@field labels string[]? Names of its labels.
---@field max_series integer? Combinations of labels' values. Default: `1000`.
---@field merge "sum"|"max"|"min"|"last"? How the values of workers become one. Default: `"sum"`.
local moonlatch_GaugeOptions = {}

--- Options of `gw.metrics.histogram`.
---@class moonlatch.HistogramOptions
---@field name string Its name.
---@field help string A sentence for the reader.
---@field labels string[]? Names of its labels.
---@field max_series integer? Combinations of labels' values. Default: `1000`.
---@field buckets number[]? Upper bounds, ascending; from 5 ms to 10 s unless given.
local moonlatch_HistogramOptions = {}

--- Options of `gw.settings`.
---@class moonlatch.Settings
---@field workers integer? Number of workers; one per CPU unless given. At the start only.
---@field service string? `service` of log lines. Default: `"moonlatch"`.
---@field access_log string|moonlatch.AccessLog? `-` is stdout, `off`, or a file; or more: docs/logs.md. Default: `"-"`.
---@field error_log string|moonlatch.ErrorLog|nil A file; stderr unless given.
---@field redact string[]|moonlatch.Redact|nil What logs must not show; a list names headers.
---@field ship moonlatch.Ship? Collectors that get the lines of the logs.
---@field tracing moonlatch.Tracing? W3C Trace Context, and spans for a collector.
---@field log_level "debug"|"info"|"warn"|"error"? The least level that is logged. Default: `"info"`.
---@field user string? Runs workers as this user. At the start only.
---@field shutdown_delay seconds? After SIGTERM, go on accepting for so long. Default: `0`.
---@field shutdown_timeout seconds? Then what is in flight is broken off. Default: `30`.
---@field script_budget_ms number? CPU time of a script between two waits, in ms. Default: `50`.
---@field script_memory bytes? Memory of a generation's VM in one worker. Default: `134217728`.
---@field heartbeat_timeout seconds? A worker that is stuck for so long is replaced. Default: `10`.
---@field upgrade_timeout seconds? WebSockets and other tunnels outlive an upgrade by so long. Default: `600`.
---@field script_recycle number? A VM whose values fill this share of script_memory is replaced; 0: never. Default: `0.75`.
---@field script_max_age seconds? A VM of this age is replaced.
---@field memory_limit bytes? Of a worker; above it new work gets 503. The cgroup's limit counts without it.
---@field shared_memory bytes? For `gw.shared`. At the start only. Default: `33554432`.
---@field limiter_memory bytes? For counters of limits. At the start only. Default: `8388608`.
---@field poll_interval seconds? Between two looks at the directory when no event comes. Default: `2`.
---@field development boolean? Answers tell what is wrong with a script, and where the time went. Default: `false`.
---@field why string? `"all"`: `moonlatch why` knows the steps of all requests, not of a share. Default: `"some"`.
---@field slow_after seconds? Exchanges that take so long are remembered as slow. Default: `1`.
---@field admin { listen: string, token: string }? The admin API by TCP, for clients that know the token.
---@field unsafe_files string[]? Files that may use all of Lua.
local moonlatch_Settings = {}

--- Options of `access_log`.
---@class moonlatch.AccessLog
---@field path string? `-` is stdout, `off`, or a file.
---@field syslog string? `unix:/dev/log` or `udp://address:port`.
---@field facility string? Of syslog; `daemon`.
---@field format "auto"|"json"|"pretty"? `auto` is pretty on a terminal. Default: `"auto"`.
---@field level "debug"|"info"|"warn"|"error"? The least level of a line: warn from 400 on, error from 500 on. Default: `"info"`.
---@field sample number? Share of what went well and fast that is written. Default: `1`.
---@field slow seconds? What takes so long is always written. Default: `1`.
---@field message string? `message` of the lines. Default: `"request"`.
---@field request_headers table? Headers as fields: a list of names, or fields and names.
---@field response_headers table? Likewise, of the answer.
local moonlatch_AccessLog = {}

--- Options of `error_log`.
---@class moonlatch.ErrorLog
---@field path string? A file; stderr unless given.
---@field syslog string? As of `access_log`.
---@field facility string? Likewise.
---@field format "auto"|"json"|"pretty"? Likewise. Default: `"auto"`.
local moonlatch_ErrorLog = {}

--- What logs must not show.
---@class moonlatch.Redact
---@field headers string[]? Names of headers.
---@field query string[]? Names of parameters.
---@field defaults boolean? Beside those that are built in. Default: `true`.
local moonlatch_Redact = {}

--- Collectors of logs.
---@class moonlatch.Ship
---@field elasticsearch moonlatch.Elasticsearch? Its bulk API.
---@field otlp moonlatch.Otlp? OTLP/HTTP with JSON.
local moonlatch_Ship = {}

--- An Elasticsearch that gets the lines of the logs.
---@class moonlatch.Elasticsearch
---@field url string `http://host:port` or `https://...`, with a path if it has one.
---@field index string? The index, and the name of its template. Default: `"hospital-logs"`.
---@field daily boolean? An index per day: `hospital-logs-2024.05.06`. Default: `true`.
---@field template boolean? Puts the index template before the first lines. Default: `true`.
---@field username string? Basic authentication.
---@field password string? Likewise.
---@field api_key string? An API key, encoded.
---@field tls moonlatch.ClientTls? As of upstreams.
---@field headers table? More headers of the requests.
---@field batch integer? Lines of a request, at most. Default: `500`.
---@field batch_size bytes? Bytes of it, at most. Default: `524288`.
---@field interval seconds? A line waits no longer than this for others. Default: `1`.
---@field timeout seconds? For an answer. Default: `10`.
---@field buffer bytes? What waits in a worker, at most; then the oldest lines are lost. Default: `4194304`.
---@field gzip boolean? Compresses the requests. Default: `true`.
local moonlatch_Elasticsearch = {}

--- A collector of OTLP/HTTP.
---@class moonlatch.Otlp
---@field url string `http://host:4318`; `/v1/logs` or `/v1/traces` is added when it is not there.
---@field resource table? Attributes of the resource beside `service.name`.
---@field tls moonlatch.ClientTls? As of upstreams.
---@field headers table? More headers, such as a token.
---@field batch integer? As of Elasticsearch. Default: `500`.
---@field batch_size bytes? Likewise. Default: `524288`.
---@field interval seconds? Likewise. Default: `1`.
---@field timeout seconds? Likewise. Default: `10`.
---@field buffer bytes? Likewise. Default: `4194304`.
---@field gzip boolean? Likewise. Default: `true`.
local moonlatch_Otlp = {}

--- Options of `tracing`.
---@class moonlatch.Tracing
---@field otlp moonlatch.Otlp? Who gets the spans; without it there are only ids.
---@field sample number? Share of the traces begun here that are kept. Default: `1`.
---@field accept_from string[]? Networks of peers whose traces are continued; everybody's without it.
local moonlatch_Tracing = {}

--- Options of `gw.listen`.
---@class moonlatch.Listen
---@field host string? An IPv4 or IPv6 address. Default: `"0.0.0.0"`.
---@field port integer|string The port.
---@field limits moonlatch.ListenLimits? Sizes and numbers that clients may reach.
---@field timeouts moonlatch.ListenTimeouts? How long clients may take.
---@field trusted_proxies string[]? Networks whose X-Forwarded-For and X-Forwarded-Proto are believed.
---@field body_rate_min number? A body slower than so many bytes per second is 408; 0 turns it off. Default: `50`.
---@field allow_encoded_slash boolean? Lets `%2f` pass as an escape. Default: `false`.
---@field keep_slashes boolean? Does not turn `//` into `/`. Default: `false`.
---@field trailers boolean? Passes trailer fields on. Default: `false`.
---@field http2 boolean? Speaks HTTP/2 to clients that can. Default: `true`.
---@field http2_websockets boolean? Clients of HTTP/2 may open WebSockets (RFC 8441). Default: `true`.
---@field name string? For `req.listener` and routes; `host:port` without one.
---@field use any[]? Middlewares of this listener alone, around those of gw.use.
---@field tls moonlatch.Tls|"self-signed"|nil TLS; `self-signed` for development.
---@field redirect moonlatch.TlsRedirect|"https"|nil Sends clients to the listener with TLS.
---@field proxy_protocol moonlatch.ProxyProtocol? The client's address comes before its bytes.
local moonlatch_Listen = {}

--- Limits of a listener.
---@class moonlatch.ListenLimits
---@field line bytes? Request line. Default: `16384`.
---@field head bytes? All header fields. Default: `32768`.
---@field fields integer? Number of fields. Default: `100`.
---@field body bytes? A body. Default: `16777216`.
---@field connections integer? Connections per worker. Default: `16384`.
---@field requests integer? Requests of one connection; 0 is no limit. Default: `0`.
---@field streams integer? HTTP/2: requests of one connection at a time.
local moonlatch_ListenLimits = {}

--- Timeouts of a listener.
---@class moonlatch.ListenTimeouts
---@field header seconds? From the first byte of a head to its end. Default: `10`.
---@field body seconds? Without a byte of the body. Default: `30`.
---@field idle seconds? Between two requests. Default: `75`.
---@field send seconds? The client takes nothing. Default: `30`.
local moonlatch_ListenTimeouts = {}

--- Servers, and options, of `gw.upstream`.
---@class moonlatch.Upstream
---@field [integer] string|moonlatch.Server
---@field balance "round_robin"|"least_conn"|"hash"|"p2c"? Who gets the next request. Default: `"round_robin"`.
---@field tls moonlatch.ClientTls? To servers with https:// and h2:// URLs.
---@field hash string|fun(req: moonlatch.Request): string?|nil With `hash`: what decides.
---@field connect_timeout seconds? Until there is a connection. Default: `2`.
---@field first_byte_timeout seconds? From the end of the request to the answer's first byte. Default: `60`.
---@field read_timeout seconds? Between two reads of the answer. Default: `60`.
---@field send_timeout seconds? Between two writes of the request. Default: `60`.
---@field total_timeout seconds? Of the whole exchange with the server.
---@field keepalive integer? Idle connections per server and worker. Default: `64`.
---@field keepalive_timeout seconds? How long an idle connection is kept. Default: `60`.
---@field ping_interval seconds? HTTP/2: a silent server is asked by PING while requests wait for it.
---@field max_fails integer? Failures that eject a server; 0 is never. Default: `1`.
---@field fail_timeout seconds? Within which they count, and for how long it is out. Default: `10`.
---@field retries integer? Further servers to try. Default: `1`.
---@field preserve_host boolean? Sends the client's Host. Default: `false`.
---@field via boolean? Adds Via. Default: `true`.
---@field real_ip boolean? Adds X-Real-IP. Default: `true`.
---@field forwarded_port boolean? Adds X-Forwarded-Port. Default: `false`.
---@field websocket_idle_timeout seconds? A WebSocket without a byte is ended. Default: `3600`.
---@field health moonlatch.Health? Active checks of its servers.
---@field slow_start seconds? Time to full weight after a server came back.
---@field panic_threshold integer? With fewer per cent of servers up, all are used.
---@field resolve "name"|"all"? `all`: each address of a name is a server. Default: `"name"`.
---@field send_proxy "v1"|"v2"|nil Sends a PROXY header to servers.
---@field limits { head?: bytes, fields?: integer }? Of an answer.
local moonlatch_Upstream = {}

--- Middlewares, and options, of `gw.group`.
---@class moonlatch.Group
---@field [integer] moonlatch.Step
---@field host string? `api.example.com` or `*.example.com`.
local moonlatch_Group = {}

--- Middlewares, and options, of `gw.route`.
---@class moonlatch.Route
---@field [integer] moonlatch.Step
---@field to string? Name of an upstream.
---@field respond moonlatch.Response|moonlatch.Responder|nil Who answers instead of an upstream.
---@field host string? `api.example.com` or `*.example.com`.
---@field header table<string, string|true>? Fields that must have that value, or be there.
---@field query table<string, string|true>? Arguments that must have that value, or be there.
---@field timeout seconds? Instead of the upstream's `first_byte_timeout`.
---@field websocket boolean? A WebSocket upgrade may pass. Default: `false`.
---@field listener string? The name of the only listener that has the route.
---@field websocket_idle_timeout seconds? Instead of the upstream's.
---@field name string? What metrics call it, instead of its pattern.
local moonlatch_Route = {}

--- What a file in middleware/ returns.
---@class moonlatch.Middleware
---@field name string Its name.
---@field config table<string, moonlatch.Rule>? Its options.
---@field new fun(conf: table): moonlatch.Handler Makes it, once per generation and worker.
---@field always (fun(conf: table): table[])? Fields `{ name, value }` of answers that the core makes itself.
local moonlatch_Middleware = {}

--- An option of a middleware; its types come first.
---@class moonlatch.Rule
---@field [integer] string
---@field default any What counts when it is missing.
---@field optional boolean? It may be missing.
---@field min number? Of a number, or of a length.
---@field max number? Of a number, or of a length.
---@field one_of any[]? The values allowed.
---@field of string? The type of a list's elements.
---@field unit string? For the reader.
---@field doc string? One sentence for the reader.
---@field check (fun(value: any): string?)? Says what is wrong with a value.
local moonlatch_Rule = {}

--- A middleware at work; returning nothing lets the request go on.
---@alias moonlatch.Handler fun(req: moonlatch.Request, next: fun(): moonlatch.Response): moonlatch.Response?

--- What answers the requests of a route.
---@alias moonlatch.Responder fun(req: moonlatch.Request): moonlatch.Response?

--- A middleware in a list: its name, `{ name, option = value }`, or a function.
---@alias moonlatch.Step string|moonlatch.Policy|table|moonlatch.Handler

--- A duration.
---@alias seconds number

--- A size.
---@alias bytes number

return moonlatch
