/* api_fields.c - header fields that were checked once, when the site was loaded, and are put on
 * many messages.
 *
 *   core.fields{ { "X-A", "1" },            set: one field, whatever was there
 *                { "Server", false },       removed
 *                { "X-Internal-*", false }, removed, whatever follows
 *                { "Vary", "Origin", true } an element of the list, added unless it is there
 *              } -> fields
 *   fields:apply(message)                   a request or a response, now
 *   fields:keep(req)                        also on answers that the core makes by itself, in place
 *                                           of the chain's: a script failed, a body came too late
 *
 * The texts of all fields are one block, so a message gets them by one copy. */
#include "script/api.h"

enum { FIELDS_MAX = 64 };

enum action { SET, REMOVE, REMOVE_PREFIX, MERGE };

struct entry {
    enum action action;
    size_t name, name_len, value, value_len; /* offsets into the block */
};

struct fields {
    unsigned count;
    uint64_t lengths; /* bit n: a name of n (modulo 64) bytes is replaced or removed */
    size_t len;       /* of the block, which follows the entries */
    struct entry entries[];
};

static char *block_of(const struct fields *f)
{
    return (char *)(f->entries + f->count);
}

/* ---- reading the list at index 1 ---- */

static void refuse(lua_State *L, int i, const char *why)
{
    luaL_error(L, "field %d: %s", i, why);
}

static void check_names(lua_State *L, int i, struct ml_str name)
{
    enum ml_header_id id = ml_header_id(name);

    if (!ml_header_name_ok(name)) /* '*' is a character of names */
        refuse(L, i, "this is no name of a header");
    if (id == ML_H_CONTENT_LENGTH || id == ML_H_TRANSFER_ENCODING || id == ML_H_CONNECTION ||
        id == ML_H_HOST || id == ML_H_COOKIE)
        refuse(L, i, "this header is not set in this way");
}

/* The table of field i, its name, value and flag are pushed; says what is to be done. */
static enum action read_entry(lua_State *L, int i, struct ml_str *name, struct ml_str *value)
{
    lua_rawgeti(L, 1, i);
    if (!lua_istable(L, -1))
        refuse(L, i, "a table with a name and a value is expected");
    for (int n = 1; n <= 3; n++)
        lua_rawgeti(L, -n, n);
    if (lua_type(L, -3) != LUA_TSTRING)
        refuse(L, i, "the name must be a string");
    *name = ml_check_str(L, -3);
    *value = ML_STR("");
    check_names(L, i, *name);
    if (lua_type(L, -2) == LUA_TBOOLEAN && !lua_toboolean(L, -2))
        return name->len > 1 && name->p[name->len - 1] == '*' ? REMOVE_PREFIX : REMOVE;
    if (lua_type(L, -2) != LUA_TSTRING)
        refuse(L, i, "the value must be a string, or false");
    *value = ml_check_str(L, -2);
    if (!ml_header_value_ok(*value))
        refuse(L, i, "the value holds a control character");
    return lua_toboolean(L, -1) ? MERGE : SET;
}

static size_t measure(lua_State *L, int count)
{
    struct ml_str name, value;
    size_t len = 0;

    for (int i = 1; i <= count; i++) {
        read_entry(L, i, &name, &value);
        len += name.len + value.len;
        lua_settop(L, 1);
    }
    return len;
}

/* Two values of one header would both be sent. */
static void check_twice(lua_State *L, const struct fields *f, int i)
{
    const struct entry *e = &f->entries[i - 1];
    struct ml_str name = {block_of(f) + e->name, e->name_len};

    for (int n = 0; n < i - 1 && e->action == SET; n++) {
        const struct entry *former = &f->entries[n];

        if (former->action == SET &&
            ml_str_ieq(name, (struct ml_str){block_of(f) + former->name, former->name_len}))
            refuse(L, i, "this header is set twice");
    }
}

/* A prefix may begin names of any length. */
static uint64_t lengths_of(const struct entry *e)
{
    switch (e->action) {
    case MERGE:
        return 0;
    case REMOVE_PREFIX:
        return ~(uint64_t)0;
    default:
        return (uint64_t)1 << (e->name_len & 63);
    }
}

static size_t store(char *block, size_t *end, struct ml_str s)
{
    size_t at = *end;

    if (s.len > 0)
        memcpy(block + at, s.p, s.len);
    *end += s.len;
    return at;
}

static int fields_new(lua_State *L)
{
    struct ml_bridge *b = ml_bridge_of(L);
    struct fields *f;
    int count;
    size_t len, end = 0;

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    count = (int)lua_objlen(L, 1);
    if (count > FIELDS_MAX)
        return luaL_argerror(L, 1, "there are more than 64 fields");
    len = measure(L, count);
    f = lua_newuserdata(L, sizeof *f + (size_t)count * sizeof *f->entries + len);
    f->count = (unsigned)count;
    f->len = len;
    f->lengths = 0;
    for (int i = 1; i <= count; i++) {
        struct ml_str name, value;
        struct entry *e = &f->entries[i - 1];

        e->action = read_entry(L, i, &name, &value);
        e->name_len = name.len - (e->action == REMOVE_PREFIX);
        e->value_len = value.len;
        e->name = store(block_of(f), &end, name);
        e->value = store(block_of(f), &end, value);
        f->lengths |= lengths_of(e);
        check_twice(L, f, i);
        lua_settop(L, 2);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, b->fields_metatable);
    lua_setmetatable(L, 2);
    return 1;
}

