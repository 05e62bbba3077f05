/* watch.c - inotify says "soon", the hash of the content says "now".
 *
 *   event --settle: 0.1 s of quiet, 1 s at most--> new watches, then look
 *   every poll_s seconds, the hash is another one than `seen` --> settle
 *   look: the hash is another one than `seen` --> changed()
 *
 * The watches are made anew after each burst of events, so it does not matter what the events were.
 * Watched are the directories of the site, for what happens in them, and each part of the path that
 * leads there (links and the directories they lead through), for being moved or deleted. */
#include "process/watch.h"

#include "base/log_event.h"
#include "script/scan.h"
#include "script/snapshot.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

static const double SETTLE_S = 0.1, SETTLE_MAX_S = 1.0;
enum { LINKS_MAX = 40, READS_MAX = 64 };
enum {
    IN_PART = IN_MOVE_SELF | IN_DELETE_SELF | IN_DONT_FOLLOW | IN_MASK_ADD,
    IN_LINK = IN_PART | IN_ATTRIB, /* replaced by rename(2): its link count changes */
    IN_ARRIVAL = IN_CREATE | IN_MOVED_TO | IN_ONLYDIR | IN_MASK_ADD,
    IN_SITE = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ONLYDIR |
              IN_MASK_ADD,
};

struct ml_watch {
    struct ml_loop *loop; /* borrowed */
    char *dir;
    struct ml_buf more; /* names of further files */
    double poll_s;
    void (*changed)(void *ctx);
    void *ctx;
    int fd; /* inotify, or -1: only the poll */
    ev_io io;
    struct ml_timer settle, poll;
    double burst_s; /* when the events that settle began, 0: none */
    char seen[17];  /* what was reported or committed last */
    bool warned;
};

/* ---- what is watched ---- */

static bool add(struct ml_watch *w, const char *path, uint32_t mask)
{
    if (inotify_add_watch(w->fd, path, mask) >= 0)
        return true;
    if ((errno == ENOSPC || errno == ENOMEM) && !w->warned) {
        w->warned = true;
        ml_log_event(ML_LOG_WARN,
                     "the site is polled only: the system allows no more inotify watches",
                     ML_KV("directory", w->dir));
    }
    return false;
}

static void on_directory(void *ctx, int dir_fd)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/self/fd/%d", dir_fd);
    add(ctx, path, IN_SITE);
}

static void watch_site(struct ml_watch *w)
{
    struct ml_scan scan = {.dir = w->dir, .entered = on_directory, .ctx = w};
    struct ml_buf why = {0};

    ml_scan_run(&scan, &why); /* what cannot be read now is found by the look that follows */
    ml_scan_drop(&scan);
    ml_buf_release(&why);
}

/* Puts the target of a link in the place of what was walked so far: path is "/a/link" + rest. */
static bool follow(char path[PATH_MAX], size_t end)
{
    char target[PATH_MAX], whole[PATH_MAX], part[PATH_MAX];
    ssize_t len;
    size_t base;

    memcpy(part, path, end);
    part[end] = '\0';
    len = readlink(part, target, sizeof target - 1);
    if (len <= 0)
        return false;
    target[len] = '\0';
    base = target[0] == '/' ? 0 : (size_t)(strrchr(part, '/') - part) + 1;
    len = snprintf(whole, sizeof whole, "%.*s%s%s", (int)base, part, target, path + end);
    if (len < 0 || (size_t)len >= sizeof whole)
        return false;
    memcpy(path, whole, (size_t)len + 1);
    return true;
}

/* A part of the path is missing: the directory before it says when it arrives. */
static void await_arrival(struct ml_watch *w, char *path, size_t start)
{
    path[start > 1 ? start - 1 : start] = '\0';
    add(w, path, IN_ARRIVAL);
}

/* Each part of the path for itself, "/a", "/a/b"; a link begins again at what it points to. */
static void watch_path(struct ml_watch *w, char path[PATH_MAX])
{
    int links = 0;
    size_t start = 1, end;

    while (path[start] != '\0') {
        struct stat st;
        char kept;

        end = start + strcspn(path + start, "/");
        kept = path[end];
        path[end] = '\0';
        if (lstat(path, &st) != 0 || !add(w, path, S_ISLNK(st.st_mode) ? IN_LINK : IN_PART)) {
            await_arrival(w, path, start);
            return;
        }
        path[end] = kept;
        if (S_ISLNK(st.st_mode)) {
            if (++links > LINKS_MAX || !follow(path, end))
                return;
            start = 1;
        } else {
            start = end + strspn(path + end, "/");
        }
    }
}

static bool absolute(const char *dir, char path[PATH_MAX])
{
    char here[PATH_MAX];
    int len;

    if (dir[0] == '/')
        len = snprintf(path, PATH_MAX, "%s", dir);
    else if (getcwd(here, sizeof here) != NULL)
        len = snprintf(path, PATH_MAX, "%s/%s", here, dir);
    else
        return false;
    return len > 0 && len < PATH_MAX;
}

static void on_events(struct ev_loop *ev, ev_io *io, int events);

static void stop_inotify(struct ml_watch *w)
{
    if (w->fd < 0)
        return;
    ev_io_stop(ml_loop_ev(w->loop), &w->io);
    close(w->fd);
    w->fd = -1;
}

