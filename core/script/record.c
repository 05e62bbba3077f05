/* record.c - one pass over what is known at the end of an exchange: no formatting, one copy. */
#include "script/record_parts.h"

#include "base/clock.h"
#include "inbound/access_log.h"
#include "script/generation.h"
#include "script/load.h"
#include "script/steps.h"
#include "script/task.h"

enum { LONG_HEAD_MAX = 1200 };

static const uint8_t short_max[TEXT_COUNT] = {
    [TEXT_ID] = 48,     [TEXT_METHOD] = 16, [TEXT_PATH] = 104,     [TEXT_IP] = 46,
    [TEXT_ROUTE] = 64,  [TEXT_NAME] = 24,   [TEXT_LISTENER] = 24,  [TEXT_UPSTREAM] = 24,
    [TEXT_SERVER] = 40, [TEXT_USER] = 24,   [TEXT_DECIDED_BY] = 16};
static const uint8_t long_max[TEXT_COUNT] = {
    [TEXT_ID] = 48,      [TEXT_METHOD] = 16, [TEXT_PATH] = 255,      [TEXT_IP] = 46,
    [TEXT_ROUTE] = 200,  [TEXT_NAME] = 100,  [TEXT_LISTENER] = 64,   [TEXT_UPSTREAM] = 64,
    [TEXT_SERVER] = 120, [TEXT_USER] = 64,   [TEXT_DECIDED_BY] = 100};

_Static_assert(sizeof(struct record) + 48 + 16 + 104 + 46 + 64 + 24 + 24 + 24 + 40 + 24 + 16 <=
                   ML_RING_SHORT_MAX,
               "the texts of a short record fit");
_Static_assert(sizeof(struct record) + 48 + 16 + 255 + 46 + 200 + 100 + 64 + 64 + 120 + 64 + 100 <=
                   LONG_HEAD_MAX,
               "those of a long one too");

struct writing {
    struct record head;
    struct ml_str texts[TEXT_COUNT];
};

static void texts(struct writing *w, const struct ml_exchange *ex)
{
    const struct ml_exchange_notes *n = &ex->notes;
    const struct ml_listener_conf *conf = ex->server_conf;

    w->texts[TEXT_ID] = ex->req.id;
    w->texts[TEXT_METHOD] = ex->req.method;
    w->texts[TEXT_PATH] = ex->req.path;
    w->texts[TEXT_IP] = ex->req.ip;
    w->texts[TEXT_ROUTE] = n->route;
    if (!ml_str_eq(n->label, n->route))
        w->texts[TEXT_NAME] = n->label;
    if (conf != NULL)
        w->texts[TEXT_LISTENER] = conf->name;
    w->texts[TEXT_UPSTREAM] = n->upstream;
    w->texts[TEXT_SERVER] = n->server;
    w->texts[TEXT_USER] = n->user_id;
}

static void decided_by(struct writing *w, const struct ml_trail *t)
{
    unsigned last =
        t->decision_count < ML_TRAIL_DECISIONS_MAX ? t->decision_count : ML_TRAIL_DECISIONS_MAX;

    if (t->generation != NULL && last > 0)
        w->texts[TEXT_DECIDED_BY] =
            ml_steps_label(ml_generation_steps(t->generation), t->decisions[last - 1].step);
}

/* Wall clock; the kernel is asked now and then, for the two clocks drift apart slowly. */
static double wall_s(double mono_s)
{
    static double ahead_s, asked_s = -1;

    if (asked_s < 0 || mono_s - asked_s > 1 || mono_s < asked_s) {
        ahead_s = ml_clock_wall_s() - mono_s;
        asked_s = mono_s;
    }
    return mono_s + ahead_s;
}

