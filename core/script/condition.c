/* condition.c - conditions of routes, compared as scripts see header and query: names of fields in
 * any case, arguments decoded as form fields. */
#include "script/condition.h"

#include "protocol/url.h"

static int str_order(struct ml_str a, struct ml_str b)
{
    int order = memcmp(a.p, b.p, a.len < b.len ? a.len : b.len);

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int condition_order(const struct ml_route_condition *a, const struct ml_route_condition *b)
{
    int order = a->query - b->query;

    if (order == 0)
        order = str_order(a->name, b->name);
    if (order == 0)
        order = (a->value.p != NULL) - (b->value.p != NULL);
    if (order == 0 && a->value.p != NULL)
        order = str_order(a->value, b->value);
    return order;
}

static struct ml_str lower_dup(struct ml_str s, struct ml_arena *arena)
{
    char *copy = ml_arena_alloc(arena, s.len + 1);

    for (size_t i = 0; i < s.len; i++)
        copy[i] = ml_lower(s.p[i]);
    return (struct ml_str){copy, s.len};
}

static struct ml_route_condition condition_dup(const struct ml_route_condition *c,
                                               struct ml_arena *arena)
{
    struct ml_route_condition copy = {.query = c->query};

    copy.name = c->query ? ml_arena_dup(arena, c->name) : lower_dup(c->name, arena);
    copy.value = c->value.p != NULL ? ml_arena_dup(arena, c->value) : ML_STR_NONE;
    return copy;
}

struct ml_route_condition *ml_conditions_dup(const struct ml_route_condition *v, unsigned count,
                                             struct ml_arena *arena)
{
    struct ml_route_condition *copy = ml_arena_alloc(arena, (count + 1) * sizeof *copy);

    for (unsigned i = 0; i < count; i++) { /* an insertion sort: they are two or three */
        struct ml_route_condition c = condition_dup(&v[i], arena);
        unsigned at = i;

        for (; at > 0 && condition_order(&copy[at - 1], &c) > 0; at--)
            copy[at] = copy[at - 1];
        copy[at] = c;
    }
    return copy;
}

bool ml_conditions_equal(const struct ml_route_condition *a, const struct ml_route_condition *b,
                         unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (condition_order(&a[i], &b[i]) != 0)
            return false;
    return true;
}

static bool header_holds(const struct ml_route_condition *c, const struct ml_headers *headers)
{
    const struct ml_field *f = ml_headers_find(headers, c->name);

    if (c->value.p == NULL)
        return f != NULL;
    while (f != NULL && !ml_str_eq(f->value, c->value))
        f = ml_headers_next(headers, f);
    return f != NULL;
}

/* Is text, decoded, want?  Decoding shortens to a third at most, so a length that can not fit costs
 * no memory, however many arguments there are. */
static bool is_escaped(struct ml_str text, struct ml_str want, struct ml_arena *arena)
{
    if (text.len < want.len || text.len / 3 > want.len)
        return false;
    return ml_str_eq(ml_url_decode(text, true, arena), want);
}

static struct ml_str cut(struct ml_str *rest, char at)
{
    const char *end = rest->len > 0 ? memchr(rest->p, at, rest->len) : NULL;
    struct ml_str piece = {rest->p, end != NULL ? (size_t)(end - rest->p) : rest->len};
    size_t step = piece.len + (end != NULL);

    if (step > 0)
        *rest = (struct ml_str){rest->p + step, rest->len - step};
    return piece;
}

static bool query_holds(const struct ml_route_condition *c, struct ml_str query,
                        struct ml_arena *arena)
{
    while (query.len > 0) {
        struct ml_str value = cut(&query, '&'), name = cut(&value, '=');

        if (name.len + value.len == 0 || !is_escaped(name, c->name, arena))
            continue;
        if (c->value.p == NULL || is_escaped(value, c->value, arena))
            return true;
    }
    return false;
}

bool ml_conditions_hold(const struct ml_route_condition *v, unsigned count, struct ml_str query,
                        const struct ml_headers *headers, struct ml_arena *arena)
{
    for (unsigned i = 0; i < count; i++)
        if (!(v[i].query ? query_holds(&v[i], query, arena) : header_holds(&v[i], headers)))
            return false;
    return true;
}
