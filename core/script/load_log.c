/* load_log.c - the part of core.settings that is about logs: where they go, what is in them, who
 * gets a copy.  lua/moonlatch/log_settings.lua has checked it and made it flat. */
#include "base/syslog.h"
#include "outbound/server.h"
#include "script/api_client_tls.h"
#include "script/load_parts.h"

/* ---- fields of a table at the top ---- */

static struct ml_str top_text(lua_State *L, struct ml_arena *arena, const char *name)
{
    struct ml_str s = ML_STR("");

    lua_getfield(L, -1, name);
    if (!lua_isnil(L, -1))
        s = ml_arena_dup(arena, ml_check_str(L, -1));
    lua_pop(L, 1);
    return s;
}

static double top_number(lua_State *L, const char *name)
{
    double n;

    lua_getfield(L, -1, name);
    n = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return n;
}

static bool top_flag(lua_State *L, const char *name)
{
    bool b;

    lua_getfield(L, -1, name);
    b = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return b;
}

static unsigned top_list(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    return lua_istable(L, -1) ? (unsigned)lua_objlen(L, -1) : 0;
}

static enum ml_log_format format_of(struct ml_str name)
{
    if (ml_str_eq(name, ML_STR("json")))
        return ML_LOG_JSON;
    return ml_str_eq(name, ML_STR("pretty")) ? ML_LOG_PRETTY : ML_LOG_AUTO;
}

/* ---- the access log ---- */

