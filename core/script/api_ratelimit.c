/* api_ratelimit.c - core.limiter{...}: limits counted in the memory that all workers share.
 *
 *   limiter:count(key, cost) -> allowed, remaining, reset, retry, delay, lease
 *
 * Times are seconds.  A lease (concurrency only) is what the key holds until lease:release(), until
 * it is collected, or until its worker dies: all leases of a VM are in one list, whose timer renews
 * them. */
#include "script/api.h"

#include "base/clock.h"
#include "base/decimal.h"
#include "base/limiter.h"
#include "inbound/address.h"

#include <math.h>
#include <stdlib.h>

enum { NAME_MAX_LEN = 255, KEY_MAX_LEN = 1024 };

static const char magic;

struct limiter { /* userdata */
    const void *magic;
    struct ml_limiter l;
    bool named; /* l.identity is set, which needs the shared memory */
    size_t len;
    char name[];
};

struct lease {                  /* userdata */
    struct lease *next, **prev; /* prev NULL: it holds nothing */
    struct ml_bridge *bridge;
    struct ml_limiter l;
    uint64_t cost, lease;
    size_t len;
    char key[];
};

struct ml_leases { /* of a VM; made with the first lease */
    struct lease *first;
    struct ml_timer timer;
};

static struct ml_limiter_region *region_of(const struct ml_bridge *b)
{
    return ml_shm_limiter(b->conf.host->shm);
}

/* ---- leases ---- */

static void renew_all(void *ctx)
{
    struct ml_bridge *b = ctx;
    uint64_t now_ns = ml_clock_mono_ns();

    for (struct lease *i = b->leases->first; i != NULL; i = i->next)
        i->lease = ml_limiter_renew(region_of(b), &i->l, (struct ml_str){i->key, i->len}, i->cost,
                                    i->lease, now_ns);
    if (b->leases->first != NULL)
        ml_timer_set(&b->leases->timer, ML_LIMITER_RENEW_S);
}

static void lease_unlink(struct lease *i)
{
    *i->prev = i->next;
    if (i->next != NULL)
        i->next->prev = i->prev;
    i->prev = NULL;
}

static void lease_end(struct lease *i)
{
    if (i->prev == NULL)
        return;
    lease_unlink(i);
    ml_limiter_release(region_of(i->bridge), &i->l, (struct ml_str){i->key, i->len}, i->cost,
                       i->lease, ml_clock_mono_ns());
}

static void lease_link(struct ml_bridge *b, struct lease *i)
{
    struct ml_leases *all = b->leases;

    if (all == NULL) {
        all = b->leases = calloc(1, sizeof *all);
        if (all == NULL)
            abort();
        ml_timer_init(&all->timer, b->conf.host->loop, renew_all, b);
    }
    if (all->first == NULL)
        ml_timer_set(&all->timer, ML_LIMITER_RENEW_S);
    i->next = all->first;
    i->prev = &all->first;
    if (i->next != NULL)
        i->next->prev = &i->next;
    all->first = i;
}

void ml_api_ratelimit_close(struct ml_bridge *b)
{
    if (b->leases == NULL)
        return;
    while (b->leases->first != NULL)
        lease_end(b->leases->first);
    ml_timer_drop(&b->leases->timer);
    free(b->leases);
    b->leases = NULL;
}

static struct lease *check_lease(lua_State *L)
{
    struct lease *i = lua_touserdata(L, 1);

    lua_rawgeti(L, LUA_REGISTRYINDEX, ml_bridge_of(L)->lease_metatable);
    if (i == NULL || !lua_getmetatable(L, 1) || !lua_rawequal(L, -1, -2))
        luaL_typerror(L, 1, "lease");
    lua_pop(L, 2);
    return i;
}

static int lease_release(lua_State *L)
{
    lease_end(check_lease(L));
    return 0;
}

/* Pushes a lease that holds nothing yet: making it may raise, and then nothing was counted. */
static struct lease *lease_push(lua_State *L, struct ml_bridge *b, const struct limiter *limiter,
                                struct ml_str key, uint64_t cost)
{
    struct lease *i = lua_newuserdata(L, sizeof *i + key.len);

    *i = (struct lease){.bridge = b, .l = limiter->l, .cost = cost, .len = key.len};
    memcpy(i->key, key.p, key.len);
    lua_rawgeti(L, LUA_REGISTRYINDEX, b->lease_metatable);
    lua_setmetatable(L, -2);
    return i;
}

/* ---- counting ---- */

/* The limiter at index 1, ready to count. */
static struct limiter *check_limiter(lua_State *L, struct ml_bridge *b)
{
    struct limiter *limiter = lua_touserdata(L, 1);

