/* router.c - a tree of segments for each host; all static children are in one hash table.
 *
 *   hosts:  "api.example.com" -> tree      then the longest ".example.com" -> tree      then any
 *   tree:   node --"patients"--> node --":id"--> node (routes: GET, PUT, "*")
 *                                    \--"*rest"--> node (routes)
 *
 * A node is found by one way only, and a request visits a node once at most: so backtracking can
 * not multiply, and without several patterns that differ in ":name" against a static segment a
 * request looks at as many nodes as its path has segments.  A node whose routes do not take the
 * method or whose conditions do not hold is no match: the walk goes on, and their methods are kept
 * for the answer 405.
 *
 * Names of parameters belong to the route, so "/a/:id" and "/a/:name/b" share their node. */
#include "script/router.h"

#include "base/hash.h"
#include "protocol/url.h"
#include "script/condition.h"
#include "script/pattern.h"

#include <stdlib.h>

enum { METHODS_MAX = 64, ANY = 0, GET, HEAD, OPTIONS }; /* indices into methods, bits of Allow */

struct route {
    struct route *next; /* the ones with more conditions first, then in the order of adding */
    struct ml_str pattern;
    const struct ml_str *names;
    unsigned name_count;
    const struct ml_route_condition *conditions;
    unsigned condition_count;
    unsigned method;
    int index;
};

struct node {
    const struct node *parent;
    struct ml_str text; /* static: the segment */
    uint64_t hash;
    size_t child_max; /* the longest static child */
    struct node *param, *rest;
    struct route *routes; /* of the patterns that end here */
    bool has_children;
};

struct ml_router {
    struct ml_arena *arena;                 /* owns all that is below */
    struct node **table;                    /* owned; static children of all nodes */
    size_t count, cap;                      /* cap: a power of two, at least 2 * count */
    struct node exact_hosts, suffixes, any; /* children of the first two are roots, by host */
    struct ml_str methods[METHODS_MAX];
    unsigned method_count;
    bool has_suffixes;
};

struct ml_router *ml_router_new(void)
{
    struct ml_router *r = calloc(1, sizeof *r);

    if (r == NULL)
        abort();
    r->arena = ml_arena_new();
    r->methods[ANY] = ML_STR("*");
    r->methods[GET] = ML_STR("GET");
    r->methods[HEAD] = ML_STR("HEAD");
    r->methods[OPTIONS] = ML_STR("OPTIONS");
    r->method_count = OPTIONS + 1;
    return r;
}

void ml_router_free(struct ml_router **r)
{
    if (*r == NULL)
        return;
    ml_arena_free(&(*r)->arena);
    free((*r)->table);
    free(*r);
    *r = NULL;
}

/* ---- the table of static children ---- */

/* Only what the site wrote is in the table, so clients can not make it degenerate: the seed need
 * not be random, it only tells the parents apart. */
static uint64_t child_hash(const struct node *parent, struct ml_str text)
{
    return ml_hash_bytes((struct ml_hash_seed){{(uint64_t)(uintptr_t)parent, 0}}, text);
}

/* Where the child is or would be. */
static struct node **child_slot(const struct ml_router *r, const struct node *parent,
                                struct ml_str text, uint64_t hash)
{
    size_t i = hash & (r->cap - 1);

    for (; r->table[i] != NULL; i = (i + 1) & (r->cap - 1)) {
        const struct node *n = r->table[i];

        if (n->hash == hash && n->parent == parent && ml_str_eq(n->text, text))
            break;
    }
    return &r->table[i];
}

static const struct node *child_find(const struct ml_router *r, const struct node *parent,
                                     struct ml_str text)
{
    if (!parent->has_children || text.len > parent->child_max)
        return NULL;
    return *child_slot(r, parent, text, child_hash(parent, text));
}

static void table_grow(struct ml_router *r)
{
    struct node **old = r->table;
    size_t old_cap = r->cap;

    r->cap = old_cap > 0 ? old_cap * 2 : 64;
    r->table = calloc(r->cap, sizeof *r->table);
    if (r->table == NULL)
        abort();
    for (size_t i = 0; i < old_cap; i++)
        if (old[i] != NULL)
            *child_slot(r, old[i]->parent, old[i]->text, old[i]->hash) = old[i];
    free(old);
}

