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
