/* lines.c - records in one buffer: a head of fixed size, then the bytes. */
#include "base/lines.h"

#include "base/buf.h"

#include <assert.h>
#include <stdlib.h>

struct head {
    uint64_t number;
    size_t len;
};

struct ml_lines {
    struct ml_buf buf;
    size_t cap;
    unsigned count, taken;
    size_t taken_len; /* bytes of the taken records at the front */
    uint64_t dropped;
};

const struct ml_metric_def ml_lines_dropped_def = {
    .kind = ML_COUNTER,
    .name = "moonlatch_log_lines_dropped_total",
    .help = "Lines of the logs that were lost as the reader was stuck or the disk full",
    .labels = {"log"}};

static uint64_t last_number; /* of this process */

struct ml_lines *ml_lines_new(size_t cap)
{
    struct ml_lines *l = calloc(1, sizeof *l);

    if (l == NULL)
        abort();
    l->cap = cap;
    return l;
}

void ml_lines_free(struct ml_lines **lines)
{
    struct ml_lines *l = *lines;

    *lines = NULL;
    if (l == NULL)
        return;
    ml_buf_release(&l->buf);
    free(l);
}

static struct head head_at(const struct ml_lines *l, size_t at)
{
    struct head h;

    memcpy(&h, ml_buf_str(&l->buf).p + at, sizeof h);
    return h;
}

static void append(struct ml_lines *l, struct ml_str line, uint64_t number)
{
    struct head h = {.number = number, .len = line.len};

    ml_buf_append(&l->buf, (struct ml_str){(const char *)&h, sizeof h});
    ml_buf_append(&l->buf, line);
    l->count++;
}

/* Cuts the oldest records that are not taken until len bytes are free.  False: there are none. */
static bool make_room(struct ml_lines *l, size_t len)
{
    size_t at = l->taken_len, total = ml_buf_len(&l->buf), over;
    char *p = l->buf.p + l->buf.start;

    if (len > l->cap || l->taken_len > l->cap - len)
        return false;
    over = total + len > l->cap ? total + len - l->cap : 0;
    while (at < total && at - l->taken_len < over) {
        at += sizeof(struct head) + head_at(l, at).len;
        l->count--;
        l->dropped++;
    }
    if (l->taken_len > 0 && at > l->taken_len) /* the taken ones move up to the rest */
        memmove(p + at - l->taken_len, p, l->taken_len);
    ml_buf_consume(&l->buf, at - l->taken_len);
    return true;
}

static void push(struct ml_lines *l, struct ml_str line, uint64_t number)
{
    size_t len = sizeof(struct head) + line.len;

    if (ml_buf_len(&l->buf) + len > l->cap && !make_room(l, len)) {
        l->dropped++;
        return;
    }
    append(l, line, number);
}

void ml_lines_push(struct ml_lines *l, struct ml_str line)
{
    push(l, line, ++last_number);
}

void ml_lines_move(struct ml_lines *to, struct ml_lines *from)
{
    size_t at = 0;

    while (at < ml_buf_len(&from->buf)) {
        struct head h = head_at(from, at);

        push(to, (struct ml_str){ml_buf_str(&from->buf).p + at + sizeof h, h.len}, h.number);
        at += sizeof h + h.len;
    }
    ml_buf_release(&from->buf);
    from->count = from->taken = 0;
    from->taken_len = 0;
}

unsigned ml_lines_take(struct ml_lines *l, unsigned count, size_t len)
{
    assert(l->taken == 0);
    while (l->taken < count && l->taken < l->count) {
        size_t next = sizeof(struct head) + head_at(l, l->taken_len).len;

        if (l->taken > 0 && l->taken_len + next > len)
            break;
        l->taken_len += next;
        l->taken++;
    }
    return l->taken;
}

unsigned ml_lines_taken(const struct ml_lines *l)
{
    return l->taken;
}

bool ml_lines_next(const struct ml_lines *l, size_t *at, struct ml_str *line, uint64_t *number)
{
    struct head h;

    if (*at >= l->taken_len)
        return false;
    h = head_at(l, *at);
    *line = (struct ml_str){ml_buf_str(&l->buf).p + *at + sizeof h, h.len};
    *number = h.number;
    *at += sizeof h + h.len;
    return true;
}

/* What is kept goes to the end of the taken part, in order. */
void ml_lines_settle(struct ml_lines *l, const bool *keep)
{
    char *p = l->buf.p + l->buf.start;
    struct ml_buf kept = {0};
    size_t at = 0;

    for (unsigned i = 0; i < l->taken; i++) {
        size_t len = sizeof(struct head) + head_at(l, at).len;

        if (keep != NULL && keep[i])
            ml_buf_append(&kept, (struct ml_str){p + at, len});
        else
            l->count--;
        at += len;
    }
    if (ml_buf_len(&kept) > 0)
        memcpy(p + l->taken_len - ml_buf_len(&kept), ml_buf_str(&kept).p, ml_buf_len(&kept));
    ml_buf_consume(&l->buf, l->taken_len - ml_buf_len(&kept));
    ml_buf_release(&kept);
    ml_lines_put_back(l);
    if (l->count == 0)
        ml_buf_release(&l->buf);
}

void ml_lines_put_back(struct ml_lines *l)
{
    l->taken = 0;
    l->taken_len = 0;
}

unsigned ml_lines_count(const struct ml_lines *l)
{
    return l->count;
}

size_t ml_lines_bytes(const struct ml_lines *l)
{
    return ml_buf_len(&l->buf);
}

uint64_t ml_lines_dropped(const struct ml_lines *l)
{
    return l->dropped;
}
