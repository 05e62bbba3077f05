/* load_tls.c - what gw.listen says of TLS becomes a context; files that are not part of the site's
 * snapshot are asked for by name.
 *
 *   core.file(name) -> bytes; nil: it cannot be read; false: it will be there when the site is
 * loaded again
 *
 * Loading reads nothing: a name that is not in the snapshot is noted, and the staging process,
 * which may read as root, adds it to the snapshot and loads once more. */
#include "script/load_parts.h"

#include "base/clock.h"
#include "transport/tls_make.h"

enum { LIST_MAX = 128, PAIRS_MAX = 64 };

/* ---- files ---- */

/* In a snapshot, names of files outside of the site begin with '/', those of other files in it with
 * "//". */
static int push_file(lua_State *L)
{
    struct ml_load *load = load_of(L);
    struct ml_str name = ml_check_str(L, 1), bytes;

    if (name.len == 0 || name.p[0] != '/') {
        if (ml_snapshot_find(load->snapshot, name, &bytes)) {
            ml_push_str(L, bytes); /* a file of the site */
            return 1;
        }
        lua_pushfstring(L, "//%s", lua_tostring(L, 1));
        lua_replace(L, 1);
        name = ml_check_str(L, 1);
    }
    if (memchr(name.p, '\0', name.len) != NULL || name.len > ML_SNAPSHOT_NAME_MAX)
        return 0;
    if (load->files != NULL) {
        ml_buf_append(load->files, name);
        ml_buf_append(load->files, (struct ml_str){"", 1});
    }
    if (ml_snapshot_find(load->snapshot, name, &bytes)) {
        ml_push_str(L, bytes);
        return 1;
    }
    if (!load->files_later)
        return 0;
    lua_pushboolean(L, false);
    return 1;
}

/* ---- the fields of a table on top of the stack ---- */

static struct ml_str bytes_of(lua_State *L, const char *name)
{
    struct ml_str s = ML_STR_NONE;

    lua_getfield(L, -1, name);
    if (lua_type(L, -1) == LUA_TSTRING)
        s.p = lua_tolstring(L, -1, &s.len); /* the table keeps it alive */
    lua_pop(L, 1);
    return s;
}

static const char *text_of(lua_State *L, const char *name)
{
    return bytes_of(L, name).p;
}

static double number_of(lua_State *L, const char *name, double otherwise)
{
    double n = otherwise;

    lua_getfield(L, -1, name);
    if (!lua_isnil(L, -1))
        n = luaL_checknumber(L, -1);
    lua_pop(L, 1);
    return n;
}

