/* load.c - the functions behind gw.settings, gw.listen, gw.upstream and gw.route.
 *
 *   core.files() -> names          core.source(name) -> text or nil   core.embedded(name) -> text
 * or nil core.getenv(name)              core.compile(text, name, env) -> function or nil, message
 *   core.settings(t)               core.listener(t) -> refusal        core.group(t) -> refusal
 *   core.route(t) -> index or nil, refusal, index of the duplicate
 *   core.chain(index or nil, fn, fn that takes the time or nil)
 *   core.chain_steps(index or nil, listener or nil, list of steps: { id =, line = })
 *   core.warn(text)                core.site_dir() -> path
 *
 * A refusal is a sentence, nil is consent. */
#include "script/load.h"

#include "script/embed.h"
#include "script/handle.h"
#include "script/load_parts.h"
#include "script/steps.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>

/* ---- settings ---- */

static int set_settings(lua_State *L)
{
    struct ml_site *site = load_of(L)->site;
    struct ml_settings *s = &site->settings;

    luaL_checktype(L, 1, LUA_TTABLE);
    s->workers = (unsigned)number_field(L, "workers", s->workers);
    s->shutdown_delay = number_field(L, "shutdown_delay", s->shutdown_delay);
    s->shutdown_timeout = number_field(L, "shutdown_timeout", s->shutdown_timeout);
    s->script_budget_ms = number_field(L, "script_budget_ms", s->script_budget_ms);
    s->script_memory = (uint64_t)number_field(L, "script_memory", (double)s->script_memory);
    s->heartbeat_timeout = number_field(L, "heartbeat_timeout", s->heartbeat_timeout);
    s->upgrade_timeout = number_field(L, "upgrade_timeout", s->upgrade_timeout);
    s->script_recycle = number_field(L, "script_recycle", s->script_recycle);
    s->script_max_age = number_field(L, "script_max_age", s->script_max_age);
    s->memory_limit = (uint64_t)number_field(L, "memory_limit", (double)s->memory_limit);
    s->shared_memory = (uint64_t)number_field(L, "shared_memory", (double)s->shared_memory);
    s->limiter_memory = (uint64_t)number_field(L, "limiter_memory", (double)s->limiter_memory);
    s->poll_interval = number_field(L, "poll_interval", s->poll_interval);
    s->user = text_field(L, site->arena, "user", s->user);
    s->access_log = text_field(L, site->arena, "access_log", s->access_log);
    s->error_log = text_field(L, site->arena, "error_log", s->error_log);
    s->log_level = text_field(L, site->arena, "log_level", s->log_level);
    s->service = text_field(L, site->arena, "service", s->service);
    ml_load_logs(L, site);
    s->development |= flag_field(L, "development", false);
    s->why_all = flag_field(L, "why_all", false);
    s->slow_after = number_field(L, "slow_after", s->slow_after);
    s->redact = text_field(L, site->arena, "redact", s->redact);
    s->admin_listen = text_field(L, site->arena, "admin_listen", s->admin_listen);
    s->admin_token = text_field(L, site->arena, "admin_token", s->admin_token);
    return 0;
}

/* ---- listeners ---- */

static const char *networks(lua_State *L, struct ml_site *site, const char *field,
                            struct ml_cidr **list, unsigned *list_count)
{
    unsigned count = list_field(L, field);