static void start_inotify(struct ml_watch *w)
{
    char path[PATH_MAX];

    w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (w->fd < 0) {
        if (!w->warned)
            ml_log_event(ML_LOG_WARN, "the site is polled only: there is no inotify",
                         ML_KV("error", strerror(errno)));
        w->warned = true;
        return;
    }
    if (absolute(w->dir, path))
        watch_path(w, path);
    watch_site(w);
    ev_io_init(&w->io, on_events, w->fd, EV_READ);
    w->io.data = w;
    ev_io_start(ml_loop_ev(w->loop), &w->io);
}

/* ---- looking ---- */

static bool is_seen(struct ml_watch *w, char hash[17])
{
    ml_snapshot_hash_with(w->dir, ml_buf_str(&w->more), hash);
    return strcmp(hash, w->seen) == 0;
}

/* Makes the watches anew before the look, so that no change falls in between. */
static void look(struct ml_watch *w)
{
    char hash[17];

    stop_inotify(w);
    start_inotify(w);
    if (is_seen(w, hash))
        return;
    memcpy(w->seen, hash, sizeof hash);
    w->changed(w->ctx); /* last: it may free w */
}

static void on_settled(void *ctx)
{
    struct ml_watch *w = ctx;

    w->burst_s = 0;
    look(w);
}

/* ---- events ---- */

static void settle(struct ml_watch *w)
{
    double now = ml_loop_now_s(w->loop), latest;

    if (w->burst_s <= 0)
        w->burst_s = now;
    latest = w->burst_s + SETTLE_MAX_S;
    ml_timer_set(&w->settle, now + SETTLE_S < latest ? SETTLE_S : latest > now ? latest - now : 0);
}

/* Files that are only created are written next; editors' files and hidden ones are no part of the
 * site, but "..data" is the link that a Kubernetes volume swaps. */
static bool matters(const struct inotify_event *e)
{
    size_t len = e->len > 0 ? strnlen(e->name, e->len) : 0;

    if (e->mask & IN_IGNORED)
        return false;
    if (len == 0 || e->mask & IN_Q_OVERFLOW)
        return true;
    if (e->mask & IN_CREATE && !(e->mask & IN_ISDIR))
        return false;
    if (e->name[0] == '.')
        return strcmp(e->name, "..data") == 0;
    return e->name[len - 1] != '~' && e->name[0] != '#';
}

static bool any_matters(const char *p, size_t len)
{
    bool any = false;

    while (len >= sizeof(struct inotify_event)) {
        const struct inotify_event *e = (const struct inotify_event *)p;
        size_t size = sizeof *e + e->len;

        assert(size <= len); /* inotify(7) */
        any |= matters(e);
        p += size;
        len -= size;
    }
    return any;
}

static void on_events(struct ev_loop *ev, ev_io *io, int events)
{
    char bytes[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    struct ml_watch *w = io->data;
    bool any = false;
    ssize_t n;

    (void)ev;
    (void)events;
    for (int left = READS_MAX; left > 0; left--) {
        n = read(w->fd, bytes, sizeof bytes);
        if (n <= 0)
            break;
        any |= any_matters(bytes, (size_t)n);
    }
    if (any)
        settle(w);
}

/* ---- the poll ---- */

static void on_poll(void *ctx)
{
    struct ml_watch *w = ctx;
    char hash[17];

    ml_timer_set(&w->poll, w->poll_s);
    if (!is_seen(w, hash))
        settle(w); /* it may be in the middle of being written */
}

/* ---- life ---- */

struct ml_watch *ml_watch_new(struct ml_loop *loop, const char *dir, double poll_s,
                              void (*changed)(void *ctx), void *ctx)
{
    struct ml_watch *w = calloc(1, sizeof *w);

    if (w == NULL || (w->dir = strdup(dir)) == NULL)
        abort();
    w->loop = loop;
    w->poll_s = poll_s;
    w->changed = changed;
    w->ctx = ctx;
    ml_timer_init(&w->settle, loop, on_settled, w);
    ml_timer_init(&w->poll, loop, on_poll, w);
    start_inotify(w);
    ml_snapshot_hash_dir(dir, w->seen);
    ml_timer_set(&w->poll, poll_s);
    return w;
}

void ml_watch_committed(struct ml_watch *w, const char *hash)
{
    snprintf(w->seen, sizeof w->seen, "%.16s", hash);
}

void ml_watch_reported(struct ml_watch *w)
{
    char hash[17];

    if (!is_seen(w, hash))
        memcpy(w->seen, hash, sizeof hash);
}

void ml_watch_set_more(struct ml_watch *w, struct ml_str more)
{
    ml_buf_consume(&w->more, ml_buf_len(&w->more));
    ml_buf_append(&w->more, more);
}

void ml_watch_set_poll(struct ml_watch *w, double poll_s)
{
    w->poll_s = poll_s;
    ml_timer_set(&w->poll, poll_s);
}

static void watch_release(void *p)
{
    struct ml_watch *w = p;

    free(w->dir);
    ml_buf_release(&w->more);
    free(w);
}

void ml_watch_free(struct ml_watch **wp)
{
    struct ml_watch *w = *wp;

    if (w == NULL)
        return;
    *wp = NULL;
    stop_inotify(w);
    ml_timer_drop(&w->settle);
    ml_timer_drop(&w->poll);
    ml_loop_bury(w->loop, watch_release, w);
}
