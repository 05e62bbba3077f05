/* ship.c - one collector: a queue, and one request at a time.
 *
 *   REST --enough lines, or time--> BUILD --some each turn--> ASK --answer--> settle --> REST
 *    ^                                                         |
 *    \---- a pause that grows, with jitter <-- AGAIN, no answer, a wrong one
 *
 * A batch is made and compressed a piece per turn of the loop, so that no request of a client waits
 * for more than a piece.  Lines stay in the queue until they are dealt with; only those of the
 * request in flight are safe from being pushed out by new ones. */
#include "outbound/ship_parts.h"

#include "base/log_event.h"
#include "base/str_cut.h"
#include "outbound/client_tls.h"
#include "outbound/group.h"
#include "protocol/coding.h"

#include <stdio.h>
#include <stdlib.h>

enum { PIECE = 16384, ANSWER_MAX = 1 << 20, GZIP_LEVEL = 1 };
static const double PAUSE_FIRST_S = 0.5, PAUSE_MAX_S = 30, HURRY_S = 0.2, QUIET_S = 60;

enum state { REST, BUILD, ASK };

struct ml_ship {
    struct ml_outbound *o;   /* borrowed */
    struct ml_arena *memory; /* owned: of conf */
    struct ml_ship_conf conf;
    const struct ml_ship_protocol *protocol;
    struct ml_client_tls *tls; /* held; NULL: plain, or the defaults */
    struct ml_group *group;    /* held */
    struct ml_lines *lines;    /* owned */
    enum state state;
    struct ml_timer timer;    /* REST: when to begin; ASK: when to give up */
    struct ml_deferred piece; /* BUILD */
    size_t at;                /* BUILD: in the lines taken */
    bool begun, preparing, prepared, hurry;
    unsigned batch;           /* lines of a request: less than conf.batch after a 413 */
    unsigned failures;        /* in a row */
    double quiet_until_s;     /* no warning before */
    struct ml_coder *coder;   /* owned, BUILD; NULL: not compressed */
    struct ml_buf text, body; /* owned: what is to be compressed; of the request */
    bool coded;
    struct ml_exchange *ex; /* owned, ASK */
    struct ml_buf answer;   /* owned */
    struct ml_ship_count count;
};

/* ---- when ---- */

static bool is_enough(const struct ml_ship *s)
{
    return s->hurry || ml_lines_count(s->lines) >= s->batch ||
           ml_lines_bytes(s->lines) >= s->conf.batch_bytes;
}

void ml_ship_push(struct ml_ship *s, struct ml_str line)
{
    ml_lines_push(s->lines, line);
    if (s->state != REST || s->failures > 0)
        return;
    if (s->timer.due_s <= 0)
        ml_timer_set(&s->timer, is_enough(s) ? 0 : s->conf.interval);
    else if (ml_lines_count(s->lines) == s->batch)
        ml_timer_set(&s->timer, 0);
}

/* Half to one and a half times what doubles with each failure. */
static double pause_s(const struct ml_ship *s)
{
    double p = PAUSE_FIRST_S;
    uint32_t random;

    for (unsigned i = 1; i < s->failures && p < PAUSE_MAX_S; i++)
        p *= 2;
    p = p < PAUSE_MAX_S ? p : PAUSE_MAX_S;
    ml_random_bytes(&random, sizeof random);
    p *= 0.5 + (double)random / UINT32_MAX;
    return s->hurry && p > HURRY_S ? HURRY_S : p;
}

static void rest(struct ml_ship *s)
{
    s->state = REST;
    ml_timer_stop(&s->timer);
    if (s->failures > 0)
        ml_timer_set(&s->timer, pause_s(s));
    else if (ml_lines_count(s->lines) > 0)
        ml_timer_set(&s->timer, is_enough(s) ? 0 : s->conf.interval);
}

void ml_ship_hurry(struct ml_ship *s)
{
    s->hurry = true;
    if (s->state == REST && ml_lines_count(s->lines) > 0)
        ml_timer_set(&s->timer, 0);
}

bool ml_ship_idle(const struct ml_ship *s)
{
    return s->state == REST && ml_lines_count(s->lines) == 0;
}

/* ---- the end of a request ---- */

