/* api_text.c - clocks, randomness, and small things that are done to text.
 *
 *   core.now() -> seconds since 1970         core.mono() -> seconds that never go back
 *   core.time_iso(s or nil) -> "2024-05-06T07:08:09.123Z"
 *   core.random_hex(bytes) -> text           core.ip_match(ip, list of networks) -> bool
 *   core.url_encode(s) core.url_decode(s)    core.base64_encode(s, url) core.base64_decode(s, url)
 */
#include "script/handle.h"

#include "base/clock.h"
#include "base/log_event.h"
#include "inbound/address.h"
#include "protocol/chars.h"

enum { RANDOM_MAX = 1024 };

static int now(lua_State *L)
{
    lua_pushnumber(L, ml_clock_wall_s());
    return 1;
}

static int mono(lua_State *L)
{
    lua_pushnumber(L, ml_clock_mono_s());
    return 1;
}

static int time_iso(lua_State *L)
{
    double s = lua_isnoneornil(L, 1) ? ml_clock_wall_s() : luaL_checknumber(L, 1);
    struct ml_buf *out = ml_handle_scratch();

    if (!(s >= 0 && s < 253402300800.0)) /* year 10000 */
        return luaL_argerror(L, 1, "a time from 1970 to 9999 is expected");
    ml_log_timestamp(out, s);
    ml_push_str(L, ml_buf_str(out));
    return 1;
}

static int random_hex(lua_State *L)
{
    double bytes = luaL_checknumber(L, 1);
    char text[2 * RANDOM_MAX + 1];

    if (!(bytes >= 1 && bytes <= RANDOM_MAX))
        return luaL_argerror(L, 1, "the number of bytes must be from 1 to 1024");
    ml_random_hex(text, (size_t)bytes);
    lua_pushlstring(L, text, 2 * (size_t)bytes);
    return 1;
}

/* A network that is none is the caller's mistake; an address that is none is in no network. */
static int ip_match(lua_State *L)
{
    struct ml_address address;
    struct ml_cidr network;
    bool valid = ml_address_parse(ml_check_str(L, 1), &address), found = false;

    luaL_checktype(L, 2, LUA_TTABLE);
    for (int i = 1; i <= (int)lua_objlen(L, 2); i++) {
        lua_rawgeti(L, 2, i);
        if (lua_type(L, -1) != LUA_TSTRING || !ml_cidr_parse(ml_check_str(L, -1), &network))
            return luaL_error(L, "ip_match: entry %d is no address or network", i);
        found |= valid && ml_address_within(&network, 1, &address);
        lua_pop(L, 1);
    }
    lua_pushboolean(L, found);
    return 1;
}

static int url_encode(lua_State *L)
{
    static const char hex[] = "0123456789ABCDEF";
    struct ml_str s = ml_check_str(L, 1);
    struct ml_buf *out = ml_handle_scratch();
    char *begin = ml_buf_reserve(out, s.len * 3), *w = begin;

    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (ml_char_is(s.p[i], ML_CHAR_UNRESERVED)) {
            *w++ = s.p[i];
            continue;
        }
        *w++ = '%';
        *w++ = hex[c >> 4];
        *w++ = hex[c & 15];
    }
    lua_pushlstring(L, begin, (size_t)(w - begin));
    return 1;
}

static int url_decode(lua_State *L)
{
    ml_query_push_decoded(L, ml_check_str(L, 1));
    return 1;
}

static int base64_encode(lua_State *L)
{
    struct ml_str s = ml_check_str(L, 1);
    struct ml_buf *out = ml_handle_scratch();

    ml_base64_encode(out, s, lua_toboolean(L, 2));
    ml_push_str(L, ml_buf_str(out));
    return 1;
}

static int base64_decode(lua_State *L)
{
    struct ml_str s = ml_check_str(L, 1);
    struct ml_buf *out = ml_handle_scratch();

    if (!ml_base64_decode(out, s, lua_toboolean(L, 2))) {
        lua_pushnil(L);
        lua_pushliteral(L, "malformed_base64");
        return 2;
    }
    ml_push_str(L, ml_buf_str(out));
    return 1;
}

void ml_api_text_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg functions[] = {
        {"now", now},
        {"mono", mono},
        {"time_iso", time_iso},
        {"random_hex", random_hex},
        {"ip_match", ip_match},
        {"url_encode", url_encode},
        {"url_decode", url_decode},
        {"base64_encode", base64_encode},
        {"base64_decode", base64_decode},
        {NULL, NULL},
    };

    ml_bridge_register(L, b, functions);
}
