/* record_detail.c - steps, tries and changes as JSON, as much of it as fits.
 *
 * Of a request that was not timed is known who decided, and so who ran: those outside of who
 * decided first.  Of one that was timed all is known. */
#include "script/record_parts.h"

#include "base/json.h"
#include "base/redact.h"
#include "inbound/listener.h"
#include "script/generation.h"
#include "script/load.h"
#include "script/steps.h"

#include <strings.h>

enum { VALUE_MAX = 200, QUERY_MAX = 300, CLOSING = 24 /* bytes that always fit */ };

/* ---- secrets ---- */

static bool contains(struct ml_str s, const char *word)
{
    size_t len = strlen(word);

    for (size_t i = 0; i + len <= s.len; i++)
        if (ml_lower(s.p[i]) == word[0] && strncasecmp(s.p + i, word, len) == 0)
            return true; /* the words are in lower case */
    return false;
}

static bool ends_with(struct ml_str s, const char *word)
{
    size_t len = strlen(word);

    return s.len >= len && strncasecmp(s.p + s.len - len, word, len) == 0;
}

/* Authorization, Cookie, X-Api-Key, X-Auth-Token, client_secret ..., and what the site says. */
static bool sounds_secret(struct ml_str name)
{
    static const char *const words[] = {"authoriz",  "cookie", "token",     "secret",  "passw",
                                        "api-key",   "apikey", "api_key",   "session", "credential",
                                        "signature", "jwt",    "authentic", "private"};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (contains(name, words[i]))
            return true;
    return ends_with(name, "key") || ends_with(name, "code") || ends_with(name, "sig") ||
           ends_with(name, "auth") || ml_redact_header(name);
}

/* ---- lists that end where the space does ---- */

struct list {
    struct ml_buf *out;
    size_t max; /* length of out that must not be passed */
    size_t mark;
    bool first, full;
};

static struct list list_begin(struct ml_buf *out, const char *name, size_t max)
{
    struct list l = {.out = out, .max = max, .first = true};

    l.full = ml_buf_len(out) + 2 * CLOSING > max;
    if (!l.full)
        ml_buf_printf(out, ",\"%s\":[", name);
    return l;
}

static void item_begin(struct list *l)
{
    l->mark = ml_buf_len(l->out);
    if (!l->first)
        ml_buf_append(l->out, ML_STR(","));
}

/* An item that does not fit is taken back, and the list is over. */
static void item_end(struct list *l)
{
    size_t len = ml_buf_len(l->out);

    if (len + CLOSING > l->max) {
        l->out->end -= len - l->mark;
        l->full = true;
        return;
    }
    l->first = false;
}

static void text(struct ml_buf *out, const char *name, struct ml_str s)
{
    ml_buf_append(out, ML_STR("\""));
    ml_buf_append(out, ml_str_of(name));
    ml_buf_append(out, ML_STR("\":"));
    ml_json_string(out, s);
}

/* ---- steps ---- */

static const struct ml_chain_steps *chain_of(const struct ml_exchange *ex)
{
    const struct ml_listener_conf *conf = ex->server_conf;
    const struct ml_chain_steps *usual = NULL, *steps;

    for (steps = ex->trail.chain->steps; steps != NULL; steps = steps->next) {
        if (steps->listener.len == 0)
            usual = steps;
        else if (conf != NULL && ml_str_eq(steps->listener, conf->name))
            return steps;
    }
    return usual;
}

static unsigned decisions(const struct ml_trail *t)
{
    return t->decision_count < ML_TRAIL_DECISIONS_MAX ? t->decision_count : ML_TRAIL_DECISIONS_MAX;
}

/* What the step at that place decided last, or NULL. */
static const struct ml_decision *decision_at(const struct ml_trail *t, unsigned place)
{
    for (unsigned i = decisions(t); i > 0; i--)
        if (t->decisions[i - 1].step / ML_STEPS_PLACE == place)
            return &t->decisions[i - 1];
    return NULL;
}

static bool changed_answer(const struct ml_trail *t, unsigned place)
{
    for (const struct ml_change *c = t->changes; c != NULL; c = c->next)
        if (c->response && c->step / ML_STEPS_PLACE == place)
            return true;
    return false;
}

