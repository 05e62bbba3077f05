/* api_client_tls.c - a table of options becomes a context.
 *
 * All texts stay where Lua has them, on the stack or in the table, until the context is made. */
#include "script/api_client_tls.h"

static struct ml_str text(lua_State *L, int index, const char *name)
{
    return ml_api_option_string(L, index, name, ML_STR_NONE);
}

static int version(lua_State *L, int index, const char *name)
{
    struct ml_str s = text(L, index, name);

    if (s.len == 0)
        return 0;
    if (ml_str_eq(s, ML_STR("1.2")))
        return 12;
    if (!ml_str_eq(s, ML_STR("1.3")))
        luaL_error(L, "tls: %s must be \"1.2\" or \"1.3\"", name);
    return 13;
}

static const char *const *list(lua_State *L, int index, const char *name,
                               const char *out[ML_CLIENT_TLS_LIST_MAX + 1])
{
    int count = 0;

    lua_getfield(L, index, name);
    if (lua_isnil(L, -1))
        return NULL;
    if (!lua_istable(L, -1))
        luaL_error(L, "tls: %s must be a list of names", name);
    for (;; count++) {
        lua_rawgeti(L, -1, count + 1);
        if (lua_isnil(L, -1))
            break;
        if (lua_type(L, -1) != LUA_TSTRING || count == ML_CLIENT_TLS_LIST_MAX)
            luaL_error(L, "tls: %s must be a list of at most %d names", name,
                       ML_CLIENT_TLS_LIST_MAX);
        out[count] = lua_tostring(L, -1); /* the table keeps it */
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    if (count == 0)
        luaL_error(L, "tls: %s is an empty list", name);
    return out;
}

static void read_pair(lua_State *L, int index, struct ml_client_tls_options *o)
{
    o->pair.cert = text(L, index, "cert");
    o->pair.key = text(L, index, "key");
    if ((o->pair.cert.len == 0) != (o->pair.key.len == 0))
        luaL_error(L, "tls: cert and key go together");
    o->pair.cert_name = "cert";
    o->pair.key_name = "key";
    if (o->pair.cert.len > 0)
        o->conf.pair = &o->pair;
}

static void read_options(lua_State *L, int index, struct ml_client_tls_options *o)
{
    static const char *const names[] = {"ca",     "cert",        "key",         "name",
                                        "verify", "min_version", "max_version", "ciphers",
                                        "curves", "alpn",        NULL};

    luaL_checkstack(L, 24, "tls");
    if (!ml_api_options(L, index, names))
        return;
    o->conf.ca = text(L, index, "ca");
    o->conf.ca_name = "ca";
    o->conf.insecure = !ml_api_option_flag(L, index, "verify", true);
    o->conf.settings.min = version(L, index, "min_version");
    o->conf.settings.max = version(L, index, "max_version");
    o->conf.settings.ciphers = list(L, index, "ciphers", o->ciphers);
    o->conf.settings.curves = list(L, index, "curves", o->curves);
    o->conf.settings.alpn = list(L, index, "alpn", o->alpn);
    o->name = text(L, index, "name");
    if (o->name.len > 253 || (o->name.len > 0 && memchr(o->name.p, '\0', o->name.len) != NULL))
        luaL_error(L, "tls: name is no name of a host");
    read_pair(L, index, o);
}

void ml_api_client_tls(lua_State *L, int index, struct ml_client_tls_options *out)
{
    memset(out, 0, sizeof *out);
    read_options(L, index, out);
}

void ml_api_client_tls_check(lua_State *L, const struct ml_client_tls_options *o)
{
    char error[ML_TLS_ERROR_MAX];
    struct ml_tls *tls = ml_tls_client_new(&o->conf, error);

    if (tls == NULL)
        luaL_error(L, "tls: %s", error);
    ml_tls_free(&tls);
}

struct ml_client_tls *ml_api_client_tls_hold(lua_State *L, const struct ml_client_tls_options *o,
                                             struct ml_outbound *outbound)
{
    char error[ML_TLS_ERROR_MAX];
    struct ml_client_tls *tls = ml_client_tls_hold(outbound, &o->conf, o->name, error);

    if (tls == NULL)
        luaL_error(L, "tls: %s", error);
    return tls;
}

static int check(lua_State *L)
{
    struct ml_client_tls_options o;

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    ml_api_client_tls(L, 1, &o);
    ml_api_client_tls_check(L, &o);
    return 0;
}

void ml_api_client_tls_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg functions[] = {{"client_tls_check", check}, {NULL, NULL}};

    ml_bridge_register(L, b, functions);
}

/* ---- a copy ---- */

static struct ml_str keep(struct ml_str s, struct ml_arena *arena)
{
    return s.len > 0 ? ml_arena_dup(arena, s) : ML_STR_NONE;
}

static const char *const *keep_list(const char **list, struct ml_arena *arena)
{
    if (list[0] == NULL)
        return NULL;
    for (const char **p = list; *p != NULL; p++)
        *p = ml_arena_printf(arena, "%s", *p).p;
    return list;
}

const struct ml_client_tls_options *
ml_client_tls_options_keep(const struct ml_client_tls_options *o, struct ml_arena *arena)
{
    struct ml_client_tls_options *copy = ml_arena_alloc(arena, sizeof *copy);

    *copy = *o;
    copy->name = keep(o->name, arena);
    copy->conf.ca = keep(o->conf.ca, arena);
    copy->conf.settings.ciphers = keep_list(copy->ciphers, arena);
    copy->conf.settings.curves = keep_list(copy->curves, arena);
    copy->conf.settings.alpn = keep_list(copy->alpn, arena);
    copy->pair.cert = keep(o->pair.cert, arena);
    copy->pair.key = keep(o->pair.key, arena);
    if (o->conf.pair != NULL)
        copy->conf.pair = &copy->pair;
    return copy;
}
