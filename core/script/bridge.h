/* bridge.h - the handles and functions of C that scripts see; the only door between core and Lua.
 */
#ifndef ML_SCRIPT_BRIDGE_H
#define ML_SCRIPT_BRIDGE_H

#include "script/generation.h"
#include "script/task.h"

struct ml_bridge;
struct ml_steps; /* script/steps.h */

/* Pushes the table `core` on L with everything the Lua files in lua/moonlatch build on:
 *   core.response(status, body, headers) core.error(status, code, message) core.redirect(url,
 * status) core.forward(req, group_index_or_name, opts) -> res    waits for the upstream's head
 *   core.responded(req) -> res or nil        the response that next() left in the exchange
 *   core.adopt(req, value) -> res            makes a returned value the response of the exchange
 *   core.sleep(s) core.spawn(fn, ...) core.all(fns) core.race(fns) core.timer(s, fn, repeating)
 *   core.redis(url, opts) -> redis handle     commands as methods
 *   core.shared(name) -> dict handle         core.http_request(opts) -> res table | nil, code
 *   core.limiter(opts) -> limiter            core.ip_network(ip, bits) -> text
 *   core.limit_headers(res, policy, limit, remaining, reset)
 *   core.now() core.mono() core.random_hex(n) core.log(level, message, fields)
 *   core.json_encode core.json_decode (cjson.safe configured)  core.ip_match(cidrs) ...
 * host may have NULL members (staging). */
struct ml_bridge_conf {
    const struct ml_script_host *host;
    struct ml_tasks *tasks;
    struct ml_steps *steps;
    /* upstream group by name, NULL when unknown; set by generation.c */
    struct ml_group *(*group)(void *ctx, struct ml_str name);
    struct ml_group *(*group_at)(void *ctx, unsigned index); /* in the order of the site */
    void *ctx;
};
/* The bridge is a userdata of the VM, kept by it.  May raise: call it protected. */
struct ml_bridge *ml_bridge_open(lua_State *L, const struct ml_bridge_conf *conf);
/* The generation serves now: starts the timers that its scripts asked for while they were loaded.
 */
void ml_bridge_start(struct ml_bridge *b);
/* Before the tasks and the VM are freed: ends what lives outside of them (timers, http clients). */
void ml_bridge_close(struct ml_bridge *b);

#endif
