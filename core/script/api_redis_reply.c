/* api_redis_reply.c - what Redis answered, as values of Lua.
 *
 * Inside of a list nil is false, so that lists have no holes; Redis' own Lua does the same. */
#include "script/api_redis.h"

static void push_text(lua_State *L, const struct ml_redis_reply *r)
{
    static const char hint[] = ": all keys of a command must have the same {hash tag}";

    ml_push_str(L, ml_redis_reply_text(r));
    if (!ml_redis_reply_is_error(r, "CROSSSLOT"))
        return;
    lua_pushstring(L, hint);
    lua_concat(L, 2);
}

/* As deep as the reader lets a reply be. */
static void push_list(lua_State *L, const struct ml_redis_reply *r)
{
    luaL_checkstack(L, 4, "a reply of Redis is too deep");
    lua_createtable(L, (int)r->len, 0);
    for (size_t i = 0; i < r->len; i++) {
        ml_redis_reply_push_item(L, r->items[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

void ml_redis_reply_push_item(lua_State *L, const struct ml_redis_reply *r)
{
    switch (r->type) {
    case ML_REDIS_NIL:
        lua_pushboolean(L, 0);
        break;
    case ML_REDIS_INTEGER:
        lua_pushnumber(L, (double)r->integer);
        break;
    case ML_REDIS_STRING:
    case ML_REDIS_STATUS:
        ml_push_str(L, ml_redis_reply_text(r));
        break;
    case ML_REDIS_ERROR:
        lua_createtable(L, 0, 1);
        push_text(L, r);
        lua_setfield(L, -2, "err");
        break;
    case ML_REDIS_ARRAY:
        push_list(L, r);
        break;
    }
}

int ml_redis_reply_push(lua_State *L, const struct ml_redis_reply *r)
{
    if (r->type == ML_REDIS_NIL) {
        lua_pushnil(L);
        return 1;
    }
    if (r->type != ML_REDIS_ERROR) {
        ml_redis_reply_push_item(L, r);
        return 1;
    }
    lua_pushnil(L);
    lua_pushliteral(L, "redis_error");
    push_text(L, r);
    return 3;
}