/* ---- putting them on a message ---- */

static bool starts_with(struct ml_str name, struct ml_str prefix)
{
    name.len = name.len < prefix.len ? name.len : prefix.len;
    return ml_str_ieq(name, prefix);
}

/* Does a field of that name make room for what is to be put? */
static bool is_replaced(const struct fields *f, struct ml_str name)
{
    for (unsigned i = 0; i < f->count; i++) {
        const struct entry *e = &f->entries[i];
        struct ml_str own = {block_of(f) + e->name, e->name_len};

        if (e->action == REMOVE_PREFIX ? starts_with(name, own)
                                       : e->action != MERGE && ml_str_ieq(name, own))
            return true;
    }
    return false;
}

static void make_room(const struct fields *f, struct ml_headers *h)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < h->count; i++) {
        bool other = (f->lengths >> (h->v[i].name.len & 63) & 1) == 0; /* the usual case, at once */

        if (other || !is_replaced(f, h->v[i].name))
            h->v[kept++] = h->v[i];
    }
    h->count = kept;
}

static bool has_element(struct ml_str list, struct ml_str wanted)
{
    struct ml_str element;

    while (ml_list_next(&list, &element))
        if (ml_str_ieq(element, wanted) || ml_str_eq(element, ML_STR("*")))
            return true;
    return false;
}

/* One line with everything the lines of that name had: some readers look at one of them only. */
static void merge(struct ml_headers *h, struct ml_arena *arena, struct ml_str name,
                  struct ml_str value)
{
    struct ml_field *f = ml_headers_find(h, name), *next;
    struct ml_str all;

    if (f == NULL) {
        ml_headers_add(h, arena, name, value);
        return;
    }
    all = f->value;
    for (next = ml_headers_next(h, f); next != NULL; next = ml_headers_next(h, next))
        all = ml_arena_printf(arena, "%.*s, %.*s", (int)all.len, all.p, (int)next->value.len,
                              next->value.p);
    if (all.len == 0)
        all = value;
    else if (!has_element(all, value))
        all = ml_arena_printf(arena, "%.*s, %.*s", (int)all.len, all.p, (int)value.len, value.p);
    ml_headers_set(h, arena, name, all);
}

static void put(const struct fields *f, struct ml_headers *h, struct ml_arena *arena)
{
    char *block = ml_arena_alloc(arena, f->len + 1);

    memcpy(block, block_of(f), f->len);
    make_room(f, h);
    for (unsigned i = 0; i < f->count; i++) {
        const struct entry *e = &f->entries[i];
        struct ml_str name = {block + e->name, e->name_len};
        struct ml_str value = {block + e->value, e->value_len};

        if (e->action == SET)
            ml_headers_add(h, arena, name, value);
        else if (e->action == MERGE)
            merge(h, arena, name, value);
    }
}

/* What put() may need: its block, the fields, and merged lists, which are no longer than all that
 * is there, once for each line. */
static void reserve(lua_State *L, const struct fields *f, const struct ml_headers *h,
                    const struct ml_arena *arena)
{
    size_t values = 0, merges = 0;

    for (unsigned i = 0; i < f->count; i++)
        merges += f->entries[i].action == MERGE;
    for (uint32_t i = 0; merges > 0 && i < h->count; i++)
        values += h->v[i].value.len + 2;
    ml_handle_reserve(L, arena,
                      f->len + 1 + 2 * (h->count + f->count + 1) * sizeof *h->v +
                          merges * (h->count + 1) * (values + f->len));
}

static struct fields *check_fields(lua_State *L)
{
    struct fields *f = lua_touserdata(L, 1);

    lua_rawgeti(L, LUA_REGISTRYINDEX, ml_bridge_of(L)->fields_metatable);
    if (f == NULL || !lua_getmetatable(L, 1) || !lua_rawequal(L, -1, -2))
        luaL_typerror(L, 1, "set of header fields");
    lua_pop(L, 2);
    return f;
}

static int fields_apply(lua_State *L)
{
    struct fields *f = check_fields(L);
    struct ml_message m;

    ml_handle_message(L, 2, true, &m);
    reserve(L, f, m.headers, m.arena);
    put(f, m.headers, m.arena);
    return 0;
}

static int fields_keep(lua_State *L)
{
    struct fields *f = check_fields(L);
    struct ml_exchange *ex = ml_handle_writable(L, ml_handle_check(L, 2, ML_HANDLE_REQUEST));

    reserve(L, f, &ex->kept, ex->arena);
    put(f, &ex->kept, ex->arena);
    return 0;
}

void ml_api_fields_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg functions[] = {{"fields", fields_new}, {NULL, NULL}};
    static const luaL_Reg methods[] = {
        {"apply", fields_apply}, {"keep", fields_keep}, {NULL, NULL}};

    ml_bridge_register(L, b, functions);
    ml_api_push_class(L, b, methods);
    b->fields_metatable = luaL_ref(L, LUA_REGISTRYINDEX);
}
