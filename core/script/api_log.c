/* api_log.c - core.log(level, message, fields): an event of a script in the log of the gateway.
 *
 * The gateway adds requestId and generation; a field of a script can not take the place of one of
 * its own: it gets an underscore in front. */
#include "script/json_value.h"

#include "base/log_event.h"
#include "base/redact.h"
#include "inbound/tracing.h"

enum { FIELDS_MAX = 32, NAME_MAX_LEN = 60, TEXT_MAX = 16384 };

static const char *const own_names[] = {"@timestamp", "level",      "message", "pid",
                                        "requestId",  "generation", NULL};

struct event { /* borrows from the Lua stack and from bytes */
    struct ml_log_kv fields[FIELDS_MAX + 6];
    int count;
    char names[FIELDS_MAX][NAME_MAX_LEN + 2];
    struct ml_buf *tables; /* scratch: the JSON texts of tables */
};

static bool is_own(const char *name)
{
    for (const char *const *own = own_names; *own != NULL; own++)
        if (strcmp(name, *own) == 0)
            return true;
    return false;
}

static const char *name_of(lua_State *L, struct event *e, int n)
{
    const char *name = lua_tostring(L, -2);

    snprintf(e->names[n], sizeof e->names[n], "%s%.*s", is_own(name) ? "_" : "", NAME_MAX_LEN,
             name);
    return e->names[n];
}

static struct ml_str limited(struct ml_str s)
{
    if (s.len > TEXT_MAX)
        s.len = TEXT_MAX;
    return s;
}

/* A table as JSON text.  The buffer may move, so only the place in it is noted for now. */
static struct ml_str table_text(lua_State *L, struct event *e)
{
    size_t before = ml_buf_len(e->tables);
    const char *wrong = ml_json_write(L, lua_gettop(L), e->tables, false);

    if (wrong != NULL) {
        ml_buf_reserve(e->tables, 0);
        e->tables->end = e->tables->start + before;
        ml_buf_append(e->tables, ml_str_of(wrong));
    }
    return (struct ml_str){NULL, ml_buf_len(e->tables) - before};
}

static struct ml_log_kv field_of(lua_State *L, struct event *e, const char *name)
{
    struct ml_str s = ML_STR_NONE;

    switch (lua_type(L, -1)) {
    case LUA_TNUMBER:
        return ml_log_kv_double(name, lua_tonumber(L, -1));
    case LUA_TBOOLEAN:
        return ml_log_kv_text(name, lua_toboolean(L, -1) ? "true" : "false");
    case LUA_TSTRING:
        s.p = lua_tolstring(L, -1, &s.len);
        return ml_log_kv_string(name, limited(s));
    case LUA_TTABLE:
        return ml_log_kv_string(name, table_text(L, e));
    default:
        return ml_log_kv_text(name, luaL_typename(L, -1));
    }
}

static void add_fields(lua_State *L, int index, struct event *e)
{
    int n = 0;

    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || n == FIELDS_MAX)
            continue;
        e->fields[e->count] = field_of(L, e, name_of(L, e, n));
        if (ml_redact_field(ml_str_of(e->names[n])))
            e->fields[e->count] = ml_log_kv_text(e->names[n], ML_REDACTED);
        e->count++;
        n++;
    }
}

/* All tables are written: their texts stay where they are. */
static void place_tables(struct event *e)
{
    const char *p = e->tables->p + e->tables->start;

    for (int i = 0; i < e->count; i++) {
        struct ml_log_kv *f = &e->fields[i];

        if (f->type != ML_LOG_KV_STRING || f->string.p != NULL)
            continue;
        f->string.p = p;
        p += f->string.len;
        f->string = limited(f->string);
    }
}

static void add_own(lua_State *L, struct ml_bridge *b, struct event *e)
{
    struct ml_task *task = ml_task_running(L);
    const struct ml_exchange *ex = task != NULL ? ml_task_exchange(task) : NULL;

    if (ex != NULL && ex->req.id.len > 0)
        e->fields[e->count++] = ml_log_kv_string("requestId", ex->req.id);
    if (ex != NULL && ex->trace != NULL) {
        e->fields[e->count++] = ml_log_kv_text("traceId", ex->trace->id);
        e->fields[e->count++] = ml_log_kv_text("spanId", ex->trace->span);
    }
    e->fields[e->count++] = ml_log_kv_unsigned("generation", ml_tasks_generation(b->conf.tasks));
    e->fields[e->count].key = NULL;
}

static int api_log(lua_State *L)
{
    static struct event e;
    enum ml_log_level level;

    if (!ml_log_level_parse(ml_check_str(L, 1), &level))
        return luaL_error(L, "log: the level is debug, info, warn or error");
    lua_settop(L, 3);
    if (!lua_isnil(L, 3))
        luaL_checktype(L, 3, LUA_TTABLE);
    if (level < ml_log_event_level())
        return 0;
    e.tables = ml_handle_scratch();
    e.fields[0] = ml_log_kv_string("message", limited(ml_check_str(L, 2)));
    e.count = 1;
    add_own(L, ml_bridge_of(L), &e);
    if (lua_istable(L, 3))
        add_fields(L, 3, &e);
    place_tables(&e);
    e.fields[e.count].key = NULL;
    ml_log_event_write(level, e.fields);
    return 0;
}

void ml_api_log_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg functions[] = {{"log", api_log}, {NULL, NULL}};

    ml_bridge_register(L, b, functions);
}
