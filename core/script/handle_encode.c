/* handle_encode.c - content codings of a response that streams: what the policy "compress" uses.
 *
 *   res:encode(coding, level or nil, flush or nil) -> true, or nil, "overload"
 *   res:length() -> bytes of the body when that is known, or nil
 *   res:decode() -> true when the body is plain now, or nil, "unsupported_encoding" | "overload"
 *   core.accept_encoding(value of Accept-Encoding or nil, list of codings) -> one of them, or nil
 */
#include "inbound/recode.h"
#include "script/handle.h"

enum { OFFERS_MAX = 4 };

/* The exchange whose response the handle at 1 is; raises when its body can not pass a coder. */
static struct ml_exchange *codable(lua_State *L, const char *name)
{
    struct ml_handle *h = ml_handle_check(L, 1, ML_HANDLE_RESPONSE);
    struct ml_exchange *ex = ml_handle_writable(L, h);

    if (ex == NULL || h->res != &ex->res || ex->res.status == 101)
        luaL_error(L, "%s works on the response of next() or core.forward only", name);
    if (ml_handle_plan(L, ex)->reading_response)
        luaL_error(L, "%s: the body is being read by another branch", name);
    ml_handle_reserve(L, ex->arena, 1024);
    return ex;
}

static bool has_body(const struct ml_exchange *ex)
{
    return ex->res.body != NULL || ex->res.bytes.len > 0;
}

static bool is_head(const struct ml_exchange *ex)
{
    return ml_str_eq(ex->req.method, ML_STR("HEAD"));
}

/* The answer to HEAD has the fields that GET would have, and here no length, which nobody knows. */
static void drop_body(struct ml_exchange *ex)
{
    ex->res.bytes = ML_STR_NONE;
    ex->res.has_length = false;
    ex->res.no_body = true;
}

/* The representation is another one: a strong validator of the old one would lie (RFC 9110 section
 * 8.8.1), and so would digests and offers of ranges. */
static void change_fields(struct ml_exchange *ex)
{
    struct ml_headers *h = &ex->res.headers;
    const struct ml_field *etag = ml_headers_find(h, ML_STR("etag"));

    if (etag != NULL && etag->value.len > 0 && etag->value.p[0] == '"')
        ml_headers_set(h, ex->arena, ML_STR("ETag"),
                       ml_arena_printf(ex->arena, "W/%.*s", (int)etag->value.len, etag->value.p));
    ml_headers_remove(h, ML_STR("accept-ranges"));
    ml_headers_remove(h, ML_STR("content-md5"));
    ml_headers_remove(h, ML_STR("content-digest"));
    ml_headers_remove(h, ML_STR("repr-digest"));
    ml_headers_remove(h, ML_STR("digest"));
}

static enum ml_coding check_coding(lua_State *L, int index)
{
    enum ml_coding coding = ml_coding_of(ml_check_str(L, index));

    if (coding == ML_CODING_NONE)
        luaL_argerror(L, index, "must be \"br\", \"gzip\" or \"deflate\"");
    return coding;
}

static int fail(lua_State *L, const char *code)
{
    lua_pushnil(L);
    lua_pushstring(L, code);
    return 2;
}

static int encode(lua_State *L)
{
    struct ml_exchange *ex = codable(L, "encode");
    enum ml_coding coding = check_coding(L, 2);
    lua_Integer level = luaL_optinteger(L, 3, 0);
    struct ml_coder *coder;

    if (level < 0 || level > (coding == ML_CODING_BROTLI ? 11 : 9))
        return luaL_argerror(L, 3, "the level must be from 1 to 9, of brotli to 11");
    if (is_head(ex)) {
        drop_body(ex);
    } else if (has_body(ex)) {
        coder = ml_encoder_new(coding, (unsigned)level);
        if (coder == NULL)
            return fail(L, "overload");
        ml_recode_response(ex, &coder, lua_toboolean(L, 4));
    }
    ml_headers_set(&ex->res.headers, ex->arena, ML_STR("Content-Encoding"), ml_coding_name(coding));
    change_fields(ex);
    lua_pushboolean(L, true);
    return 1;
}

const char *ml_body_decode(struct ml_exchange *ex)
{
    const struct ml_field *f = ml_headers_find(&ex->res.headers, ML_STR("content-encoding"));
    enum ml_coding coding;
    struct ml_coder *coder;

    if (f == NULL || f->value.len == 0 || ml_str_ieq(f->value, ML_STR("identity")))
        return NULL;
    coding = ml_coding_of(f->value);
    if (coding == ML_CODING_NONE)
        return "unsupported_encoding";
    if (is_head(ex)) {
        drop_body(ex);
    } else if (has_body(ex)) {
        coder = ml_decoder_new(coding);
        if (coder == NULL)
            return "overload";
        ml_recode_response(ex, &coder, true);
    }
    ml_headers_remove(&ex->res.headers, ML_STR("content-encoding"));
    change_fields(ex);
    return NULL;
}

static int decode(lua_State *L)
{
    const char *wrong = ml_body_decode(codable(L, "decode"));

    if (wrong != NULL)
        return fail(L, wrong);
    lua_pushboolean(L, true);
    return 1;
}

static int length(lua_State *L)
{
    struct ml_handle *h = ml_handle_check(L, 1, ML_HANDLE_RESPONSE);

    ml_handle_exchange(L, h); /* raises when it is over */
    if (h->res == NULL)
        return luaL_error(L, "this response was replaced by another one");
    if (h->res->body != NULL && !h->res->has_length)
        return 0;
    lua_pushnumber(L, (double)(h->res->body != NULL || h->res->has_length ? h->res->length
                                                                          : h->res->bytes.len));
    return 1;
}

const luaL_Reg ml_encode_methods[] = {
    {"encode", encode}, {"decode", decode}, {"length", length}, {NULL, NULL}};

static int accept_encoding(lua_State *L)
{
    enum ml_coding offers[OFFERS_MAX], chosen;
    unsigned count = 0;

    luaL_checktype(L, 2, LUA_TTABLE);
    for (int i = 1; i <= OFFERS_MAX; i++) {
        lua_rawgeti(L, 2, i);
        if (lua_isnil(L, -1))
            break;
        offers[count++] = check_coding(L, -1);
        lua_pop(L, 1);
    }
    if (lua_isnoneornil(L, 1))
        return 0;
    chosen = ml_coding_choose(ml_check_str(L, 1), offers, count);
    if (chosen == ML_CODING_NONE)
        return 0;
    ml_push_str(L, ml_coding_name(chosen));
    return 1;
}

void ml_api_encode_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg functions[] = {{"accept_encoding", accept_encoding}, {NULL, NULL}};

    ml_bridge_register(L, b, functions);
}
