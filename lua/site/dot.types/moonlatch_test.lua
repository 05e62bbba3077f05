---@meta moonlatch.test
--- Types of moonlatch's script API for lua-language-server; made by `moonlatch init`, never run.
---@diagnostic disable: lowercase-global, unused-local, missing-return
-- luacheck: ignore

--- The testing kit, see docs/testing.md.
---@class moonlatch.test
---@field now number When an app begins, seconds since 1970.
---@field simulated boolean False when `load` and `policy` run the real program.
local moonlatch_test = {}

--- Loads a site: a directory, or names and texts of files.
---@param site string|table<string, string>
---@param opts? moonlatch.test.Options
---@return moonlatch.test.App
function moonlatch_test.load(site, opts) end

--- Runs the real program on the site.
---@param opts { dir?: string, files?: table<string, string>, env?: table<string, string> }
---@return moonlatch.test.App
function moonlatch_test.start(opts) end

--- One middleware around a next() of the test.
---@param name string
---@param conf? table|string
---@param opts? moonlatch.test.Options
---@return moonlatch.test.Policy
function moonlatch_test.policy(name, conf, opts) end

--- Options of `t.load` and `t.policy`.
---@class moonlatch.test.Options
---@field env table<string, string>? The whole environment of the site.
---@field now number? The wall clock at the begin.
---@field seed number? Of all random bytes.
local moonlatch_test_Options = {}

--- What `t.policy` gives.
---@class moonlatch.test.Policy
---@field app moonlatch.test.App The app around it.
---@field next moonlatch.test.Upstream What plays `next()`.
local moonlatch_test_Policy = {}

--- Calls it.
---@param r? moonlatch.test.Call
---@return moonlatch.test.Answer
function moonlatch_test_Policy:call(r) end

--- Lets time pass.
---@param seconds seconds
function moonlatch_test_Policy:advance(seconds) end

--- A site under test.
---@class moonlatch.test.App
---@field upstreams table<string, moonlatch.test.Upstream> The upstreams of the site, by name.
---@field http table<string, moonlatch.test.Upstream> Hosts that scripts call, as `http://host:port`.
---@field metrics moonlatch.test.Metrics The page for scrapers, taken apart.
---@field redis moonlatch.test.Redis Every Redis that the site uses.
---@field logs table[] What was logged, decoded.
---@field access table[] The access log, decoded.
---@field warnings string What `moonlatch check` would warn of.
local moonlatch_test_App = {}

--- Sends a request and waits for its answer.
---@param path string
---@param opts? moonlatch.test.RequestOptions
---@return moonlatch.test.Answer?
---@return string?
function moonlatch_test_App:get(path, opts) end

--- Sends a request and waits for its answer.
---@param path string
---@param opts? moonlatch.test.RequestOptions
---@return moonlatch.test.Answer?
---@return string?
function moonlatch_test_App:head(path, opts) end

--- Sends a request and waits for its answer.
---@param path string
---@param opts? moonlatch.test.RequestOptions
---@return moonlatch.test.Answer?
---@return string?
function moonlatch_test_App:post(path, opts) end

--- Sends a request and waits for its answer.
---@param path string
---@param opts? moonlatch.test.RequestOptions
---@return moonlatch.test.Answer?
---@return string?
function moonlatch_test_App:put(path, opts) end

--- Sends a request and waits for its answer.
---@param path string
---@param opts? moonlatch.test.RequestOptions
---@return moonlatch.test.Answer?
---@return string?
function moonlatch_test_App:patch(path, opts) end

--- Sends a request and waits for its answer.
---@param path string
---@param opts? moonlatch.test.RequestOptions
---@return moonlatch.test.Answer?
---@return string?
function moonlatch_test_App:delete(path, opts) end

--- Sends a request and waits for its answer.
---@param path string
---@param opts? moonlatch.test.RequestOptions
---@return moonlatch.test.Answer?
---@return string?
function moonlatch_test_App:options(path, opts) end

--- Sends a request and waits for its answer.
---@param r moonlatch.test.RequestOptions
---@return moonlatch.test.Answer?
---@return string?
function moonlatch_test_App:request(r) end

--- Sends without waiting.
---@param r moonlatch.test.RequestOptions
---@return moonlatch.test.Pending
function moonlatch_test_App:send(r) end

--- Sends bytes as they are.
---@param bytes string
---@param method? string
---@return moonlatch.test.Answer?
---@return string?
function moonlatch_test_App:raw(bytes, method) end

--- Lets time pass: timers fire and late upstreams answer, in order.
---@param seconds seconds
function moonlatch_test_App:advance(seconds) end

--- The wall clock that the site sees.
---@return number
function moonlatch_test_App:now() end

--- Time since the app began.
---@return seconds
function moonlatch_test_App:elapsed() end

--- Calls fn when so much time has passed.
---@param seconds seconds
---@param fn fun()
function moonlatch_test_App:later(seconds, fn) end

--- Ends it.
function moonlatch_test_App:close() end

--- A token; `alg`, `key`, `kid` and `typ` among the claims say how. HS256 by `JWT_SECRET` unless they do.
---@param claims? table
---@return string
function moonlatch_test_App:jwt(claims) end

--- A new key for that algorithm.
---@param alg string
---@return moonlatch.test.KeyPair
function moonlatch_test_App:key_pair(alg) end

--- Opens a WebSocket; nil and the answer when that is no 101.
---@param path string
---@param opts? moonlatch.test.SocketOptions
---@return moonlatch.test.Socket?
---@return moonlatch.test.Answer?
function moonlatch_test_App:ws(path, opts) end