static void access_fields(lua_State *L, struct ml_arena *arena, struct ml_access_conf *a)
{
    a->field_count = top_list(L, "fields");
    a->fields = ml_arena_zalloc(arena, (a->field_count + 1) * sizeof *a->fields);
    for (unsigned i = 0; i < a->field_count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        a->fields[i] = (struct ml_access_field){.key = top_text(L, arena, "key"),
                                                .header = top_text(L, arena, "header"),
                                                .response = top_flag(L, "response")};
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void access_log(lua_State *L, struct ml_arena *arena, struct ml_access_conf *a)
{
    lua_getfield(L, 1, "access");
    if (lua_istable(L, -1)) {
        a->format = format_of(top_text(L, arena, "format"));
        (void)ml_log_level_parse(top_text(L, arena, "level"), &a->level);
        a->skip = top_number(L, "skip");
        a->slow_s = top_number(L, "slow");
        a->message = top_text(L, arena, "message");
        access_fields(L, arena, a);
    }
    lua_pop(L, 1);
}

/* ---- collectors ---- */

static enum ml_ship_kind kind_of(struct ml_str name)
{
    if (ml_str_eq(name, ML_STR("elasticsearch")))
        return ML_SHIP_ELASTICSEARCH;
    return ml_str_eq(name, ML_STR("otlp_traces")) ? ML_SHIP_OTLP_TRACES : ML_SHIP_OTLP_LOGS;
}

static void ship_headers(lua_State *L, struct ml_arena *arena, struct ml_ship_conf *c)
{
    c->header_count = top_list(L, "headers");
    c->headers = ml_arena_zalloc(arena, (c->header_count + 1) * sizeof *c->headers);
    for (unsigned i = 0; i < c->header_count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        lua_rawgeti(L, -1, 1);
        lua_rawgeti(L, -2, 2);
        c->headers[i].name = ml_arena_dup(arena, ml_check_str(L, -2));
        c->headers[i].value = ml_arena_dup(arena, ml_check_str(L, -1));
        lua_pop(L, 3);
    }
    lua_pop(L, 1);
}

static void ship_tls(lua_State *L, struct ml_arena *arena, struct ml_ship_conf *c)
{
    struct ml_client_tls_options o;
    const struct ml_client_tls_options *kept;
    int top = lua_gettop(L);

    lua_getfield(L, -1, "tls");
    if (!lua_isnil(L, -1)) {
        ml_api_client_tls(L, lua_gettop(L), &o);
        ml_api_client_tls_check(L, &o);
        kept = ml_client_tls_options_keep(&o, arena);
        c->tls = &kept->conf;
        c->tls_name = kept->name;
    }
    lua_settop(L, top);
}

static void ship(lua_State *L, struct ml_arena *arena, struct ml_ship_conf *c)
{
    *c = (struct ml_ship_conf){.kind = kind_of(top_text(L, arena, "kind")),
                               .origin = top_text(L, arena, "origin"),
                               .path = top_text(L, arena, "path"),
                               .index = top_text(L, arena, "index"),
                               .resource = top_text(L, arena, "resource"),
                               .daily = top_flag(L, "daily"),
                               .no_template = !top_flag(L, "template"),
                               .gzip = top_flag(L, "gzip"),
                               .batch = (unsigned)top_number(L, "batch"),
                               .batch_bytes = (size_t)top_number(L, "batch_size"),
                               .buffer = (size_t)top_number(L, "buffer"),
                               .interval = top_number(L, "interval"),
                               .timeout = top_number(L, "timeout")};
    ship_headers(L, arena, c);
    ship_tls(L, arena, c);
}

static void ships(lua_State *L, struct ml_site *site)
{
    struct ml_settings *s = &site->settings;
    unsigned count = list_field(L, "ship");

    for (unsigned i = 0; i < count && i < ML_SHIPS_MAX; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        ship(L, site->arena, &s->ships[i]);
        s->ship_count = i + 1;
        lua_pop(L, 1);
    }
    if (count > 0)
        lua_pop(L, 1);
}

/* ---- the rest ---- */

static void redaction(lua_State *L, struct ml_site *site)
{
    struct ml_settings *s = &site->settings;
    unsigned count = list_field(L, "redact_query");

    s->redact_bare = !flag_field(L, "redact_defaults", true);
    if (count == 0) {
        if (lua_gettop(L) > 1)
            lua_settop(L, 1);
        return;
    }
    s->redact_query = ml_arena_zalloc(site->arena, count * sizeof *s->redact_query);
    for (unsigned i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        s->redact_query[i] = ml_arena_dup(site->arena, ml_check_str(L, -1));
        lua_pop(L, 1);
    }
    s->redact_query_count = count;
    lua_pop(L, 1);
}

static void tracing(lua_State *L, struct ml_site *site)
{
    struct ml_tracing_conf *t = &site->settings.tracing;
    unsigned count;

    t->on = flag_field(L, "tracing", false);
    t->sample = number_field(L, "tracing_sample", 1);
    count = list_field(L, "tracing_accept");
    if (count == 0) {
        lua_settop(L, 1);
        return;
    }
    t->accept = ml_arena_alloc(site->arena, count * sizeof *t->accept);
    for (unsigned i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        if (!ml_cidr_parse(ml_check_str(L, -1), &t->accept[i]))
            luaL_error(L, "tracing: accept_from: \"%s\" is no address or network",
                       lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    t->accept_count = count;
    lua_settop(L, 1);
}

void ml_load_logs(lua_State *L, struct ml_site *site)
{
    struct ml_settings *s = &site->settings;

    access_log(L, site->arena, &s->access);
    s->error_format = format_of(text_field(L, site->arena, "error_format", ML_STR("")));
    redaction(L, site);
    ships(L, site);
    tracing(L, site);
}

/* core.syslog_check(where), core.server_url_check(url) -> what is wrong, or nil */
static int syslog_check(lua_State *L)
{
    lua_pushstring(L, ml_syslog_check(luaL_checkstring(L, 1)));
    return 1;
}

static int server_url_check(lua_State *L)
{
    lua_pushstring(L, ml_server_url_check(ml_check_str(L, 1)));
    return 1;
}

void ml_load_open_logs(lua_State *L)
{
    lua_pushcfunction(L, syslog_check);
    lua_setfield(L, -2, "syslog_check");
    lua_pushcfunction(L, server_url_check);
    lua_setfield(L, -2, "server_url_check");
    lua_pushcfunction(L, ml_log_field_is_own);
    lua_setfield(L, -2, "log_field_is_own");
}
