/* load_group.c - core.group(t) -> refusal: the function behind gw.upstream. */
#include "script/api_client_tls.h"
#include "script/load_parts.h"

static const char *server(lua_State *L, struct ml_site *site, struct ml_server_conf *s)
{
    const char *wrong;

    lua_getfield(L, -1, "url");
    s->url = ml_arena_dup(site->arena, ml_check_str(L, -1));
    lua_getfield(L, -2, "weight");
    s->weight = lua_isnil(L, -1) ? 1 : (unsigned)luaL_checkinteger(L, -1);
    lua_getfield(L, -3, "max_conns");
    s->max_conns = (unsigned)lua_tointeger(L, -1);
    lua_getfield(L, -4, "backup");
    s->backup = lua_toboolean(L, -1);
    lua_pop(L, 4);
    wrong = ml_server_url_check(s->url);
    return wrong == NULL ? NULL : lua_pushfstring(L, "\"%s\": %s", s->url.p, wrong);
}

static const char *servers(lua_State *L, struct ml_site *site, struct ml_group_conf *g)
{
    const char *wrong;

    g->server_count = list_field(L, "servers");
    if (g->server_count == 0)
        return "an upstream needs at least one server";
    g->servers = ml_arena_zalloc(site->arena, g->server_count * sizeof *g->servers);
    for (unsigned i = 0; i < g->server_count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        wrong = server(L, site, &g->servers[i]);
        if (wrong != NULL)
            return wrong;
        for (unsigned k = 0; k < i; k++)
            if (ml_str_eq(g->servers[k].url, g->servers[i].url))
                return lua_pushfstring(L, "\"%s\" is given twice", g->servers[i].url.p);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return NULL;
}

static enum ml_balance balance_field(lua_State *L)
{
    static const char *const names[] = {"round_robin", "least_conn", "hash", "p2c", NULL};
    int choice;

    lua_getfield(L, 1, "balance");
    choice = luaL_checkoption(L, -1, "round_robin", names);
    lua_pop(L, 1);
    return (enum ml_balance)choice;
}

static void group_times(lua_State *L, struct ml_group_conf *g)
{
    g->connect_timeout = number_field(L, "connect_timeout", 0);
    g->first_byte_timeout = number_field(L, "first_byte_timeout", 0);
    g->read_timeout = number_field(L, "read_timeout", 0);
    g->send_timeout = number_field(L, "send_timeout", 0);
    g->tunnel_idle = number_field(L, "websocket_idle_timeout", 0);
    g->total_timeout = number_field(L, "total_timeout", 0);
    g->keepalive = count_field(L, "keepalive");
    g->keepalive_timeout = number_field(L, "keepalive_timeout", 0);
    g->ping_interval = number_field(L, "ping_interval", 0);
    g->max_fails = count_field(L, "max_fails");
    g->fail_timeout = number_field(L, "fail_timeout", 0);
    g->retries = count_field(L, "retries");
}

static void group_servers(lua_State *L, struct ml_group_conf *g)
{
    static const char *const versions[] = {"off", "v1", "v2", NULL};

    g->resolve_all = flag_field(L, "resolve_all", false);
    g->slow_start = number_field(L, "slow_start", 0);
    g->panic_threshold = (unsigned)number_field(L, "panic_threshold", 0);
    lua_getfield(L, 1, "send_proxy");
    g->send_proxy = (enum ml_send_proxy)luaL_checkoption(L, -1, "off", versions);
    lua_pop(L, 1);
}

/* check_expect: from, to, from, to ... */
static void check_expect(lua_State *L, struct ml_check_conf *c)
{
    unsigned count = list_field(L, "check_expect") / 2;

    if (count == 0)
        return;
    c->expect_count = count < ML_CHECK_RANGES_MAX ? count : ML_CHECK_RANGES_MAX;
    for (unsigned i = 0; i < c->expect_count; i++) {
        lua_rawgeti(L, -1, (int)i * 2 + 1);
        lua_rawgeti(L, -2, (int)i * 2 + 2);
        c->expect[i].from = (uint16_t)lua_tointeger(L, -2);
        c->expect[i].to = (uint16_t)lua_tointeger(L, -1);
        lua_pop(L, 2);
    }
    lua_pop(L, 1);
}

static void check(lua_State *L, struct ml_arena *arena, struct ml_check_conf *c)
{
    c->on = flag_field(L, "check", false);
    if (!c->on)
        return;
    c->path = text_field(L, arena, "check_path", ML_STR(""));
    c->host = text_field(L, arena, "check_host", ML_STR(""));
    c->method = text_field(L, arena, "check_method", ML_STR("GET"));
    c->body = text_field(L, arena, "check_body", ML_STR(""));
    c->interval = number_field(L, "check_interval", 0);
    c->timeout = number_field(L, "check_timeout", 0);
    c->jitter = number_field(L, "check_jitter", 0);
    c->rise = (unsigned)number_field(L, "check_rise", 0);
    c->fall = (unsigned)number_field(L, "check_fall", 0);
    c->port = (int)number_field(L, "check_port", 0);
    c->begins_down = flag_field(L, "check_begins_down", false);
    check_expect(L, c);
}

static void tls(lua_State *L, struct ml_arena *arena, struct ml_group_conf *g)
{
    struct ml_client_tls_options o;
    const struct ml_client_tls_options *kept;
    int top = lua_gettop(L);

    lua_getfield(L, 1, "tls");
    if (!lua_isnil(L, -1)) {
        ml_api_client_tls(L, lua_gettop(L), &o);
        ml_api_client_tls_check(L, &o);
        kept = ml_client_tls_options_keep(&o, arena);
        g->tls = &kept->conf;
        g->tls_name = kept->name;
    }
    lua_settop(L, top);
}

int ml_load_group(lua_State *L)
{
    struct ml_site *site = load_of(L)->site;
    struct ml_group_conf *g = &site->groups[site->group_count];
    const char *wrong;

    luaL_checktype(L, 1, LUA_TTABLE);
    if (site->group_count == ML_SITE_GROUPS_MAX)
        return refuse(L, "a site can have 512 upstreams");
    *g = (struct ml_group_conf){.balance = balance_field(L)};
    g->name = text_field(L, site->arena, "name", ML_STR(""));
    group_times(L, g);
    g->preserve_host = flag_field(L, "preserve_host", false);
    g->via_off = !flag_field(L, "via", true);
    g->real_ip_off = !flag_field(L, "real_ip", true);
    g->forwarded_port = flag_field(L, "forwarded_port", false);
    group_servers(L, g);
    tls(L, site->arena, g);
    check(L, site->arena, &g->check);
    g->limits.head_max = (size_t)number_field(L, "limit_head", 0);
    g->limits.fields_max = (uint32_t)number_field(L, "limit_fields", 0);
    wrong = servers(L, site, g);
    if (wrong != NULL)
        return refuse(L, wrong);
    site->group_count++;
    return 0;
}