    if (limiter == NULL || lua_objlen(L, 1) < sizeof *limiter || limiter->magic != &magic)
        luaL_typerror(L, 1, "limiter");
    if (b->conf.host->shm == NULL || ml_task_running(L) == NULL)
        luaL_error(L, "a limiter can not count while the site is loaded");
    if (!limiter->named) {
        limiter->l.identity =
            ml_limiter_identity(region_of(b), (struct ml_str){limiter->name, limiter->len});
        limiter->named = true;
    }
    return limiter;
}

static struct ml_str check_key(lua_State *L)
{
    struct ml_str key = ml_check_str(L, 2);

    if (key.len > KEY_MAX_LEN)
        luaL_argerror(L, 2, "a key has at most 1024 bytes");
    return key;
}

static uint64_t check_cost(lua_State *L)
{
    double cost = luaL_optnumber(L, 3, 1);

    if (!(cost >= 0 && cost <= ML_LIMITER_FIXED_MAX && cost == floor(cost)))
        luaL_argerror(L, 3, "a cost is a whole number from 0 to 16777215");
    return (uint64_t)cost;
}

static void push_seconds(lua_State *L, uint64_t ns)
{
    lua_pushnumber(L, (double)ns / 1e9);
}

/* nil, "busy" when nothing could be counted. */
static int limiter_count(lua_State *L)
{
    struct ml_bridge *b = ml_bridge_of(L);
    struct limiter *limiter = check_limiter(L, b);
    struct ml_str key = check_key(L);
    uint64_t cost = check_cost(L);
    struct ml_limiter_result r;
    struct lease *lease = NULL;

    if (limiter->l.kind == ML_LIMITER_CONCURRENCY)
        lease = lease_push(L, b, limiter, key, cost);
    if (ml_limiter_take(region_of(b), &limiter->l, key, cost, ml_clock_mono_ns(), &r) != ML_OK) {
        lua_pushnil(L);
        lua_pushliteral(L, "busy");
        return 2;
    }
    if (lease != NULL && r.allowed && cost > 0) {
        lease->lease = r.lease;
        lease_link(b, lease);
    }
    lua_pushboolean(L, r.allowed);
    lua_pushnumber(L, (double)r.remaining);
    push_seconds(L, r.reset_ns);
    push_seconds(L, r.retry_ns);
    push_seconds(L, r.delay_ns);
    if (lease == NULL || !r.allowed)
        return 5;
    lua_pushvalue(L, -6);
    return 6;
}

/* ---- core.limiter{ name=, algorithm=, limit=, burst=, window= } ---- */

static enum ml_limiter_kind check_kind(lua_State *L)
{
    static const char *const words[] = {"gcra", "fixed", "sliding", "concurrency", NULL};
    int kind;

    lua_getfield(L, 1, "algorithm");
    kind = luaL_checkoption(L, -1, NULL, words);
    lua_pop(L, 1);
    return (enum ml_limiter_kind)kind;
}

static uint64_t whole(lua_State *L, const char *name, double otherwise)
{
    double n = ml_api_option_number(L, 1, name, 0, 9007199254740992.0, otherwise);

    if (n != floor(n))
        luaL_error(L, "%s must be a whole number", name);
    return (uint64_t)n;
}

static int api_limiter(lua_State *L)
{
    static const char *const names[] = {"name", "algorithm", "limit", "burst", "window", NULL};
    struct ml_limiter l = {0};
    struct limiter *limiter;
    struct ml_str name;
    const char *wrong;

    luaL_checktype(L, 1, LUA_TTABLE);
    ml_api_options(L, 1, names);
    l.kind = check_kind(L);
    wrong = ml_limiter_setup(&l, whole(L, "limit", 0), whole(L, "burst", 0),
                             ml_api_option_seconds(L, 1, "window", 0, 60));
    if (wrong != NULL)
        return luaL_error(L, "%s", wrong);
    name = ml_api_option_string(L, 1, "name", ML_STR(""));
    if (name.len == 0 || name.len > NAME_MAX_LEN)
        return luaL_error(L, "name must have 1 to 255 bytes");
    limiter = lua_newuserdata(L, sizeof *limiter + name.len);
    *limiter = (struct limiter){.magic = &magic, .l = l, .len = name.len};
    memcpy(limiter->name, name.p, name.len);
    lua_rawgeti(L, LUA_REGISTRYINDEX, ml_bridge_of(L)->limiter_metatable);
    lua_setmetatable(L, -2);
    return 1;
}

/* ---- core.ip_network(ip, bits) -> text ---- */

static bool is_v4(const struct ml_address *a)
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};

    return memcmp(a->bytes, prefix, sizeof prefix) == 0;
}