static void head(struct writing *w, const struct ml_exchange *ex, int status)
{
    const struct ml_exchange_notes *n = &ex->notes;
    double now_s = ml_clock_mono_s(), took_s = now_s - n->start_s;
    double slow_s = ex->trail.generation != NULL
                        ? ml_generation_site(ex->trail.generation)->settings.slow_after
                        : 1;

    w->head.at_s = wall_s(now_s);
    w->head.took_s = took_s > 0 ? took_s : 0;
    w->head.bytes_in = n->bytes_in;
    w->head.bytes_out = n->bytes_out;
    w->head.generation = n->generation;
    w->head.status = (uint16_t)status;
    w->head.why = (uint16_t)n->why;
    w->head.tries = (uint16_t)n->tries;
    w->head.port = ex->req.peer_port;
    w->head.major = (uint8_t)ex->req.major;
    w->head.minor = (uint8_t)ex->req.minor;
    w->head.tls = ex->req.tls != NULL;
    w->head.slow = status != 101 && took_s >= slow_s; /* a tunnel lasts */
}

/* As memcpy, whose call costs more than most of these texts. */
static inline void copy(char *to, const char *from, size_t len)
{
    uint64_t word;
    size_t at = 0;

    if (len < sizeof word) {
        for (; at < len; at++)
            to[at] = from[at];
        return;
    }
    for (; at + sizeof word <= len; at += sizeof word) {
        memcpy(&word, from + at, sizeof word);
        memcpy(to + at, &word, sizeof word);
    }
    memcpy(&word, from + len - sizeof word, sizeof word);
    memcpy(to + len - sizeof word, &word, sizeof word);
}

/* Copies head and texts; where the next byte goes. */
static char *put(struct writing *w, const uint8_t max[TEXT_COUNT], char *to)
{
    char *at = to + sizeof w->head;

    for (unsigned i = 0; i < TEXT_COUNT; i++) {
        size_t len = w->texts[i].len < max[i] ? w->texts[i].len : max[i];

        w->head.lens[i] = (uint8_t)len;
        copy(at, w->texts[i].p, len);
        at += len;
    }
    w->head.more = w->texts[TEXT_PATH].len > max[TEXT_PATH];
    memcpy(to, &w->head, sizeof w->head);
    return at;
}

static void write_short(const struct ml_recorder *r, struct writing *w)
{
    char *to = ml_rings_begin(r->rings, r->worker, ML_RING_RECENT);

    if (to != NULL)
        ml_rings_end(r->rings, r->worker, ML_RING_RECENT, (size_t)(put(w, short_max, to) - to));
}

static void write_long(const struct ml_recorder *r, struct writing *w, enum ml_ring ring,
                       struct ml_exchange *ex)
{
    static struct ml_buf detail; /* keeps its memory */
    char *to, *at;

    ml_buf_consume(&detail, ml_buf_len(&detail));
    ml_record_detail(&detail, ex, ML_RING_LONG_MAX - LONG_HEAD_MAX);
    to = ml_rings_begin(r->rings, r->worker, ring);
    if (to == NULL)
        return;
    at = put(w, long_max, to);
    memcpy(at, ml_buf_str(&detail).p, ml_buf_len(&detail));
    at += ml_buf_len(&detail);
    ml_rings_end(r->rings, r->worker, ring, (size_t)(at - to));
}

static bool is_error(const struct writing *w)
{
    if (w->head.status >= 500 || w->head.slow)
        return true;
    return w->head.why != ML_OK && (w->head.status < 400 || w->head.status >= 500);
}

void ml_record_exchange(void *recorder, struct ml_exchange *ex, int status)
{
    const struct ml_recorder *r = recorder;
    struct writing w = {0};

    if (status == ML_STATUS_CLIENT_GONE && ex->task != NULL) {
        unsigned step = ml_task_step(ex);

        if (step > 0)
            ml_trail_decided(&ex->trail, step, ML_DECIDED_CANCELLED, 0);
    }
    texts(&w, ex);
    head(&w, ex, status);
    decided_by(&w, &ex->trail);
    write_short(r, &w);
    if (is_error(&w))
        write_long(r, &w, ML_RING_ERRORS, ex);
    else if (status >= 400)
        write_long(r, &w, ML_RING_REFUSALS, ex);
    else if (ex->timing != NULL)
        write_long(r, &w, ML_RING_TRACED, ex);
}
