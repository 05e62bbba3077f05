/* file_body.c - the producer's end of a pipe, with a file behind it.
 *
 *   consumer takes --on_room--> fill: text of the part | sendfile to the offered socket | read
 *                                 '--- all parts done: eof;  file too short: abort ---> released
 *
 * Reading may wait for the disk when the page is not in memory, as in any server that does not keep
 * threads for it; pieces are small and the kernel reads ahead.  What one body brings into memory in
 * one turn of the loop is bounded, so that a fast client does not keep others waiting. */
#include "inbound/file_body.h"

#include <errno.h>
#include <unistd.h>

enum {
    FIRST = ML_BUF_BLOCK, /* with the head; the rest may leave without passing through memory */
    TURN_MAX = 512 << 10
};

struct ml_file_body { /* in the arena of the exchange */
    struct ml_file_body *next;
    struct ml_pipe *pipe;
    struct ml_file *file; /* held; NULL: it is over */
    const struct ml_file_part *parts;
    unsigned count, at;
    bool texted;   /* the text of parts[at] was sent */
    uint64_t done; /* bytes of parts[at] */
    struct ml_timer timer;
    double turn_s; /* of the turn that `turn` counts for */
    size_t turn;
    bool running;
};

static void release(struct ml_file_body *b)
{
    if (b->file == NULL)
        return;
    ml_timer_drop(&b->timer);
    ml_file_release(&b->file);
}

/* pread that goes on after signals and short reads: false when there is less than len. */
static bool read_at(int fd, char *to, size_t len, uint64_t offset)
{
    while (len > 0) {
        ssize_t n = pread(fd, to, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        to += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return true;
}

/* ---- filling the pipe ---- */

enum step { STEP_MORE, STEP_WAIT, STEP_SHORT };

/* The next turn of the loop goes on. */
static bool others_first(struct ml_file_body *b)
{
    double now_s = ml_loop_now_s(b->timer.loop);

    if (b->turn_s != now_s) {
        b->turn_s = now_s;
        b->turn = 0;
    }
    if (b->turn < TURN_MAX)
        return false;
    b->turn_s = -1;
    ml_timer_set(&b->timer, 0);
    return true;
}

static enum step fill_by_reading(struct ml_file_body *b, const struct ml_file_part *part,
                                 size_t max)
{
    struct ml_pipe *p = b->pipe;
    size_t len = max - ml_buf_len(&p->buf);

    if (len > part->len - b->done)
        len = (size_t)(part->len - b->done);
    if (!read_at(b->file->fd, ml_buf_reserve(&p->buf, len), len, part->offset + b->done))
        return STEP_SHORT;
    ml_buf_commit(&p->buf, len);
    b->done += len;
    b->turn += len;
    ml_pipe_filled(p, len);
    return STEP_MORE;
}

static enum step fill_by_sending(struct ml_file_body *b, const struct ml_file_part *part)
{
    uint64_t offset = part->offset + b->done, left = part->len - b->done;
    enum ml_err err;

    err = ml_pipe_sendfile(b->pipe, b->file->fd, &offset, &left);
    b->done = part->len - left;
    if (err == ML_EOF)
        return STEP_SHORT;
    return err == ML_AGAIN ? STEP_WAIT : STEP_MORE;
}

static enum step fill_part(struct ml_file_body *b, size_t max)
{
    const struct ml_file_part *part = &b->parts[b->at];

    if (!b->texted) {
        b->texted = true;
        ml_pipe_put(b->pipe, part->text);
        return STEP_MORE;
    }
    if (b->done == part->len) {
        b->at++;
        b->done = 0;
        b->texted = false;
        return STEP_MORE;
    }
    if (ml_pipe_full(b->pipe) || ml_buf_len(&b->pipe->buf) >= max)
        return STEP_WAIT;
    if (ml_pipe_splices(b->pipe))
        return fill_by_sending(b, part);
    return others_first(b) ? STEP_WAIT : fill_by_reading(b, part, max);
}

/* The consumer may take, end or drop the pipe inside of each step. */
static void fill(struct ml_file_body *b, size_t max)
{
    enum step step = STEP_MORE;

    if (b->running)
        return;
    b->running = true;
    while (step == STEP_MORE && b->file != NULL && b->pipe->state == ML_PIPE_OPEN &&
           b->at < b->count)
        step = fill_part(b, max);
    b->running = false;
    if (b->file == NULL)
        return;
    if (b->pipe->state == ML_PIPE_OPEN && step == STEP_WAIT)
        return;
    release(b);
    if (step == STEP_SHORT) /* less than was announced must not look like the whole */
        ml_pipe_abort(b->pipe, ML_FILE_CHANGED);
    else
        ml_pipe_eof(b->pipe);
}

static void on_room(void *ctx)
{
    fill(ctx, ML_PIPE_CAP);
}

static void on_timer(void *ctx)
{
    struct ml_file_body *b = ctx;

    if (b->pipe->on_room == on_room)
        fill(b, ML_PIPE_CAP);
}

/* ---- beginning ---- */

static uint64_t length_of(const struct ml_file_part *parts, unsigned count)
{
    uint64_t len = 0;

    for (unsigned i = 0; i < count; i++)
        len += parts[i].text.len + parts[i].len;
    return len;
}

static bool set_bytes(struct ml_exchange *ex, const struct ml_file *f,
                      const struct ml_file_part *parts, unsigned count, size_t len)
{
    char *bytes = ml_arena_alloc(ex->arena, len), *to = bytes;

    for (unsigned i = 0; i < count; i++) {
        if (parts[i].text.len > 0)
            memcpy(to, parts[i].text.p, parts[i].text.len);
        to += parts[i].text.len;
        if (!read_at(f->fd, to, (size_t)parts[i].len, parts[i].offset))
            return false;
        to += parts[i].len;
    }
    ex->res.bytes = (struct ml_str){bytes, len};
    return true;
}

static bool set_pipe(struct ml_exchange *ex, struct ml_file *f, const struct ml_file_part *parts,
                     unsigned count)
{
    struct ml_file_body *b = ml_arena_zalloc(ex->arena, sizeof *b);

    b->pipe = ml_arena_zalloc(ex->arena, sizeof *b->pipe);
    b->pipe->from_file = true;
    b->pipe->on_room = on_room;
    b->pipe->room_ctx = b;
    b->file = ml_file_hold(f);
    b->parts = parts;
    b->count = count;
    b->turn_s = -1;
    ml_timer_init(&b->timer, ex->loop, on_timer, b);
    fill(b, FIRST);
    if (b->pipe->state == ML_PIPE_ABORTED) {
        ml_pipe_free(b->pipe);
        return false;
    }
    b->next = ex->files;
    ex->files = b;
    ex->res.body = b->pipe;
    return true;
}

bool ml_file_body_set(struct ml_exchange *ex, struct ml_file *f, const struct ml_file_part *parts,
                      unsigned count)
{
    uint64_t len = length_of(parts, count);
    bool ok = len <= ML_FILE_BYTES_MAX ? set_bytes(ex, f, parts, count, (size_t)len)
                                       : set_pipe(ex, f, parts, count);

    if (!ok)
        return false;
    ex->res.has_length = true;
    ex->res.length = len;
    return true;
}

void ml_file_bodies_end(struct ml_exchange *ex)
{
    for (; ex->files != NULL; ex->files = ex->files->next) {
        ex->files->pipe->on_room = NULL;
        release(ex->files);
    }
}
