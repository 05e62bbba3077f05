/* check.c - a probe for each server of each group with checks, while this worker has the lease.
 *
 *   WAIT --due--> ASK --answer, failure, too late--> the verdict is written --> WAIT
 *
 * A probe asks through a group of its own, which has that one server and no part in balancing. */
#include "outbound/check.h"

#include "base/log_event.h"

#include <math.h>
#include <stdlib.h>

enum { LEASE_MS = 700, RUNNING_MAX = 128, BODY_MAX = 64 << 10 };
static const double BUSY_S = 0.02; /* when too many checks run at this moment */
static const double GRACE_S = 0.005;
static const double APART_S = 0.002; /* between the first checks of many servers */

struct probe {
    struct probe *next;
    struct ml_checks *all;
    struct ml_group *of;      /* borrowed: its conf says what to ask */
    struct ml_server *server; /* held: the one in question */
    struct ml_group *target;  /* owned: where the question goes */
    struct ml_timer timer;    /* when to ask, and how long to wait */
    struct ml_exchange *ex;   /* while it asks: the request; */
    struct ml_stream *stream; /* or the connection that is all it wants */
    struct ml_name_waiter waiter;
    struct ml_buf body;
    bool asking, late; /* time is over, but for one look at what has come */
    bool seen;
};

struct ml_checks {
    struct ml_outbound *o;
    struct probe *probes;
    unsigned running;
};

static double now_s(const struct probe *p)
{
    return ml_loop_now_s(p->all->o->loop);
}

/* ---- the outcome ---- */

static void hang_up(struct probe *p)
{
    ml_name_unwait(&p->waiter);
    ml_stream_close(&p->stream);
    if (p->ex != NULL) {
        if (p->ex->res.body != NULL)
            p->ex->res.body->on_data = NULL;
        ml_upstream_cancel(p->ex);
        ml_exchange_cancel(&p->ex, ML_CANCELLED);
    }
    ml_buf_release(&p->body);
    p->all->running -= p->asking;
    p->asking = false;
}

static void report(struct probe *p, uint32_t result)
{
    bool up = ml_health_check_state(p->server->state) == ML_CHECK_UP;
    struct ml_buf why = {0};

    ml_health_error_text(result, &why);
    if (up)
        ml_log_event(ML_LOG_INFO, "upstream server passes its checks",
                     ML_KV("upstream", p->of->conf.name), ML_KV("server", p->server->text));
    else
        ml_log_event(ML_LOG_WARN, "upstream server fails its checks",
                     ML_KV("upstream", p->of->conf.name), ML_KV("server", p->server->text),
                     ML_KV("error", ml_buf_str(&why)));
    ml_buf_release(&why);
}

static double pause_s(const struct probe *p)
{
    const struct ml_check_conf *c = &p->of->conf.check;
    double random = (double)(rand() % 2001 - 1000) / 1000; /* -1 .. 1 */

    return c->interval * (1 + c->jitter * random);
}

static bool may_lead(struct ml_checks *all)
{
    struct ml_outbound *o = all->o;

    return o->shm == NULL ||
           ml_shm_prober(o->shm, o->worker, (uint64_t)(ml_loop_now_s(o->loop) * 1000), LEASE_MS);
}

/* A process that stood still has no verdict on others: another one checks by now. */
static void conclude(struct probe *p, uint32_t result)
{
    const struct ml_check_conf *c = &p->of->conf.check;
    uint64_t now_ms = (uint64_t)(now_s(p) * 1000);

    hang_up(p);
    if (may_lead(p->all) && ml_health_checked(p->server->state, c->rise, c->fall, result, now_ms))
        report(p, result);
    ml_timer_set(&p->timer, pause_s(p));
}

/* ---- over HTTP ---- */

static bool expected(const struct ml_check_conf *c, int status)
{
    for (unsigned i = 0; i < c->expect_count; i++)
        if (status >= c->expect[i].from && status <= c->expect[i].to)
            return true;
    return c->expect_count == 0 && status >= 200 && status <= 399;
}