    if (count == 0)
        return NULL;
    *list = ml_arena_alloc(site->arena, count * sizeof **list);
    for (unsigned i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        if (!ml_cidr_parse(ml_check_str(L, -1), &(*list)[i]))
            return lua_pushfstring(L, "%s: \"%s\" is no address or network", field,
                                   lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    *list_count = count;
    lua_pop(L, 1);
    return NULL;
}

static void limits(lua_State *L, struct ml_listener_conf *c)
{
    c->limits.line_max = (size_t)number_field(L, "limit_line", (double)c->limits.line_max);
    c->limits.head_max = (size_t)number_field(L, "limit_head", (double)c->limits.head_max);
    c->limits.fields_max = (uint32_t)number_field(L, "limit_fields", c->limits.fields_max);
    c->body_max = (uint64_t)number_field(L, "limit_body", (double)c->body_max);
    c->connections_max = (unsigned)number_field(L, "limit_connections", c->connections_max);
    c->http2_streams = (uint32_t)number_field(L, "limit_streams", c->http2_streams);
    c->requests_max = (unsigned)number_field(L, "limit_requests", c->requests_max);
    c->header_timeout = number_field(L, "timeout_header", c->header_timeout);
    c->body_timeout = number_field(L, "timeout_body", c->body_timeout);
    c->idle_timeout = number_field(L, "timeout_idle", c->idle_timeout);
    c->send_timeout = number_field(L, "timeout_send", c->send_timeout);
    c->body_rate_min = number_field(L, "body_rate_min", c->body_rate_min);
}

static bool address_ok(struct ml_str host)
{
    struct ml_cidr cidr;

    return memchr(host.p, '/', host.len) == NULL && ml_cidr_parse(host, &cidr);
}

static int add_listener(lua_State *L)
{
    struct ml_site *site = load_of(L)->site;
    struct ml_listener_conf *c = &site->listeners[site->listener_count];
    const char *wrong;

    luaL_checktype(L, 1, LUA_TTABLE);
    if (site->listener_count == ML_SITE_LISTENERS_MAX)
        return refuse(L, "a site can have 16 listeners");
    ml_listener_defaults(c);
    c->host = text_field(L, site->arena, "host", ML_STR("0.0.0.0"));
    c->port = (int)number_field(L, "port", 0);
    c->name = text_field(L, site->arena, "name", ML_STR_NONE);
    if (!address_ok(c->host))
        return refuse(L, "host must be an IPv4 or IPv6 address");
    for (unsigned i = 0; i < site->listener_count; i++)
        if (site->listeners[i].port == c->port && ml_str_eq(site->listeners[i].host, c->host))
            return refuse(L, "there is a listener with this host and port already");
    limits(L, c);
    c->url.allow_encoded_slash = flag_field(L, "allow_encoded_slash", false);
    c->url.keep_slashes = flag_field(L, "keep_slashes", false);
    c->trailers_pass = flag_field(L, "trailers", false);
    c->http2 = flag_field(L, "http2", true);
    c->http2_websockets = flag_field(L, "http2_websockets", true);
    ml_load_redirect(L, load_of(L), c);
    c->proxies_only = flag_field(L, "proxy_required", false);
    wrong = networks(L, site, "trusted_proxies", &c->trusted, &c->trusted_count);
    if (wrong == NULL)
        wrong = networks(L, site, "proxy_protocol", &c->proxies, &c->proxy_count);
    if (wrong == NULL)
        wrong = ml_load_tls(L, load_of(L), c);
    if (wrong != NULL)
        return refuse(L, wrong);
    site->listener_count++;
    return 0;
}

/* ---- routes ---- */

unsigned ml_load_conditions(lua_State *L, struct ml_arena *arena,
                            struct ml_route_condition **out)
{
    unsigned count = list_field(L, "conditions");

    if (count == 0)
        return 0;
    *out = ml_arena_zalloc(arena, count * sizeof **out);
    for (unsigned i = 0; i < count; i++) {
        struct ml_route_condition *c = &(*out)[i];

        lua_rawgeti(L, -1, (int)i + 1);
        lua_getfield(L, -1, "query");
        c->query = lua_toboolean(L, -1);
        lua_getfield(L, -2, "name");
        c->name = ml_arena_dup(arena, ml_check_str(L, -1));
        lua_getfield(L, -3, "value");
        c->value = lua_isnil(L, -1) ? ML_STR_NONE : ml_arena_dup(arena, ml_check_str(L, -1));
        lua_pop(L, 4);
    }
    lua_pop(L, 1);
    return count;
}

static void grow_chains(struct ml_load *load)
{
    if (load->chain_count < load->chain_cap)
        return;
    load->chain_cap = load->chain_cap > 0 ? load->chain_cap * 2 : 64;
    load->chains = realloc(load->chains, load->chain_cap * sizeof *load->chains);
    if (load->chains == NULL)
        abort();
}

static int add_route(lua_State *L)
{
    struct ml_load *load = load_of(L);
    struct ml_arena *arena = load->site->arena;
    struct ml_route_condition *list = NULL;
    struct ml_str method, pattern, host;
    struct ml_buf why = {0};
    unsigned count;
    int twin = -1;
    enum ml_err err;

    luaL_checktype(L, 1, LUA_TTABLE);
    method = text_field(L, arena, "method", ML_STR("*"));
    pattern = text_field(L, arena, "pattern", ML_STR(""));
    host = text_field(L, arena, "host", ML_STR(""));
    count = ml_load_conditions(L, arena, &list);
    err = ml_router_add(load->router, method, pattern, host, list, count, (int)load->chain_count,
                        &twin, &why);
    if (err == ML_OK) {
        grow_chains(load);
        load->chains[load->chain_count] = (struct ml_chain){
            LUA_NOREF, LUA_NOREF, text_field(L, arena, "name", ML_STR("")), NULL,
            text_field(L, arena, "line", ML_STR(""))};
        load->site->route_count++;
        lua_pushinteger(L, (lua_Integer)load->chain_count++);
        return 1;
    }
    lua_pushnil(L);
    ml_push_str(L, ml_buf_str(&why));
    lua_pushinteger(L, twin);
    ml_buf_release(&why);
    return 3;
}

/* Of the index at 1, or of what no route takes. */
static struct ml_chain *chain_at(lua_State *L, struct ml_load *load)
{
    unsigned index;

    if (lua_isnil(L, 1))
        return &load->fallback;
    index = (unsigned)luaL_checkinteger(L, 1);
    luaL_argcheck(L, index < load->chain_count, 1, "no such route");
    return &load->chains[index];
}

static int set_chain_steps(lua_State *L)
{
    struct ml_load *load = load_of(L);
    struct ml_arena *arena = load->site->arena;
    struct ml_chain *chain = chain_at(L, load);
    unsigned count = (unsigned)lua_objlen(L, 3);
    struct ml_chain_steps *steps = ml_arena_zalloc(arena, sizeof *steps + count * sizeof *steps->v);

    luaL_checktype(L, 3, LUA_TTABLE);
    steps->count = count;
    if (!lua_isnil(L, 2))
        steps->listener = ml_arena_dup(arena, ml_check_str(L, 2));
    for (unsigned i = 0; i < count; i++) {
        lua_rawgeti(L, 3, (int)i + 1);
        lua_getfield(L, -1, "line");
        if (lua_isstring(L, -1))
            steps->v[i].line = ml_arena_dup(arena, ml_check_str(L, -1));
        lua_getfield(L, -2, "id");
        steps->v[i].id = (unsigned)lua_tointeger(L, -1);
        lua_settop(L, 3);
    }
    steps->next = chain->steps;
    chain->steps = steps;
    return 0;
}

static int set_chain(lua_State *L)
{
    struct ml_load *load = load_of(L);
    struct ml_chain *chain;

    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 3);
    chain = chain_at(L, load);
    chain->timed = lua_isfunction(L, 3) ? luaL_ref(L, LUA_REGISTRYINDEX) : LUA_NOREF;
    lua_settop(L, 2);
    chain->fn = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

/* ---- sources ---- */

static int list_files(lua_State *L)
{
    struct ml_snapshot *s = load_of(L)->snapshot;
    unsigned count = ml_snapshot_count(s);

    lua_createtable(L, (int)count, 0);
    for (unsigned i = 0; i < count; i++) {
        ml_push_str(L, ml_snapshot_name(s, i));
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

static int push_source(lua_State *L)
{
    struct ml_str bytes;

    if (!ml_snapshot_find(load_of(L)->snapshot, ml_check_str(L, 1), &bytes))
        return 0;
    ml_push_str(L, bytes);
    return 1;
}

bool ml_load_embedded(const char *name, struct ml_str *text)
{
    for (unsigned i = 0; i < ml_embed_count; i++)
        if (strcmp(ml_embed_files[i].name, name) == 0) {
            *text = (struct ml_str){ml_embed_files[i].bytes, ml_embed_files[i].len};
            return true;
        }
    return false;
}

static int push_embedded(lua_State *L)
{
    struct ml_str text;

    if (!ml_load_embedded(luaL_checkstring(L, 1), &text))
        return 0;
    ml_push_str(L, text);
    return 1;
}

/* Text only: bytecode can break the virtual machine. */
static int compile(lua_State *L)
{
    struct ml_str text = ml_check_str(L, 1);
    const char *name = luaL_checkstring(L, 2);

    luaL_checktype(L, 3, LUA_TTABLE); /* without one a chunk would see the program's own globals */
    if (luaL_loadbufferx(L, text.p, text.len, name, "t") != 0) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    lua_pushvalue(L, 3);
    lua_setfenv(L, -2);
    return 1;
}

static int push_env(lua_State *L)
{
    lua_pushstring(L, getenv(luaL_checkstring(L, 1)));
    return 1;
}

/* core.always{ { name, value }, ... }: fields of all answers that no chain makes.  After the
 * listeners. */
static int set_always(lua_State *L)
{
    struct ml_site *site = load_of(L)->site;
    struct ml_headers always = {0};

    luaL_checktype(L, 1, LUA_TTABLE);
    for (int i = 1, n = (int)lua_objlen(L, 1); i <= n; i++) {
        struct ml_str name, value;

        lua_rawgeti(L, 1, i);
        lua_rawgeti(L, -1, 1);
        lua_rawgeti(L, -2, 2);
        name = ml_check_str(L, -2);
        value = ml_check_str(L, -1);
        if (!ml_header_name_ok(name) || !ml_header_value_ok(value))
            return luaL_error(L, "field %d is no field of a header", i);
        ml_headers_set(&always, site->arena, ml_arena_dup(site->arena, name),
                       ml_arena_dup(site->arena, value));
        lua_settop(L, 1);
    }
    for (unsigned i = 0; i < site->listener_count; i++)
        site->listeners[i].always = always;
    return 0;
}

static int warn(lua_State *L)
{
    struct ml_load *load = load_of(L);

    ml_buf_append(&load->warnings, ml_check_str(L, 1));
    ml_buf_append(&load->warnings, ML_STR("\n"));
    return 0;
}

static int site_dir(lua_State *L)
{
    lua_pushstring(L, ml_snapshot_dir(load_of(L)->snapshot));
    return 1;
}

static const luaL_Reg functions[] = {
    {"files", list_files},       {"source", push_source},
    {"embedded", push_embedded}, {"compile", compile},
    {"getenv", push_env},        {"settings", set_settings},
    {"listener", add_listener},  {"group", ml_load_group},
    {"route", add_route},        {"chain", set_chain},
    {"chain_steps", set_chain_steps},
    {"always", set_always},      {"warn", warn},
    {"site_dir", site_dir},      {NULL, NULL},
};

void ml_load_open(lua_State *L, struct ml_load *load)
{
    load->fallback = (struct ml_chain){LUA_NOREF, LUA_NOREF, {0}, NULL, {0}};
    ml_load_open_tls(L, load);
    ml_load_open_logs(L);
    for (const luaL_Reg *f = functions; f->name != NULL; f++) {
        lua_pushlightuserdata(L, load);
        lua_pushcclosure(L, f->func, 1);
        lua_setfield(L, -2, f->name);
    }
}

void ml_load_free(struct ml_load *load)
{
    ml_router_free(&load->router);
    ml_site_free(&load->site);
    ml_buf_release(&load->warnings);
    free(load->chains);
    load->chains = NULL;
}