/* Did it run?  Without timing: nobody inside of the one who decided first did. */
static bool has_run(const struct ml_exchange *ex, unsigned place)
{
    const struct ml_trail *t = &ex->trail;
    unsigned innermost = 0;

    if (ex->timing != NULL && place < ML_STEPS_PLACES_MAX)
        return ex->timing->marks[place].begin_s > 0;
    for (unsigned i = 0; i < decisions(t); i++) {
        unsigned at = t->decisions[i].step / ML_STEPS_PLACE;

        if (t->decisions[i].how != ML_DECIDED_REPLACED && at > innermost)
            innermost = at;
    }
    return innermost == 0 || place <= innermost;
}

static const char *outcome(const struct ml_exchange *ex, unsigned place, int *status)
{
    static const char *const words[] = {[ML_DECIDED_ANSWERED] = "answered",
                                        [ML_DECIDED_REPLACED] = "changed",
                                        [ML_DECIDED_RAISED] = "raised",
                                        [ML_DECIDED_CANCELLED] = "cancelled"};
    const struct ml_decision *d = decision_at(&ex->trail, place);

    if (d != NULL) {
        *status = d->status;
        return words[d->how];
    }
    if (!has_run(ex, place))
        return "not run";
    return changed_answer(&ex->trail, place) ? "changed" : "passed";
}

static void times(struct ml_buf *out, const struct ml_exchange *ex, unsigned place)
{
    const struct ml_mark *m;

    if (ex->timing == NULL || place >= ML_STEPS_PLACES_MAX)
        return;
    m = &ex->timing->marks[place];
    if (m->begin_s > 0)
        ml_buf_printf(out, ",\"cpuMs\":%.3f,\"wallMs\":%.3f", (double)m->cpu_ns * 1e-6,
                      (double)m->wall_ns * 1e-6);
}

static void step(struct ml_buf *out, const struct ml_exchange *ex, const struct ml_chain_steps *s,
                 unsigned i)
{
    int status = 0;

    ml_buf_append(out, ML_STR("{"));
    text(out, "name", ml_steps_label(ml_generation_steps(ex->trail.generation), s->v[i].id));
    ml_buf_append(out, ML_STR(","));
    text(out, "at", s->v[i].line);
    ml_buf_append(out, ML_STR(","));
    text(out, "outcome", ml_str_of(outcome(ex, i + 1, &status)));
    if (status != 0)
        ml_buf_printf(out, ",\"status\":%d", status);
    times(out, ex, i + 1);
    ml_buf_append(out, ML_STR("}"));
}

static void steps(struct ml_buf *out, const struct ml_exchange *ex, size_t max)
{
    const struct ml_chain_steps *s = ex->trail.chain != NULL ? chain_of(ex) : NULL;
    struct list l = list_begin(out, "steps", max);
    bool begun = !l.full;

    for (unsigned i = 0; s != NULL && i < s->count && !l.full; i++) {
        item_begin(&l);
        step(out, ex, s, i);
        item_end(&l);
    }
    if (begun)
        ml_buf_append(out, ML_STR("]"));
    if (ex->timing != NULL && ex->timing->marks[0].begin_s > 0 && !l.full)
        ml_buf_printf(out, ",\"inside\":{\"wallMs\":%.3f}",
                      (double)ex->timing->marks[0].wall_ns * 1e-6);
}

/* ---- tries ---- */

static void after(struct ml_buf *out, const char *name, double from_s, double to_s)
{
    if (to_s > 0)
        ml_buf_printf(out, ",\"%s\":%.3f", name, to_s > from_s ? (to_s - from_s) * 1000 : 0.0);
}

static void one_try(struct ml_buf *out, const struct ml_try *t)
{
    ml_buf_append(out, ML_STR("{"));
    text(out, "server", t->server);
    if (t->status != 0)
        ml_buf_printf(out, ",\"status\":%d", t->status);
    if (t->why != ML_OK) {
        ml_buf_append(out, ML_STR(","));
        text(out, "error", ml_str_of(ml_err_word(t->why)));
    }
    ml_buf_printf(out, ",\"reused\":%s", t->kept && !t->refreshed ? "true" : "false");
    if (t->refreshed)
        ml_buf_append(out, ML_STR(",\"reconnected\":true"));
    after(out, "sentMs", t->begin_s, t->sent_s);
    after(out, "ms", t->begin_s, t->end_s);
    ml_buf_append(out, ML_STR("}"));
}

static void tries(struct ml_buf *out, const struct ml_exchange *ex, size_t max)
{
    struct list l = list_begin(out, "upstreamTries", max);
    bool begun = !l.full;

    for (const struct ml_try *t = ex->trail.tries; t != NULL && !l.full; t = t->next) {
        item_begin(&l);
        one_try(out, t);
        item_end(&l);
    }
    if (begun)
        ml_buf_append(out, ML_STR("]"));
}