static void end_request(struct ml_ship *s)
{
    if (s->ex != NULL) {
        ml_upstream_cancel(s->ex);
        ml_exchange_cancel(&s->ex, ML_CANCELLED);
    }
    if (s->coder != NULL)
        ml_coder_free(&s->coder);
    ml_loop_undefer(s->o->loop, &s->piece);
    ml_buf_release(&s->text);
    ml_buf_release(&s->body);
    ml_buf_release(&s->answer);
}

/* Of many failures one is told a minute: what is told is shipped, too. */
static bool may_tell(struct ml_ship *s)
{
    double now_s = ml_loop_now_s(s->o->loop);

    if (now_s < s->quiet_until_s)
        return false;
    s->quiet_until_s = now_s + QUIET_S;
    return true;
}

static void failed(struct ml_ship *s, const char *why)
{
    bool told = s->failures > 0;

    end_request(s);
    ml_lines_put_back(s->lines);
    s->failures++;
    ml_ship_add(s->count.errors, 1);
    rest(s);
    if (!told && may_tell(s))
        ml_log_event(ML_LOG_WARN, "the collector of logs does not take them",
                     ML_KV("collector", ml_ship_label(s->conf.kind)),
                     ML_KV("server", s->conf.origin), ML_KV("error", why));
}

static void refused(struct ml_ship *s, unsigned lines, const char *why)
{
    ml_ship_add(s->count.refused, lines);
    if (may_tell(s))
        ml_log_event(ML_LOG_WARN, "the collector refuses lines",
                     ML_KV("collector", ml_ship_label(s->conf.kind)), ML_KV("lines", lines),
                     ML_KV("error", why));
}

/* The batch is dealt with, but for the lines to be sent again. */
static void settle(struct ml_ship *s, const struct ml_ship_result *r)
{
    unsigned lines = ml_lines_taken(s->lines);

    ml_lines_settle(s->lines, r->again > 0 ? r->keep : NULL);
    ml_ship_add(s->count.shipped, (double)lines - r->again - r->refused);
    if (r->again == 0)
        s->failures = 0;
    else
        s->failures = r->again < lines ? 1 : s->failures + 1;
    rest(s);
    if (r->refused > 0)
        refused(s, r->refused, r->why);
}

static void answered(struct ml_ship *s, int status)
{
    unsigned lines = ml_lines_taken(s->lines);
    struct ml_ship_result r = {.keep = ml_arena_zalloc(s->ex->arena, lines + 1)};
    enum ml_ship_verdict verdict = s->protocol->judge(status, ml_buf_str(&s->answer), lines, &r);
    char why[40];

    snprintf(why, sizeof why, "status %d", status);
    if (verdict == ML_SHIP_SMALLER && lines > 1) {
        s->batch = lines / 2;
        end_request(s);
        ml_lines_put_back(s->lines);
        rest(s);
    } else if (verdict == ML_SHIP_AGAIN) {
        failed(s, why);
    } else {
        if (verdict == ML_SHIP_SMALLER)
            r.refused = lines;
        settle(s, &r); /* r lives with the exchange */
        end_request(s);
    }
}

/* Without the right to make a template lines are better than none. */
static void is_prepared(struct ml_ship *s, int status)
{
    char why[40];

    snprintf(why, sizeof why, "status %d", status);
    if (status == 429 || status >= 500) {
        failed(s, why);
        return;
    }
    s->prepared = true;
    s->failures = 0;
    end_request(s);
    s->state = REST;
    ml_timer_set(&s->timer, 0);
    if (status < 200 || status >= 300)
        ml_log_event(ML_LOG_WARN, "the collector takes no index template",
                     ML_KV("collector", ml_ship_label(s->conf.kind)), ML_KV("status", status));
}

static void complete(struct ml_ship *s)
{
    if (s->preparing)
        is_prepared(s, s->ex->res.status);
    else
        answered(s, s->ex->res.status);
}

static void on_data(void *ctx)
{
    struct ml_ship *s = ctx;
    struct ml_pipe *pipe = s->ex->res.body;
    size_t len = ml_buf_len(&pipe->buf);

    if (pipe->state == ML_PIPE_ABORTED) {
        failed(s, ml_err_word(pipe->why));
    } else if (len > ANSWER_MAX - ml_buf_len(&s->answer)) {
        failed(s, "its answer is too long");
    } else {
        ml_buf_append(&s->answer, ml_buf_str(&pipe->buf));
        ml_buf_consume(&pipe->buf, len);
        if (pipe->state == ML_PIPE_EOF)
            complete(s);
        else if (len > 0)
            ml_pipe_took(pipe, len); /* last: it may bring the end */
    }
}

