/* router_lab.h - a router with what its tests ask of it. */
#ifndef ML_TEST_ROUTER_LAB_H
#define ML_TEST_ROUTER_LAB_H

#include "script/router.h"

#include "test.h"

struct site {
    struct ml_router *router;
    struct ml_arena *arena;
    struct ml_headers headers;
    struct ml_route_match m;
    struct ml_buf why;
    int twin;
};

static struct site site_new(void)
{
    struct site s = {.router = ml_router_new(), .arena = ml_arena_new()};

    return s;
}

static void site_free(struct site *s)
{
    ml_router_free(&s->router);
    ml_arena_free(&s->arena);
    ml_buf_release(&s->why);
}

static enum ml_err add_if(struct site *s, const char *method, const char *pattern, const char *host,
                          const struct ml_route_condition *c, unsigned count, int route)
{
    s->twin = -1;
    ml_buf_release(&s->why);
    return ml_router_add(s->router, ml_str_of(method), ml_str_of(pattern), ml_str_of(host), c,
                         count, route, &s->twin, &s->why);
}

__attribute__((unused)) static enum ml_err add(struct site *s, const char *method,
                                               const char *pattern, int route)
{
    return add_if(s, method, pattern, "", NULL, 0, route);
}

/* The route of a request, whose path ends at an unmapped page; < 0: none. */
static int find_at(struct site *s, const char *method, const char *host, const char *path,
                   const char *query)
{
    size_t len = strlen(path);
    char *cliff = test_cliff(path, len);
    int same = 0;

    ml_router_match(s->router, ml_str_of(method), ml_str_of(host), (struct ml_str){cliff, len},
                    ml_str_of(query), &s->headers, s->arena, &s->m);
    for (unsigned i = 0; i < s->m.param_count; i++) { /* values outlive the copy of the path */
        CHECK(s->m.values[i].p >= cliff && s->m.values[i].p + s->m.values[i].len <= cliff + len);
        s->m.values[i] = ml_arena_dup(s->arena, s->m.values[i]);
        same += (int)s->m.values[i].len;
    }
    CHECK(same <= (int)len);
    test_cliff_free(cliff, len);
    return s->m.route;
}

__attribute__((unused)) static int find(struct site *s, const char *method, const char *path)
{
    return find_at(s, method, "", path, "");
}

static bool is(struct ml_str s, const char *text)
{
    return ml_str_eq(s, ml_str_of(text));
}

__attribute__((unused)) static bool param_is(const struct site *s, unsigned i, const char *name,
                                             const char *value)
{
    return i < s->m.param_count && is(s->m.names[i], name) && is(s->m.values[i], value);
}

#endif