--- A key; of an HS algorithm it has a secret instead of PEM.
---@class moonlatch.test.KeyPair
---@field alg string The algorithm.
---@field kid string Its id.
---@field secret string? Of an HS algorithm.
---@field private_pem string? The private key.
---@field public_pem string? The public key.
---@field private_jwk table The private key.
---@field public_jwk table The public key.
---@field jwks string A set of the public key, as JSON.
local moonlatch_test_KeyPair = {}

--- A request.
---@class moonlatch.test.RequestOptions
---@field method string? The method. Default: `"GET"`.
---@field path string? The path and query. Default: `"/"`.
---@field host string? The Host field.
---@field headers table<string, string|string[]>? Header fields.
---@field body string? The body.
---@field json any? A body that becomes JSON.
---@field ip string? The address of the client.
---@field port integer? Which listener.
local moonlatch_test_RequestOptions = {}

--- A request, and what plays `next()`.
---@class moonlatch.test.Call: moonlatch.test.RequestOptions
---@field next (fun(req: moonlatch.test.Seen): (integer, any, table?))? status, body, headers
local moonlatch_test_Call = {}

--- What `app:send` gives.
---@class moonlatch.test.Pending
local moonlatch_test_Pending = {}

--- Is the answer there?
---@return boolean
function moonlatch_test_Pending:done() end

--- The answer; waits for it.
---@return moonlatch.test.Answer?
---@return string?
function moonlatch_test_Pending:wait() end

--- The client goes away.
function moonlatch_test_Pending:cancel() end

--- What a client got.
---@class moonlatch.test.Answer
---@field status integer The status.
---@field body string The body.
---@field headers table<string, string> The header fields, in any case.
---@field json any The decoded body; an error when it is none.
---@field decided_by string Who made the answer.
---@field trace { name: string, what: string, at?: string }[] The steps that ran.
---@field id string? The request id.
---@field route string The pattern of the route.
local moonlatch_test_Answer = {}

--- An upstream in the hand of a test.
---@class moonlatch.test.Upstream
---@field calls integer How often it was asked.
---@field last moonlatch.test.Seen? What it was asked last.
---@field requests moonlatch.test.Seen[] All that it was asked.
local moonlatch_test_Upstream = {}

--- Answers like this from now on.
---@param status integer
---@param body? any
---@param headers? table
---@return moonlatch.test.Upstream
function moonlatch_test_Upstream:reply(status, body, headers) end

--- Decides per request.
---@param fn fun(req: moonlatch.test.Seen): (integer, any, table?)
---@return moonlatch.test.Upstream
function moonlatch_test_Upstream:handler(fn) end

--- Fails from now on.
---@param how "timeout"|"refused"|"reset"
---@return moonlatch.test.Upstream
function moonlatch_test_Upstream:fail(how) end

--- Answers later, in simulated time.
---@param seconds seconds
---@return moonlatch.test.Upstream
function moonlatch_test_Upstream:delay(seconds) end

--- Forgets what was asked.
---@return moonlatch.test.Upstream
function moonlatch_test_Upstream:clear() end

--- The handshake of a WebSocket.
---@class moonlatch.test.SocketOptions
---@field protocols string[]? Subprotocols that the client offers.
---@field origin string? Its page's origin.
---@field headers table<string, string|string[]>? Header fields.
---@field host string? The Host field.
---@field ip string? The address of the client.
---@field port integer? Which listener.
local moonlatch_test_SocketOptions = {}

--- What `app:ws` gives.
---@class moonlatch.test.Socket
---@field protocol string? The subprotocol that was agreed on.
local moonlatch_test_Socket = {}

--- Sends text.
---@param text string
function moonlatch_test_Socket:send(text) end

--- Sends bytes.
---@param bytes string
function moonlatch_test_Socket:send_binary(bytes) end

--- The next message and its kind; nil, and the code and reason of the end.
---@param seconds? seconds
---@return string?
---@return string|integer
---@return string?
function moonlatch_test_Socket:receive(seconds) end

--- Sends a ping.
---@param data? string
function moonlatch_test_Socket:ping(data) end

--- Closes it; the code of the answer.
---@param code? integer
---@param reason? string
---@return integer?
function moonlatch_test_Socket:close(code, reason) end

--- The connection breaks.
function moonlatch_test_Socket:drop() end

--- Lists of samples by name; called, the sum of those that have the labels.
---@class moonlatch.test.Metrics
---@overload fun(name: string, labels?: table<string, string|number>): number
---@field [string] { labels: table<string, string>, value: number }[]
local moonlatch_test_Metrics = {}

--- A Redis in the hand of a test; any command is a method.
---@class moonlatch.test.Redis
---@field [string] fun(self: moonlatch.test.Redis, ...: string|number): any, string?, string?
---@field calls integer How often it was asked.
---@field last string[]? What it was asked last.
---@field requests string[][] All that it was asked.
local moonlatch_test_Redis = {}

--- A command by its name.
---@param name string
---@param ... string|number
---@return any
---@return string?
---@return string?
function moonlatch_test_Redis:command(name, ...) end

--- `refused`, `timeout`, `reset`, or the text of an error.
---@param how? string
function moonlatch_test_Redis:down(how) end

--- Answers again, with the keys it had.
function moonlatch_test_Redis:up() end

--- Answers later, in simulated time.
---@param seconds seconds
---@return moonlatch.test.Redis
function moonlatch_test_Redis:delay(seconds) end

--- Forgets what was asked.
---@return moonlatch.test.Redis
function moonlatch_test_Redis:clear() end

--- Forgets its keys.
function moonlatch_test_Redis:flushall() end

--- A request that an upstream got.
---@class moonlatch.test.Seen
---@field method string The method.
---@field target string Path and query as they came.
---@field path string The path.
---@field query string The query.
---@field headers table<string, string> The header fields, in any case.
---@field body string The body.
---@field json any The decoded body.
local moonlatch_test_Seen = {}

return moonlatch_test