static struct node *child_make(struct ml_router *r, struct node *parent, struct ml_str text)
{
    uint64_t hash = child_hash(parent, text);
    struct node **slot;

    if ((r->count + 1) * 2 > r->cap)
        table_grow(r);
    slot = child_slot(r, parent, text, hash);
    if (*slot != NULL)
        return *slot;
    *slot = ml_arena_zalloc(r->arena, sizeof **slot);
    (*slot)->parent = parent;
    (*slot)->text = text;
    (*slot)->hash = hash;
    r->count++;
    parent->has_children = true;
    if (text.len > parent->child_max)
        parent->child_max = text.len;
    return *slot;
}

/* ---- adding ---- */

static struct node *only_child(struct ml_router *r, struct node **at)
{
    if (*at == NULL)
        *at = ml_arena_zalloc(r->arena, sizeof **at);
    return *at;
}

/* RFC 3986 section 3.2.2: the dot of the root says the same host. */
static struct ml_str without_root(struct ml_str host)
{
    if (host.len > 1 && host.p[host.len - 1] == '.')
        host.len--;
    return host;
}

/* The root of the host's tree; NULL when it is no host. */
static struct node *root_make(struct ml_router *r, struct ml_str host)
{
    bool suffix = host.len > 2 && host.p[0] == '*' && host.p[1] == '.';
    struct ml_str name = suffix ? (struct ml_str){host.p + 2, host.len - 2} : host, dotted;
    struct ml_authority a;

    if (host.len == 0)
        return &r->any;
    if (ml_url_authority(name, r->arena, &a) != ML_OK || a.host.len != name.len)
        return NULL;
    name = without_root(a.host);
    if (!suffix)
        return child_make(r, &r->exact_hosts, name);
    r->has_suffixes = true;
    dotted = ml_arena_printf(r->arena, ".%.*s", (int)name.len, name.p);
    return child_make(r, &r->suffixes, dotted);
}

static struct node *leaf_make(struct ml_router *r, struct node *n, const struct ml_pattern *pattern)
{
    for (unsigned i = 0; i < pattern->count; i++)
        switch (pattern->v[i].kind) {
        case ML_SEGMENT_STATIC:
            n = child_make(r, n, pattern->v[i].text);
            break;
        case ML_SEGMENT_PARAM:
            n = only_child(r, &n->param);
            break;
        case ML_SEGMENT_REST:
            n = only_child(r, &n->rest);
            break;
        }
    return n;
}

/* The index of the method, or METHODS_MAX.  A request's "*" is no method that a route can name. */
static unsigned method_find(const struct ml_router *r, struct ml_str method)
{
    for (unsigned i = ANY + 1; i < r->method_count; i++)
        if (ml_str_eq(r->methods[i], method))
            return i;
    return METHODS_MAX;
}

static unsigned method_make(struct ml_router *r, struct ml_str method)
{
    unsigned i = ml_str_eq(method, r->methods[ANY]) ? (unsigned)ANY : method_find(r, method);

    if (i == METHODS_MAX && r->method_count < METHODS_MAX) {
        i = r->method_count++;
        r->methods[i] = ml_arena_dup(r->arena, method);
    }
    return i;
}

static const struct ml_str *names_of(struct ml_router *r, const struct ml_pattern *pattern)
{
    struct ml_str *names = ml_arena_alloc(r->arena, (pattern->name_count + 1) * sizeof *names);
    unsigned count = 0;

    for (unsigned i = 0; i < pattern->count; i++)
        if (pattern->v[i].kind != ML_SEGMENT_STATIC)
            names[count++] = pattern->v[i].text;
    return names;
}

static const struct route *twin_find(const struct node *leaf, const struct route *route)
{
    const struct route *other = leaf->routes;

    for (; other != NULL; other = other->next)
        if (other->method == route->method && other->condition_count == route->condition_count &&
            ml_conditions_equal(other->conditions, route->conditions, route->condition_count))
            return other;
    return NULL;
}

static void leaf_insert(struct node *leaf, struct route *route)
{
    struct route **at = &leaf->routes;

    while (*at != NULL && (*at)->condition_count >= route->condition_count)
        at = &(*at)->next;
    route->next = *at;
    *at = route;
}

