/* fuzz_router.c - the router against a list of patterns that is walked from its first to its last.
 *
 * The input is lines "METHOD /path": the first is the request, the others are routes. */
#include "fuzz.h"
#include "protocol/url.h"
#include "script/pattern.h"
#include "script/router.h"

enum { ROUTES_MAX = 64 };

struct route {
    struct ml_str method, text;
    struct ml_pattern pattern;
};

struct site {
    struct route routes[ROUTES_MAX];
    int count;
};

static bool cut(struct ml_str *rest, char at, struct ml_str *piece)
{
    const char *end = rest->len > 0 ? memchr(rest->p, at, rest->len) : NULL;

    if (rest->len == 0)
        return false;
    *piece = (struct ml_str){rest->p, end != NULL ? (size_t)(end - rest->p) : rest->len};
    rest->p += piece->len + (end != NULL);
    rest->len -= piece->len + (end != NULL);
    return true;
}

static bool matches(const struct ml_pattern *pattern, struct ml_str path)
{
    for (unsigned i = 0; i < pattern->count; i++) {
        const char *slash;
        struct ml_str segment;

        if (path.len == 0)
            return false;
        if (pattern->v[i].kind == ML_SEGMENT_REST)
            return true;
        path.p++, path.len--;
        slash = path.len > 0 ? memchr(path.p, '/', path.len) : NULL;
        segment = (struct ml_str){path.p, slash != NULL ? (size_t)(slash - path.p) : path.len};
        if (pattern->v[i].kind == ML_SEGMENT_STATIC ? !ml_str_eq(segment, pattern->v[i].text)
                                                    : segment.len == 0)
            return false;
        path.p += segment.len, path.len -= segment.len;
    }
    return path.len == 0;
}

/* Of two patterns that match one path: is a the more specific (> 0), or have they one shape (0)? */
static int compare(const struct ml_pattern *a, const struct ml_pattern *b)
{
    for (unsigned i = 0; i < a->count && i < b->count; i++)
        if (a->v[i].kind != b->v[i].kind)
            return (int)b->v[i].kind - (int)a->v[i].kind;
    return 0;
}

static int rank(struct ml_str route, struct ml_str method)
{
    if (ml_str_eq(route, ML_STR("*")))
        return 1;
    if (ml_str_eq(route, method))
        return 3;
    return ml_str_eq(route, ML_STR("GET")) && ml_str_eq(method, ML_STR("HEAD")) ? 2 : 0;
}

static int find_simply(const struct site *s, struct ml_str method, struct ml_str path, bool *any)
{
    int best = -1;

    *any = false;
    for (int i = 0; i < s->count; i++) {
        const struct route *r = &s->routes[i];
        int order;

        if (!matches(&r->pattern, path))
            continue;
        *any = true;
        if (rank(r->method, method) == 0)
            continue;
        order = best < 0 ? 1 : compare(&r->pattern, &s->routes[best].pattern);
        if (order == 0)
            order = rank(r->method, method) - rank(s->routes[best].method, method);
        if (order > 0)
            best = i;
    }
    return best;
}

static void check_params(const struct ml_route_match *m, const struct ml_pattern *pattern,
                         struct ml_str path)
{
    unsigned n = 0;

    MUST(m->param_count == pattern->name_count);
    for (unsigned i = 0; i < pattern->count; i++)
        if (pattern->v[i].kind != ML_SEGMENT_STATIC) {
            MUST(ml_str_eq(m->names[n], pattern->v[i].text));
            MUST(m->values[n].p > path.p && m->values[n].p + m->values[n].len <= path.p + path.len);
            n++;
        }
}

static void add_routes(struct site *s, struct ml_router *router, struct ml_str rest,
                       struct ml_arena *arena)
{
    struct ml_str line, method;

    while (s->count < ROUTES_MAX && cut(&rest, '\n', &line)) {
        struct route *r = &s->routes[s->count];
        struct ml_buf why = {0};
        int twin = -1;

        if (!cut(&line, ' ', &method))
            continue;
        if (ml_router_add(router, method, line, ML_STR_NONE, NULL, 0, s->count, &twin, &why) ==
            ML_OK) {
            r->method = method;
            r->text = line;
            MUST(ml_pattern_parse(line, arena, &r->pattern, &why) == ML_OK);
            s->count++;
        } else {
            MUST(ml_buf_len(&why) > 0 && twin < s->count);
        }
        ml_buf_release(&why);
    }
}

static void check_request(const struct site *s, const struct ml_router *router,
                          struct ml_str method, struct ml_str path, struct ml_arena *arena)
{
    const struct ml_headers none = {0};
    struct ml_route_match m;
    bool any;
    int expected = find_simply(s, method, path, &any);

    ml_router_match(router, method, ML_STR_NONE, path, ML_STR_NONE, &none, arena, &m);
    MUST(m.route == expected);
    MUST((m.outcome == ML_ROUTE_FOUND) == (expected >= 0));
    if (expected >= 0) {
        MUST(ml_str_eq(m.pattern, s->routes[expected].text));
        check_params(&m, &s->routes[expected].pattern, path);
    } else {
        MUST((m.outcome == ML_ROUTE_NONE) == !any);
        MUST((m.allow.len > 0) == any);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    const struct ml_url_policy policy = {.allow_encoded_slash = true, .keep_slashes = len & 1};
    struct ml_str rest = {(const char *)bytes, len}, line, method, path;
    struct ml_arena *arena = ml_arena_new();
    struct ml_router *router = ml_router_new();
    static struct site s;

    s.count = 0;
    if (cut(&rest, '\n', &line) && cut(&line, ' ', &method) &&
        ml_url_path(line, &policy, arena, &path) == ML_OK) {
        add_routes(&s, router, rest, arena);
        check_request(&s, router, method, path, arena);
    }
    ml_router_free(&router);
    ml_arena_free(&arena);
    return 0;
}