static bool contains(struct ml_str text, struct ml_str what)
{
    return what.len == 0 || memmem(text.p, text.len, what.p, what.len) != NULL;
}

static void judge_body(struct probe *p, struct ml_str text)
{
    conclude(p, contains(text, p->of->conf.check.body) ? 0 : ML_SHM_CHECK_BODY);
}

static void on_body(void *ctx)
{
    struct probe *p = ctx;
    struct ml_pipe *pipe = p->ex->res.body;
    size_t len = ml_buf_len(&pipe->buf);

    if (len > BODY_MAX - ml_buf_len(&p->body))
        len = BODY_MAX - ml_buf_len(&p->body);
    ml_buf_append(&p->body, (struct ml_str){ml_buf_str(&pipe->buf).p, len});
    ml_buf_consume(&pipe->buf, len);
    if (pipe->state == ML_PIPE_ABORTED)
        conclude(p, (uint32_t)pipe->why);
    else if (pipe->state == ML_PIPE_EOF || ml_buf_len(&p->body) == BODY_MAX ||
             contains(ml_buf_str(&p->body), p->of->conf.check.body))
        judge_body(p, ml_buf_str(&p->body));
    else if (len > 0)
        ml_pipe_took(pipe, len); /* last: it may bring the end */
}

static void on_head(void *ctx, enum ml_err err)
{
    struct probe *p = ctx;
    const struct ml_check_conf *c = &p->of->conf.check;
    struct ml_response *res = &p->ex->res;

    if (err != ML_OK) {
        conclude(p, (uint32_t)err);
    } else if (!expected(c, res->status)) {
        conclude(p, ML_SHM_CHECK_STATUS + (uint32_t)res->status);
    } else if (c->body.len == 0) {
        conclude(p, 0);
    } else if (res->body == NULL) {
        judge_body(p, res->bytes);
    } else {
        res->body->on_data = on_body;
        res->body->data_ctx = p;
        on_body(p);
    }
}

static void ignore(void *ctx, struct ml_exchange *ex)
{
    (void)ctx;
    (void)ex;
}

static void ask_http(struct probe *p)
{
    const struct ml_check_conf *c = &p->of->conf.check;
    struct ml_wire wire = {.ask_body = ignore, .ctx = p};
    struct ml_forward f = {.once = true, .host = c->host, .head = on_head, .ctx = p};
    struct ml_request *req;
    const char *query = memchr(c->path.p, '?', c->path.len);

    if (f.host.len == 0)
        f.host = p->server->url.authority;
    p->ex = ml_exchange_new(p->all->o->loop, NULL, wire);
    req = &p->ex->req;
    req->method = c->method;
    req->path = c->path;
    req->major = req->minor = 1;
    if (query != NULL) {
        req->path.len = (size_t)(query - c->path.p);
        req->has_query = true;
        req->query = (struct ml_str){query + 1, c->path.len - req->path.len - 1};
    }
    ml_headers_add(&req->headers, p->ex->arena, ML_STR("User-Agent"),
                   ML_STR("moonlatch-health-check"));
    ml_upstream_forward(p->target, p->ex, &f);
}

/* ---- a connection is enough ---- */

static void on_connection(void *ctx, int what)
{
    struct probe *p = ctx;
    enum ml_err err = ml_stream_connected(p->stream);

    (void)what;
    if (err == ML_AGAIN)
        ml_stream_want_write(p->stream);
    else
        conclude(p, (uint32_t)err);
}