static enum ml_err refuse(struct ml_buf *why, enum ml_err err, const char *sentence)
{
    ml_buf_append(why, ml_str_of(sentence));
    return err;
}

enum ml_err ml_router_add(struct ml_router *r, struct ml_str method, struct ml_str pattern,
                          struct ml_str host, const struct ml_route_condition *conditions,
                          unsigned condition_count, int route, int *duplicate_of,
                          struct ml_buf *why)
{
    struct ml_pattern parsed;
    struct route *made = ml_arena_zalloc(r->arena, sizeof *made);
    struct node *root, *leaf;
    const struct route *twin;
    enum ml_err err;

    made->pattern = ml_arena_dup(r->arena, pattern);
    if ((err = ml_pattern_parse(made->pattern, r->arena, &parsed, why)) != ML_OK)
        return err;
    if (!ml_header_name_ok(method)) /* the grammar of a method is that of a name */
        return refuse(why, ML_BAD_REQUEST, "the method is no token");
    if ((made->method = method_make(r, method)) == METHODS_MAX)
        return refuse(why, ML_LIMIT, "more than 60 methods");
    if ((root = root_make(r, host)) == NULL)
        return refuse(why, ML_BAD_REQUEST, "the host is no name, address or \"*.\" and a name");
    made->names = names_of(r, &parsed);
    made->name_count = parsed.name_count;
    made->conditions = ml_conditions_dup(conditions, condition_count, r->arena);
    made->condition_count = condition_count;
    made->index = route;
    leaf = leaf_make(r, root, &parsed);
    if ((twin = twin_find(leaf, made)) != NULL) {
        *duplicate_of = twin->index;
        return refuse(why, ML_BAD_REQUEST, "the same route is there already");
    }
    leaf_insert(leaf, made);
    return ML_OK;
}

/* ---- matching ---- */

struct walk {
    const struct ml_router *router;
    unsigned method; /* METHODS_MAX: one that no route names */
    const char *end; /* of the path */
    struct ml_str query;
    const struct ml_headers *headers;
    struct ml_arena *arena;
    uint64_t allow; /* methods that would have found a route */
    unsigned value_count;
    struct ml_str *values; /* ML_ROUTE_PARAMS_MAX: no pattern has more */
};

/* How well the route's method fits; 0: not at all.  RFC 9110 section 9.3.2: HEAD is a GET. */
static int method_rank(const struct walk *w, const struct route *route)
{
    if (route->method == w->method)
        return 3;
    if (route->method == GET && w->method == HEAD)
        return 2;
    return route->method == ANY;
}

/* The best route of a node that the path leads to, or NULL. */
static const struct route *choose(struct walk *w, const struct node *leaf)
{
    const struct route *best = NULL, *route = leaf->routes;
    int best_rank = 0;

    for (; route != NULL; route = route->next) {
        int rank = method_rank(w, route);

        if (best != NULL && route->condition_count < best->condition_count)
            break;
        if (rank > 0 && rank <= best_rank)
            continue;
        if (!ml_conditions_hold(route->conditions, route->condition_count, w->query, w->headers,
                                w->arena))
            continue;
        w->allow |= UINT64_C(1) << route->method;
        if (rank > best_rank) {
            best = route;
            best_rank = rank;
        }
    }
    return best;
}

static const struct route *descend(struct walk *w, const struct node *n, const char *p);

/* Goes on with a value taken, and gives it back when that leads nowhere. */
static const struct route *descend_with(struct walk *w, struct ml_str value, const struct node *n,
                                        const char *p)
{
    const struct route *found;

    w->values[w->value_count++] = value;
    found = descend(w, n, p);
    if (found == NULL)
        w->value_count--;
    return found;
}

/* p is at the '/' before the next segment, or at the end.  Recursion ends with the patterns, which
 * are ML_PATTERN_SEGMENTS_MAX deep at most, however long the path is. */