/* ---- changes ---- */

static void change(struct ml_buf *out, const struct ml_exchange *ex, const struct ml_change *c)
{
    static const char *const kinds[] = {"set", "add", "remove"};
    struct ml_str value = c->value;

    if (value.len > VALUE_MAX)
        value.len = VALUE_MAX;
    ml_buf_printf(out, "{\"of\":\"%s\",\"change\":\"%s\",", c->response ? "response" : "request",
                  kinds[c->kind]);
    text(out, "name", c->name);
    if (c->kind != ML_CHANGE_REMOVE) {
        ml_buf_append(out, ML_STR(","));
        text(out, "value", sounds_secret(c->name) ? ML_STR("(redacted)") : value);
    }
    if (c->step > 0) {
        ml_buf_append(out, ML_STR(","));
        text(out, "by", ml_steps_label(ml_generation_steps(ex->trail.generation), c->step));
    }
    ml_buf_append(out, ML_STR("}"));
}

static void changes(struct ml_buf *out, const struct ml_exchange *ex, size_t max)
{
    struct list l = list_begin(out, "headerChanges", max);
    bool begun = !l.full;

    for (const struct ml_change *c = ex->trail.changes; c != NULL && !l.full; c = c->next) {
        item_begin(&l);
        change(out, ex, c);
        item_end(&l);
    }
    if (begun)
        ml_buf_append(out, ML_STR("]"));
}

/* ---- the query, without the values of what may be a secret ---- */

static void query(struct ml_buf *out, const struct ml_exchange *ex)
{
    struct ml_buf whole = {0}, known = {0}, shown = {0};
    struct ml_str left;

    ml_buf_append(&whole, ML_STR("?"));
    ml_buf_append(&whole, ex->req.query);
    left = ml_redact_url(ml_buf_str(&whole), &known); /* what the site says */
    left = (struct ml_str){left.p + 1, left.len - 1};
    while (left.len > 0 && ml_buf_len(&shown) < QUERY_MAX) {
        const char *end = memchr(left.p, '&', left.len);
        struct ml_str pair = {left.p, end != NULL ? (size_t)(end - left.p) : left.len};
        const char *equals = memchr(pair.p, '=', pair.len);
        struct ml_str name = {pair.p, equals != NULL ? (size_t)(equals - pair.p) : pair.len};

        if (ml_buf_len(&shown) > 0)
            ml_buf_append(&shown, ML_STR("&"));
        if (pair.len > VALUE_MAX)
            pair.len = VALUE_MAX;
        if (name.len > VALUE_MAX)
            name.len = VALUE_MAX;
        /* an escaped name may hide anything */
        if (equals != NULL && (sounds_secret(name) || memchr(name.p, '%', name.len) != NULL)) {
            ml_buf_append(&shown, name);
            ml_buf_append(&shown, ML_STR("=(redacted)"));
        } else {
            ml_buf_append(&shown, pair);
        }
        if (end == NULL)
            break;
        left.len -= (size_t)(end + 1 - left.p);
        left.p = end + 1;
    }
    ml_buf_append(out, ML_STR(","));
    text(out, "query", ml_buf_str(&shown));
    ml_buf_release(&shown);
    ml_buf_release(&known);
    ml_buf_release(&whole);
}

void ml_record_detail(struct ml_buf *out, struct ml_exchange *ex, size_t max)
{
    if (ex->req.has_query)
        query(out, ex);
    if (ex->trail.error.len > 0) {
        ml_buf_append(out, ML_STR(","));
        text(out, "error",
             (struct ml_str){ex->trail.error.p, ex->trail.error.len < VALUE_MAX
                                                    ? ex->trail.error.len
                                                    : (size_t)VALUE_MAX});
    }
    if (ex->trail.chain != NULL && ex->trail.chain->line.len > 0) {
        ml_buf_append(out, ML_STR(","));
        text(out, "routeAt", ex->trail.chain->line);
    }
    if (ml_buf_len(out) > max / 2) { /* escapes made it six times as long */
        ml_buf_consume(out, ml_buf_len(out));
        ml_buf_append(out, ML_STR(",\"query\":\"(too long)\""));
    }
    steps(out, ex, max);
    tries(out, ex, max);
    changes(out, ex, max);
}