static void connect_to(void *ctx)
{
    struct probe *p = ctx;
    struct ml_name *name = p->target->roster->members[0].server->name;
    const struct ml_addr *addrs;
    enum ml_err err;
    unsigned count = ml_name_addresses(name, &addrs, &err);

    if (count == 0 && err == ML_AGAIN) {
        ml_name_wait(name, &p->waiter);
    } else if (count == 0) {
        conclude(p, ML_UP_RESOLVE);
    } else if (ml_stream_connect(p->all->o->loop,
                                 &addrs[p->target->roster->members[0].server->next_addr++ % count],
                                 &p->stream) != ML_OK) {
        conclude(p, ML_UP_CONNECT);
    } else {
        ml_stream_listen_to(p->stream, on_connection, p);
    }
}

/* ---- a probe ---- */

static void ask(struct probe *p)
{
    const struct ml_check_conf *c = &p->of->conf.check;

    if (p->all->running >= RUNNING_MAX) {
        ml_timer_set(&p->timer, BUSY_S);
        return;
    }
    p->asking = true;
    p->late = false;
    p->all->running++;
    atomic_store(&p->server->state->checked_ms, (uint64_t)(now_s(p) * 1000));
    ml_timer_set(&p->timer, c->timeout);
    if (c->path.len > 0)
        ask_http(p);
    else
        connect_to(p);
}

static void on_timer(void *ctx)
{
    struct probe *p = ctx;

    if (p->asking && !p->late) { /* it may be us who are late: what has come is read first */
        p->late = true;
        ml_timer_set(&p->timer, GRACE_S);
    } else if (p->asking)
        conclude(p, p->of->conf.check.path.len > 0 ? ML_UP_TIMEOUT : ML_UP_CONNECT_TIMEOUT);
    else
        ask(p);
}

/* Where the server's checks go: its origin, but another port perhaps, and no prefix. */
static void target_url(const struct probe *p, struct ml_buf *out)
{
    const struct ml_server_url *url = &p->server->url;
    const char *colon = memchr(url->origin.p, ':', url->origin.len);
    bool literal6 = memchr(url->host.p, ':', url->host.len) != NULL;
    int port = p->of->conf.check.port;

    if (port == 0 || url->host.p == url->origin.p) { /* a unix socket has no port */
        ml_buf_append(out, url->origin);
        return;
    }
    ml_buf_append(out, (struct ml_str){url->origin.p, (size_t)(colon - url->origin.p) + 3});
    ml_buf_printf(out, literal6 ? "[%.*s]:%d" : "%.*s:%d", (int)url->host.len, url->host.p, port);
}

static struct ml_group *target_new(const struct probe *p)
{
    const struct ml_group_conf *of = &p->of->conf;
    struct ml_buf url = {0}, name = {0};
    struct ml_server_conf server = {.weight = 1};
    struct ml_group_conf conf = *of;
    struct ml_group *g;

    target_url(p, &url);
    server.url = ml_buf_str(&url);
    ml_buf_printf(&name, "checks of %.*s", (int)of->name.len, of->name.p);
    conf.name = ml_buf_str(&name); /* its servers are none of the upstream's */
    conf.servers = &server;
    conf.server_count = 1;
    conf.resolve_all = false;
    conf.check = (struct ml_check_conf){0};
    conf.connect_timeout = conf.first_byte_timeout = conf.read_timeout = of->check.timeout + 1;
    conf.total_timeout = 0; /* the probe's own timer counts */
    conf.keepalive = conf.retries = conf.max_fails = ~0u;
    conf.client = conf.via_off = true;
    g = ml_group_new(p->all->o, &conf);
    ml_buf_release(&url);
    ml_buf_release(&name);
    return g;
}

/* When a server was asked last is known by all: a new generation, or another worker, goes on in the
 * same rhythm. */
static double first_s(const struct probe *p, unsigned index)
{
    uint64_t last_ms = atomic_load(&p->server->state->checked_ms);
    double due_s = (double)last_ms / 1000 + p->of->conf.check.interval - now_s(p);

    if (last_ms == 0 || due_s < 0)
        due_s = 0;
    if (due_s > p->of->conf.check.interval)
        due_s = p->of->conf.check.interval;
    return due_s + fmin(index * APART_S, p->of->conf.check.interval);
}

