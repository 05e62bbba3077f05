/* splice.c - take into the pipe when it is empty, give from it when it is not.
 *
 * One round takes once and gives once; a source that has more is reported readable again by the
 * loop, after the other connections had their turn. */
#include "transport/splice.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    PIPE_WISH = 1 << 20,
    PIPE_MIN = 1 << 16, /* past its soft limit a user gets pipes of 8 KiB */
    SPARE_MAX = 16,
#ifdef ML_HARD
    TAKE_MAX = 4093, /* so that pieces end where nobody expects it */
#else
    TAKE_MAX = PIPE_WISH,
#endif
    FLAGS = SPLICE_F_MOVE | SPLICE_F_NONBLOCK
};

struct ml_splice {
    int out, in; /* the ends of the pipe, owned */
    size_t held; /* bytes in the pipe */
    bool ended;  /* the source did */
};

static struct ml_splice *spare[SPARE_MAX]; /* empty pipes; an empty pipe holds no pages */
static unsigned spare_count;

struct ml_splice *ml_splice_new(void)
{
    struct ml_splice *sp;
    int ends[2];

    if (spare_count > 0)
        return spare[--spare_count];
    if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0)
        return NULL;
    (void)fcntl(ends[0], F_SETPIPE_SZ, PIPE_WISH); /* a smaller one than wished may do */
    if (fcntl(ends[0], F_GETPIPE_SZ) < PIPE_MIN) {
        close(ends[0]);
        close(ends[1]);
        return NULL;
    }
    sp = calloc(1, sizeof *sp);
    if (sp == NULL)
        abort();
    sp->out = ends[0];
    sp->in = ends[1];
    return sp;
}

static ssize_t move(int from, int to, size_t len)
{
    ssize_t n;

    do
        n = splice(from, NULL, to, NULL, len, FLAGS);
    while (n < 0 && errno == EINTR);
    return n;
}

static enum ml_err take(struct ml_splice *sp, int from, uint64_t *left)
{
    ssize_t n = move(from, sp->in, *left < TAKE_MAX ? (size_t)*left : TAKE_MAX);

    if (n < 0)
        return errno == EAGAIN ? ML_AGAIN : ML_RESET;
    sp->ended = n == 0;
    sp->held = (size_t)n;
    *left -= (uint64_t)n;
    return ML_OK;
}

static enum ml_err give(struct ml_splice *sp, int to, uint64_t *moved)
{
    ssize_t n = move(sp->out, to, sp->held);

    if (n < 0)
        return errno == EAGAIN ? ML_AGAIN : ML_CANCELLED;
    sp->held -= (size_t)n;
    *moved += (uint64_t)n;
    return sp->held > 0 ? ML_AGAIN : ML_OK;
}

enum ml_err ml_splice_move(struct ml_splice *sp, int from, int to, uint64_t *left, uint64_t *moved,
                           bool *want_read, bool *want_write)
{
    enum ml_err err = ML_OK;

    *want_read = *want_write = false;
    if (sp->held == 0 && *left > 0 && !sp->ended) {
        err = take(sp, from, left);
        *want_read = err == ML_AGAIN;
    }
    if (err == ML_OK && sp->held > 0) {
        err = give(sp, to, moved);
        *want_write = err == ML_AGAIN;
    }
    if (err != ML_OK || *left == 0)
        return err;
    if (sp->ended)
        return ML_EOF;
    *want_read = true;
    return ML_AGAIN;
}

size_t ml_splice_held(const struct ml_splice *sp)
{
    return sp->held;
}

void ml_splice_free(struct ml_splice **splice)
{
    struct ml_splice *sp = *splice;

    if (sp == NULL)
        return;
    *splice = NULL;
    if (sp->held == 0 && spare_count < SPARE_MAX) {
        sp->ended = false;
        spare[spare_count++] = sp;
        return;
    }
    close(sp->out);
    close(sp->in);
    free(sp);
}