/* Whoever has an IPv6 address has billions of them: they count as the network they are in.  IPv4
 * addresses, and what is no address, stay as they are. */
static int api_ip_network(lua_State *L)
{
    struct ml_str text = ml_check_str(L, 1);
    lua_Integer bits = luaL_checkinteger(L, 2);
    char out[ML_ADDRESS_TEXT_CAP];
    struct ml_address a;

    luaL_argcheck(L, bits >= 1 && bits <= 128, 2, "1 to 128 bits");
    lua_settop(L, 1);
    if (memchr(text.p, ':', text.len) == NULL || !ml_address_parse(text, &a))
        return 1;
    if (!is_v4(&a))
        for (unsigned i = 0; i < sizeof a.bytes; i++) {
            int left = (int)bits - (int)(8 * i);

            a.bytes[i] &= left >= 8 ? 0xff : left <= 0 ? 0 : (uint8_t)(0xff << (8 - left));
        }
    ml_push_str(L, (struct ml_str){out, ml_address_text(&a, out)});
    return 1;
}

/* ---- core.limit_headers(res, policy, limit, remaining, reset) ---- */

/* Room for the four fields, and for the list to grow. */
static void reserve(lua_State *L, const struct ml_message *m, size_t text)
{
    ml_handle_reserve(L, m->arena,
                      text + 3 * ML_DECIMAL_CAP +
                          2 * (m->headers->count + 4) * sizeof *m->headers->v);
}

static uint64_t check_whole(lua_State *L, int index)
{
    double n = ceil(luaL_checknumber(L, index));

    return n >= 0 && n < 9007199254740992.0 ? (uint64_t)n : 0;
}

/* An answer rarely has such fields already: then they are put at its end, all in one piece. */
static void set_fields(const struct ml_message *m, const struct ml_field *fields, uint32_t count)
{
    uint64_t keys = 0;

    for (uint32_t i = 0; i < count; i++)
        keys |= ml_header_key(fields[i].name);
    if ((m->headers->seen & keys) == 0) {
        ml_headers_add_all(m->headers, m->arena, fields, count, keys);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        ml_headers_set(m->headers, m->arena, fields[i].name, fields[i].value);
}

/* The fields of draft-ietf-httpapi-ratelimit-headers-06, which are on every answer of a limited
 * route: one call instead of four.  Without reset there is no window to tell of. */
static int api_limit_headers(lua_State *L)
{
    static const struct ml_str names[] = {{"RateLimit-Policy", 16},
                                          {"RateLimit-Limit", 15},
                                          {"RateLimit-Remaining", 19},
                                          {"RateLimit-Reset", 15}};
    struct ml_str policy = ml_check_str(L, 2);
    uint32_t count = lua_isnoneornil(L, 5) ? 3 : 4;
    struct ml_field fields[4];
    uint64_t numbers[4];
    struct ml_message m;
    char *p;

    luaL_argcheck(L, ml_header_value_ok(policy), 2, "this is no value of a field");
    for (uint32_t i = 1; i < count; i++)
        numbers[i] = check_whole(L, (int)i + 2);
    ml_handle_message(L, 1, true, &m);
    reserve(L, &m, policy.len);
    p = ml_arena_alloc(m.arena, policy.len + 3 * ML_DECIMAL_CAP);
    fields[0] = (struct ml_field){names[0], {p, policy.len}, ML_H_OTHER};
    memcpy(p, policy.p, policy.len);
    p += policy.len;
    for (uint32_t i = 1; i < count; i++) {
        fields[i] = (struct ml_field){names[i], {p, ml_decimal(p, numbers[i])}, ML_H_OTHER};
        p += ML_DECIMAL_CAP;
    }
    set_fields(&m, fields, count);
    return 0;
}

void ml_api_ratelimit_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg functions[] = {{"limiter", api_limiter},
                                         {"ip_network", api_ip_network},
                                         {"limit_headers", api_limit_headers},
                                         {NULL, NULL}};
    static const luaL_Reg methods[] = {{"count", limiter_count}, {NULL, NULL}};
    static const luaL_Reg lease_methods[] = {{"release", lease_release}, {NULL, NULL}};
    static const luaL_Reg lease_meta[] = {{"__gc", lease_release}, {NULL, NULL}};

    ml_bridge_register(L, b, functions);
    ml_api_push_class(L, b, methods);
    b->limiter_metatable = luaL_ref(L, LUA_REGISTRYINDEX);
    ml_api_push_class(L, b, lease_methods);
    ml_bridge_register(L, b, lease_meta);
    b->lease_metatable = luaL_ref(L, LUA_REGISTRYINDEX);
}