static void forget(struct ml_group *g);

static void probe_new(struct ml_checks *all, struct ml_group *g, struct ml_server *s,
                      unsigned index)
{
    struct probe *p = calloc(1, sizeof *p);

    if (p == NULL)
        abort();
    p->all = all;
    p->of = g;
    g->retired = forget;
    p->server = s;
    s->refs++;
    p->target = target_new(p);
    p->waiter.done = connect_to;
    p->waiter.ctx = p;
    p->seen = true;
    p->next = all->probes;
    all->probes = p;
    ml_timer_init(&p->timer, all->o->loop, on_timer, p);
    ml_timer_set(&p->timer, first_s(p, index));
}

static void probe_free(struct probe **at)
{
    struct probe *p = *at;

    *at = p->next;
    hang_up(p);
    ml_timer_drop(&p->timer);
    ml_group_release(&p->target);
    ml_server_release(&p->server);
    ml_loop_bury(p->all->o->loop, free, p);
}

/* ---- all of them ---- */

static struct probe *find(struct ml_checks *all, const struct ml_group *g,
                          const struct ml_server *s)
{
    for (struct probe *p = all->probes; p != NULL; p = p->next)
        if (p->of == g && p->server == s)
            return p;
    return NULL;
}

/* The group serves no more. */
static void forget(struct ml_group *g)
{
    struct ml_checks *all = g->o->checks;

    for (struct probe **at = &all->probes; *at != NULL;)
        if ((*at)->of == g)
            probe_free(at);
        else
            at = &(*at)->next;
}

/* Those of lists that changed go, those that are new come. */
static void match(struct ml_checks *all)
{
    unsigned fresh = 0;

    for (struct probe *p = all->probes; p != NULL; p = p->next)
        p->seen = false;
    for (struct ml_group *g = all->o->groups; g != NULL; g = g->next)
        for (unsigned i = 0; g->conf.check.on && i < g->roster->count; i++) {
            struct probe *p = find(all, g, g->roster->members[i].server);

            if (p != NULL)
                p->seen = true;
            else
                probe_new(all, g, g->roster->members[i].server, fresh++);
        }
    for (struct probe **at = &all->probes; *at != NULL;)
        if ((*at)->seen)
            at = &(*at)->next;
        else
            probe_free(at);
}

static void drop_all(struct ml_checks *all)
{
    while (all->probes != NULL)
        probe_free(&all->probes);
}

static bool wanted(struct ml_outbound *o)
{
    for (struct ml_group *g = o->groups; g != NULL; g = g->next)
        if (g->conf.check.on)
            return true;
    return false;
}

/* Another generation's last words may have come after ours. */
static void clear_unchecked(struct ml_outbound *o)
{
    for (struct ml_group *g = o->groups; g != NULL; g = g->next)
        for (unsigned i = 0; !g->conf.check.on && i < g->roster->count; i++)
            ml_health_unchecked(g->roster->members[i].server->state);
}

void ml_checks_tick(struct ml_outbound *o)
{
    struct ml_checks *all = o->checks;

    if (o->unchecked)
        return;
    clear_unchecked(o);
    if (all == NULL) {
        if (!wanted(o))
            return;
        all = o->checks = calloc(1, sizeof *all);
        if (all == NULL)
            abort();
        all->o = o;
    }
    if (!wanted(o) || !may_lead(all)) {
        drop_all(all);
        return;
    }
    match(all);
}

void ml_checks_stop(struct ml_outbound *o)
{
    if (o->shm != NULL)
        ml_shm_prober_leave(o->shm, o->worker);
    o->unchecked = true;
    if (o->checks == NULL)
        return;
    drop_all(o->checks);
    for (struct ml_group *g = o->groups; g != NULL; g = g->next)
        g->retired = NULL;
    free(o->checks);
    o->checks = NULL;
}