static void on_head(void *ctx, enum ml_err err)
{
    struct ml_ship *s = ctx;

    if (err != ML_OK) {
        failed(s, ml_err_word(err));
    } else if (s->ex->res.body == NULL) {
        ml_buf_append(&s->answer, s->ex->res.bytes);
        complete(s);
    } else {
        s->ex->res.body->on_data = on_data;
        s->ex->res.body->data_ctx = s;
        on_data(s);
    }
}

/* ---- a request ---- */

static void ignore(void *ctx, struct ml_exchange *ex)
{
    (void)ctx;
    (void)ex;
}

static void header(struct ml_exchange *ex, const char *name, struct ml_str value)
{
    ml_headers_add(&ex->req.headers, ex->arena, ml_str_of(name), value);
}

/* path may hold a query. */
static void fill_request(struct ml_ship *s, const char *method, struct ml_str path)
{
    struct ml_exchange *ex = s->ex;
    struct ml_request *req = &ex->req;
    struct ml_str rest = ml_arena_dup(ex->arena, path), before;

    req->method = ml_str_of(method);
    req->has_query = ml_str_cut(&rest, '?', &before);
    req->path = req->has_query ? before : rest;
    req->query = req->has_query ? rest : ML_STR_NONE;
    req->major = req->minor = 1;
    header(ex, "Content-Type", ml_str_of(s->preparing ? "application/json" : s->protocol->type));
    header(ex, "Accept", ML_STR("application/json"));
    header(ex, "User-Agent", ML_STR("moonlatch"));
    if (s->coded)
        header(ex, "Content-Encoding", ML_STR("gzip"));
    for (unsigned i = 0; i < s->conf.header_count; i++)
        ml_headers_set(&req->headers, ex->arena, s->conf.headers[i].name, s->conf.headers[i].value);
    req->body = ml_arena_zalloc(ex->arena, sizeof *req->body);
    req->has_length = true;
    req->length = ml_buf_len(&s->body);
    ml_pipe_put(req->body, ml_buf_str(&s->body));
    ml_buf_release(&s->body);
    ml_pipe_eof(req->body);
}

static void ask(struct ml_ship *s, const char *method, struct ml_str path)
{
    struct ml_wire wire = {.ask_body = ignore, .ctx = s};
    struct ml_forward forward = {.timeout = s->conf.timeout, .head = on_head, .ctx = s};

    s->state = ASK;
    s->ex = ml_exchange_new(s->o->loop, NULL, wire);
    fill_request(s, method, path);
    ml_timer_set(&s->timer, s->conf.timeout);
    ml_upstream_forward(s->group, s->ex, &forward);
}

static void ask_batch(struct ml_ship *s)
{
    struct ml_buf path = {0};

    s->protocol->path(&s->conf, &path);
    ask(s, "POST", ml_buf_str(&path));
    ml_buf_release(&path);
}

/* ---- a batch, piece by piece ---- */

/* False: there is no more. */
static bool add_lines(struct ml_ship *s)
{
    struct ml_str line;
    uint64_t number;

    while (ml_buf_len(&s->text) < PIECE) {
        bool first = s->at == 0;

        if (!ml_lines_next(s->lines, &s->at, &line, &number)) {
            s->protocol->end(&s->conf, &s->text);
            return false;
        }
        s->protocol->line(&s->conf, line, number, first, &s->text);
    }
    return true;
}

static void on_piece(void *ctx)
{
    struct ml_ship *s = ctx;
    bool more = add_lines(s);

    if (s->coder == NULL) {
        ml_buf_append(&s->body, ml_buf_str(&s->text));
    } else {
        while (ml_coder_run(s->coder, &s->text, more ? ML_CODER_MORE : ML_CODER_FINISH, &s->body,
                            PIECE) == ML_AGAIN)
            ;
    }
    ml_buf_release(&s->text);
    if (more) {
        ml_loop_defer_later(s->o->loop, &s->piece);
        return;
    }
    if (s->coder != NULL)
        ml_coder_free(&s->coder);
    ask_batch(s);
}

