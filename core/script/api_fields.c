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
 * Fields are kept as a message has them, those that are set in one run, so a message gets them by
 * one copy.  A set that was made while the site was loaded lives as long as the VM, which outlives
 * its messages: they use its texts.  Of another one they get their own. */
#include "script/api.h"
#include "script/steps.h"

enum { FIELDS_MAX = 64 };

enum action { SET, REMOVE, REMOVE_PREFIX, MERGE, ACTIONS };

static const char magic;

struct fields {
    const void *magic;
    unsigned count[ACTIONS], total;
    uint64_t set_keys, room_keys; /* of the names that are set; of those that make room for them */
    bool pinned;                  /* lives as long as the VM */
    size_t len;                   /* of the texts, which follow the fields */
    struct ml_field v[];          /* by action, then in the order of the list */
};

static const struct ml_field *begin_of(const struct fields *f, enum action action)
{
    const struct ml_field *begin = f->v;

    for (unsigned i = 0; i < action; i++)
        begin += f->count[i];
    return begin;
}

static char *block_of(const struct fields *f)
{
    return (char *)(f->v + f->total);
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

static void measure(lua_State *L, int count, struct fields *sum)
{
    struct ml_str name, value;

    for (int i = 1; i <= count; i++) {
        sum->count[read_entry(L, i, &name, &value)]++;
        sum->total++;
        sum->len += name.len + value.len;
        lua_settop(L, 1);
    }
}

/* Two values of one header would both be sent. */
static void check_twice(lua_State *L, int i, const struct ml_field *begin,
                        const struct ml_field *field)
{
    for (const struct ml_field *former = begin; former < field; former++)
        if (ml_str_ieq(former->name, field->name))
            refuse(L, i, "this header is set twice");
}

static struct ml_str store(char **end, struct ml_str s)
{
    struct ml_str kept = {*end, s.len};

    if (s.len > 0)
        memcpy(*end, s.p, s.len);
    *end += s.len;
    return kept;
}

static void note_key(struct fields *f, enum action action, struct ml_str name)
{
    if (action == SET)
        f->set_keys |= ml_header_key(name);
    if (action == SET || action == REMOVE)
        f->room_keys |= ml_header_key(name);
}

/* The counts of f are known. */
static void fill(lua_State *L, struct fields *f)
{
    unsigned done[ACTIONS] = {0};
    char *end = block_of(f);

    for (int i = 1; i <= (int)f->total; i++) {
        struct ml_str name, value;
        enum action action = read_entry(L, i, &name, &value);
        struct ml_field *begin = f->v + (begin_of(f, action) - f->v);
        struct ml_field *field = begin + done[action]++;

        name.len -= action == REMOVE_PREFIX; /* the star */
        *field = (struct ml_field){store(&end, name), store(&end, value), ml_header_id(name)};
        note_key(f, action, name);
        if (action == SET)
            check_twice(L, i, begin, field);
        lua_settop(L, 2);
    }
}

static int fields_new(lua_State *L)
{
    struct fields sum = {.magic = &magic, .pinned = ml_task_running(L) == NULL}, *f;
    int count;

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    count = (int)lua_objlen(L, 1);
    if (count > FIELDS_MAX)
        return luaL_argerror(L, 1, "there are more than 64 fields");
    measure(L, count, &sum);
    f = lua_newuserdata(L, sizeof *f + sum.total * sizeof *f->v + sum.len);
    *f = sum;
    fill(L, f);
    lua_rawgeti(L, LUA_REGISTRYINDEX, ml_bridge_of(L)->fields_metatable);
    lua_setmetatable(L, 2);
    if (f->pinned) {
        lua_pushvalue(L, 2);
        luaL_ref(L, LUA_REGISTRYINDEX);
    }
    return 1;
}

/* ---- putting them on a message ---- */

static inline bool starts_with(struct ml_str name, struct ml_str prefix)
{
    if (name.len < prefix.len || ml_lower(name.p[0]) != ml_lower(prefix.p[0]))
        return false;
    name.len = prefix.len;
    return ml_str_ieq(name, prefix);
}

/* Does a field of that name make room for what is to be put? */
static inline bool is_replaced(const struct fields *f, const struct ml_field *prefix,
                               struct ml_str name)
{
    if ((f->room_keys & ml_header_key(name)) != 0)
        for (const struct ml_field *i = f->v; i < prefix; i++)
            if (ml_str_ieq(i->name, name))
                return true;
    for (unsigned i = 0; i < f->count[REMOVE_PREFIX]; i++)
        if (starts_with(name, prefix[i].name))
            return true;
    return false;
}

static void make_room(const struct fields *f, struct ml_headers *h)
{
    const struct ml_field *prefix = begin_of(f, REMOVE_PREFIX);
    uint32_t kept = 0;

    if ((h->seen & f->room_keys) == 0 && f->count[REMOVE_PREFIX] == 0)
        return;
    while (kept < h->count && !is_replaced(f, prefix, h->v[kept].name))
        kept++;
    for (uint32_t i = kept + 1; i < h->count; i++)
        if (!is_replaced(f, prefix, h->v[i].name))
            h->v[kept++] = h->v[i];
    if (kept < h->count)
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

/* Of fields whose set may be gone before the message is. */
static void own_texts(const struct fields *f, struct ml_field *fields, uint32_t count,
                      struct ml_arena *arena)
{
    const char *block = block_of(f);
    char *copy = ml_arena_alloc(arena, f->len + 1);

    memcpy(copy, block, f->len);
    for (uint32_t i = 0; i < count; i++) {
        fields[i].name.p = copy + (fields[i].name.p - block);
        fields[i].value.p = copy + (fields[i].value.p - block);
    }
}

static void put(const struct fields *f, struct ml_headers *h, struct ml_arena *arena)
{
    const struct ml_field *merged = begin_of(f, MERGE);

    make_room(f, h);
    ml_headers_add_all(h, arena, f->v, f->count[SET], f->set_keys);
    if (!f->pinned)
        own_texts(f, h->v + h->count - f->count[SET], f->count[SET], arena);
    for (unsigned i = 0; i < f->count[MERGE]; i++) {
        struct ml_field field = merged[i];

        if (!f->pinned)
            own_texts(f, &field, 1, arena);
        merge(h, arena, field.name, field.value);
    }
}

/* What put() may need: texts, the fields, and merged lists, which are no longer than all that is
 * there, once for each line. */
static void reserve(lua_State *L, const struct fields *f, const struct ml_headers *h,
                    const struct ml_arena *arena)
{
    size_t values = 0, merges = f->count[MERGE];

    for (uint32_t i = 0; merges > 0 && i < h->count; i++)
        values += h->v[i].value.len + 2;
    ml_handle_reserve(L, arena,
                      (f->pinned ? 0 : merges + 1) * (f->len + 1) +
                          2 * (h->count + f->total + 1) * sizeof *h->v +
                          merges * (h->count + 1) * (values + f->len));
}

static struct fields *check_fields(lua_State *L)
{
    struct fields *f = lua_touserdata(L, 1);

    if (f == NULL || lua_objlen(L, 1) < sizeof *f || f->magic != &magic)
        luaL_typerror(L, 1, "set of header fields");
    return f;
}

/* For `why`: of those that were merged only the last word. */
static void note(const struct fields *f, const struct ml_message *m)
{
    struct ml_change change = {.kind = ML_CHANGE_SET,
                               .response = m->handle->kind == ML_HANDLE_RESPONSE};
    unsigned count = f->count[SET] < m->headers->count ? f->count[SET] : m->headers->count;

    if (m->ex == NULL || (m->ex->timing == NULL && m->ex->res.status < 400))
        return; /* many, and nobody will read them */
    change.step = m->ex->timing != NULL ? m->ex->timing->step : 0;
    for (unsigned i = 0; i < count; i++) {
        const struct ml_field *field = &m->headers->v[m->headers->count - count + i];

        change.name = field->name;
        change.value = field->value;
        ml_trail_changed(&m->ex->trail, m->ex->arena, &change);
    }
}

static int fields_apply(lua_State *L)
{
    struct fields *f = check_fields(L);
    struct ml_message m;

    ml_handle_message(L, 2, true, &m);
    reserve(L, f, m.headers, m.arena);
    put(f, m.headers, m.arena);
    note(f, &m);
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