static const struct route *descend(struct walk *w, const struct node *n, const char *p)
{
    const struct route *found = NULL;
    const struct node *child;
    const char *slash;
    struct ml_str segment;

    if (p == w->end)
        return choose(w, n);
    p++;
    slash = memchr(p, '/', (size_t)(w->end - p));
    segment = (struct ml_str){p, (size_t)((slash != NULL ? slash : w->end) - p)};
    if ((child = child_find(w->router, n, segment)) != NULL)
        found = descend(w, child, p + segment.len);
    if (found == NULL && n->param != NULL && segment.len > 0)
        found = descend_with(w, segment, n->param, p + segment.len);
    if (found == NULL && n->rest != NULL)
        found = descend_with(w, (struct ml_str){p, (size_t)(w->end - p)}, n->rest, w->end);
    return found;
}

/* The most specific host first; the others serve what it has no route for. */
static const struct route *search(struct walk *w, struct ml_str host, const char *path)
{
    const struct ml_router *r = w->router;
    const struct node *root = host.len > 0 ? child_find(r, &r->exact_hosts, host) : NULL;
    const struct route *found = root != NULL ? descend(w, root, path) : NULL;

    for (size_t i = 1; r->has_suffixes && found == NULL && i < host.len; i++) {
        if (host.p[i] != '.')
            continue;
        root = child_find(r, &r->suffixes, (struct ml_str){host.p + i, host.len - i});
        if (root != NULL)
            found = descend(w, root, path);
    }
    return found != NULL ? found : descend(w, &r->any, path);
}

/* The names of the methods in allow, sorted, in arena. */
static struct ml_str allow_text(const struct ml_router *r, uint64_t allow, struct ml_arena *arena)
{
    struct ml_str sorted[METHODS_MAX];
    unsigned count = 0;
    size_t len = 0;
    char *text, *w;

    for (unsigned i = ANY + 1; i < r->method_count; i++) {
        struct ml_str name = r->methods[i];
        unsigned at = count;

        if ((allow >> i & 1) == 0)
            continue;
        for (; at > 0 && strcmp(sorted[at - 1].p, name.p) > 0; at--) /* NUL-terminated, all */
            sorted[at] = sorted[at - 1];
        sorted[at] = name;
        len += name.len + 2;
        count++;
    }
    text = w = ml_arena_alloc(arena, len + 1);
    for (unsigned i = 0; i < count; i++) {
        w = mempcpy(w, sorted[i].p, sorted[i].len);
        if (i + 1 < count)
            w = mempcpy(w, ", ", 2);
    }
    return (struct ml_str){text, (size_t)(w - text)};
}

static void answer_unmatched(const struct walk *w, uint64_t allow, struct ml_route_match *out)
{
    if ((allow >> GET & 1) != 0)
        allow |= UINT64_C(1) << HEAD;
    out->outcome = w->method == OPTIONS ? ML_ROUTE_OPTIONS : ML_ROUTE_METHOD;
    out->allow = allow_text(w->router, allow | UINT64_C(1) << OPTIONS, w->arena);
}

/* Methods of any route: what "OPTIONS *" asks for (RFC 9110 section 9.3.7). */
static uint64_t methods_all(const struct ml_router *r)
{
    return (r->method_count < 64 ? UINT64_C(1) << r->method_count : 0) - 1;
}

void ml_router_match(const struct ml_router *r, struct ml_str method, struct ml_str host,
                     struct ml_str path, struct ml_str query, const struct ml_headers *headers,
                     struct ml_arena *arena, struct ml_route_match *out)
{
    struct walk w = {.router = r,
                     .method = method_find(r, method),
                     .end = path.p + path.len,
                     .query = query,
                     .headers = headers,
                     .arena = arena,
                     .values = out->values};
    const struct route *found = NULL;

    out->route = -1;
    out->outcome = ML_ROUTE_NONE;
    out->pattern = out->allow = ML_STR_NONE;
    out->param_count = 0;
    if (path.len > 0 && path.p[0] == '/')
        found = search(&w, without_root(host), path.p);
    else if (w.method == OPTIONS && ml_str_eq(path, ML_STR("*")))
        w.allow = methods_all(r);
    if (found == NULL) {
        if (w.allow != 0)
            answer_unmatched(&w, w.allow, out);
        return;
    }
    out->outcome = ML_ROUTE_FOUND;
    out->route = found->index;
    out->pattern = found->pattern;
    out->param_count = found->name_count;
    memcpy(out->names, found->names, found->name_count * sizeof *found->names);
}