static void build(struct ml_ship *s)
{
    ml_lines_take(s->lines, s->batch, s->conf.batch_bytes);
    s->state = BUILD;
    s->at = 0;
    s->coder = s->conf.gzip ? ml_encoder_new(ML_CODING_GZIP, GZIP_LEVEL) : NULL;
    s->coded = s->coder != NULL;
    s->protocol->begin(&s->conf, &s->text);
    ml_loop_defer_later(s->o->loop, &s->piece);
}

static bool prepare(struct ml_ship *s)
{
    struct ml_buf path = {0};

    if (s->prepared || s->protocol->prepare == NULL ||
        !s->protocol->prepare(&s->conf, &path, &s->body))
        return false;
    s->preparing = true;
    s->coded = false;
    ask(s, "PUT", ml_buf_str(&path));
    ml_buf_release(&path);
    return true;
}

static void on_time(void *ctx)
{
    struct ml_ship *s = ctx;

    if (s->state == ASK) {
        failed(s, ml_err_word(ML_UP_TIMEOUT));
    } else if (s->state == REST && ml_lines_count(s->lines) > 0) {
        s->preparing = false;
        if (!prepare(s))
            build(s);
    }
}

/* ---- life ---- */

static struct ml_group *group_new(struct ml_outbound *o, struct ml_str origin)
{
    struct ml_server_conf server = {.url = origin, .weight = 1};
    struct ml_group_conf conf = {.name = ML_STR("log collector"),
                                 .servers = &server,
                                 .server_count = 1,
                                 .keepalive = 2,
                                 .keepalive_timeout = 30,
                                 .max_fails = ~0u,
                                 .retries = ~0u,
                                 .client = true,
                                 .via_off = true};

    return ml_group_new(o, &conf);
}

struct ml_ship *ml_ship_new(struct ml_outbound *o, const struct ml_ship_conf *conf,
                            struct ml_arena *memory)
{
    static const struct ml_ship_protocol *const protocols[] = {&ml_ship_elastic, &ml_ship_otlp_logs,
                                                               &ml_ship_otlp_traces};
    struct ml_ship *s = calloc(1, sizeof *s);
    char error[ML_TLS_ERROR_MAX];

    if (s == NULL)
        abort();
    s->o = o;
    s->memory = memory;
    s->conf = *conf;
    s->conf.tls = NULL; /* not ours */
    s->batch = conf->batch;
    s->protocol = protocols[conf->kind];
    s->lines = ml_lines_new(conf->buffer);
    s->group = group_new(o, s->conf.origin);
    if (conf->tls != NULL)
        s->tls = ml_client_tls_hold(o, conf->tls, conf->tls_name, error);
    if (s->tls != NULL)
        ml_group_set_tls(s->group, s->tls);
    ml_timer_init(&s->timer, o->loop, on_time, s);
    s->piece.fire = on_piece;
    s->piece.ctx = s;
    ml_ship_count_open(&s->count, o->metrics, conf->kind);
    return s;
}

static void memory_free(void *p)
{
    struct ml_arena *memory = p;

    ml_arena_free(&memory);
}

void ml_ship_free(struct ml_ship **ship)
{
    struct ml_ship *s = *ship;

    *ship = NULL;
    if (s == NULL)
        return;
    end_request(s);
    ml_ship_count_close(&s->count, s->lines);
    ml_timer_drop(&s->timer);
    ml_lines_free(&s->lines);
    ml_group_release(&s->group);
    if (s->tls != NULL)
        ml_client_tls_release(&s->tls);
    ml_loop_bury(s->o->loop, memory_free, s->memory); /* a request may still point there */
    ml_loop_bury(s->o->loop, free, s);
}

const struct ml_client_tls *ml_ship_tls(const struct ml_ship *s)
{
    return s->tls;
}

const struct ml_ship_conf *ml_ship_conf_of(const struct ml_ship *s)
{
    return &s->conf;
}

void ml_ship_tick(struct ml_ship *s)
{
    ml_ship_count_look(&s->count, s->lines);
}

void ml_ship_inherit(struct ml_ship *s, struct ml_ship *from)
{
    ml_lines_move(s->lines, from->lines);
    rest(s);
}