/* A list of texts that ends with NULL, or NULL. */
static const char *const *list_of(lua_State *L, const char *name, struct ml_arena *arena)
{
    const char **list = NULL;

    lua_getfield(L, -1, name);
    if (lua_istable(L, -1)) {
        size_t count = lua_objlen(L, -1);

        if (count > LIST_MAX)
            luaL_error(L, "%s has more than %d entries", name, LIST_MAX);
        list = ml_arena_zalloc(arena, (count + 1) * sizeof *list);
        for (size_t i = 0; i < count; i++) {
            lua_rawgeti(L, -1, (int)i + 1);
            list[i] = luaL_checkstring(L, -1);
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
    return list;
}

/* ---- the context ---- */

static void pair_of(lua_State *L, struct ml_arena *arena, struct ml_tls_pair *pair)
{
    *pair = (struct ml_tls_pair){.cert = bytes_of(L, "cert"),
                                 .key = bytes_of(L, "key"),
                                 .ocsp = bytes_of(L, "ocsp"),
                                 .cert_name = text_of(L, "cert_name"),
                                 .key_name = text_of(L, "key_name"),
                                 .ocsp_name = text_of(L, "ocsp_name"),
                                 .names = list_of(L, "names", arena)};
}

static unsigned pairs_of(lua_State *L, struct ml_arena *arena, struct ml_tls_pair **out)
{
    unsigned count;

    lua_getfield(L, -1, "pairs");
    luaL_checktype(L, -1, LUA_TTABLE);
    count = (unsigned)lua_objlen(L, -1);
    if (count > PAIRS_MAX)
        luaL_error(L, "there are more than %d certificates", PAIRS_MAX);
    *out = ml_arena_zalloc(arena, (count + 1) * sizeof **out);
    for (unsigned i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        pair_of(L, arena, &(*out)[i]);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return count;
}

static enum ml_tls_client_auth auth_of(lua_State *L)
{
    const char *auth = text_of(L, "client_auth");

    if (auth == NULL || strcmp(auth, "none") == 0)
        return ML_TLS_NO_CLIENT_CERT;
    return strcmp(auth, "required") == 0 ? ML_TLS_REQUIRED : ML_TLS_OPTIONAL;
}

/* The table is on top of the stack. */
static struct ml_tls *context(lua_State *L, struct ml_arena *arena, struct ml_listener_conf *c,
                              char *error)
{
    struct ml_tls_pair *pairs;
    struct ml_tls_server_conf conf = {
        .settings = {.min = (int)number_of(L, "min", 0),
                     .max = (int)number_of(L, "max", 0),
                     .ciphers = list_of(L, "ciphers", arena),
                     .curves = list_of(L, "curves", arena),
                     .alpn = list_of(L, "alpn", arena)},
        .client_auth = auth_of(L),
        .client_ca = bytes_of(L, "client_ca"),
        .client_ca_name = text_of(L, "client_ca_name"),
        .client_crl = bytes_of(L, "client_crl"),
        .client_crl_name = text_of(L, "client_crl_name"),
        .session_s = number_of(L, "session_timeout", 0),
    };

    conf.pair_count = pairs_of(L, arena, &pairs);
    conf.pairs = pairs;
    c->handshake_timeout = number_of(L, "handshake_timeout", c->handshake_timeout);
    c->tls_clients = conf.client_auth != ML_TLS_NO_CLIENT_CERT;
    if (text_of(L, "development") != NULL) {
        pairs[0] = ml_tls_development();
        conf.pair_count = 1;
    }
    return ml_tls_server_new(&conf, error);
}

static void warn_of_end(struct ml_load *load, const struct ml_listener_conf *c, double now_s)
{
    double left_s = (double)ml_tls_expires(c->tls) - now_s;

    if (left_s <= 0)
        ml_buf_printf(&load->warnings, "a certificate of the listener on port %d has expired\n",
                      c->port);
}

const char *ml_load_tls(lua_State *L, struct ml_load *load, struct ml_listener_conf *c)
{
    char error[ML_TLS_ERROR_MAX];

    lua_getfield(L, 1, "tls");
    if (!lua_istable(L, -1)) {
        lua_pop(L, 1);
        return NULL;
    }
    c->tls = context(L, load->site->arena, c, error);
    lua_pop(L, 1);
    if (c->tls == NULL)
        return lua_pushfstring(L, "tls: %s", error);
    warn_of_end(load, c, ml_clock_wall_s());
    return NULL;
}

void ml_load_redirect(lua_State *L, struct ml_load *load, struct ml_listener_conf *c)
{
    struct ml_arena *arena = load->site->arena;
    unsigned count;

    c->redirect_status = (int)number_field(L, "redirect_status", 0);
    c->redirect_port = (int)number_field(L, "redirect_port", 443);
    c->redirect_host = text_field(L, arena, "redirect_host", ML_STR(""));
    count = list_field(L, "redirect_except");
    if (count == 0)
        return;
    c->redirect_except = ml_arena_alloc(arena, count * sizeof *c->redirect_except);
    for (unsigned i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        c->redirect_except[i] = ml_arena_dup(arena, ml_check_str(L, -1));
        lua_pop(L, 1);
    }
    c->redirect_except_count = count;
    lua_pop(L, 1);
}

void ml_load_open_tls(lua_State *L, struct ml_load *load)
{
    lua_pushlightuserdata(L, load);
    lua_pushcclosure(L, push_file, 1);
    lua_setfield(L, -2, "file");
}
