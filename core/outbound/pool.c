/* pool.c - a list of idle connections, newest first, and one timer for all of them. */
#include "outbound/pool.h"

#include <assert.h>
#include <stdlib.h>

static void link_free(struct ml_link *link)
{
    ml_buf_release(&link->in);
    if (link->stream != NULL) /* else somebody has taken it */
        ml_stream_close(&link->stream);
    free(link);
}

static void unlist(struct ml_link *link)
{
    struct ml_pool *pool = link->pool;

    *(link->newer != NULL ? &link->newer->older : &pool->newest) = link->older;
    *(link->older != NULL ? &link->older->newer : &pool->oldest) = link->newer;
    link->newer = link->older = NULL;
    pool->idle--;
}

static void evict(struct ml_link *link)
{
    unlist(link);
    link_free(link);
}

/* TLS talks to itself: tickets, new keys. */
static bool is_small_talk(struct ml_link *link)
{
    return ml_stream_is_tls(link->stream) &&
           ml_stream_read(link->stream, &link->in, 1, NULL) == ML_AGAIN;
}

/* EOF, an error, or bytes that no request asked for. */
static void idle_ready(void *ctx, int what)
{
    if ((what & ML_STREAM_READ) && !is_small_talk(ctx))
        evict(ctx);
}

static void expire(void *ctx)
{
    struct ml_pool *pool = ctx;
    double now_s = ml_loop_now_s(pool->loop), next_s = 0;
    struct ml_link *link, *newer;

    for (link = pool->oldest; link != NULL; link = newer) {
        newer = link->newer;
        if (link->expire_s <= now_s)
            evict(link);
        else if (next_s == 0 || link->expire_s < next_s)
            next_s = link->expire_s;
    }
    if (next_s > 0)
        ml_timer_set(&pool->timer, next_s - now_s);
}

void ml_pool_init(struct ml_pool *pool, struct ml_loop *loop)
{
    *pool = (struct ml_pool){.loop = loop};
    ml_timer_init(&pool->timer, loop, expire, pool);
}

void ml_pool_configure(struct ml_pool *pool, unsigned idle_max, double timeout_s)
{
    pool->idle_max = idle_max;
    pool->timeout_s = timeout_s;
    while (pool->idle > pool->idle_max)
        evict(pool->oldest);
}

void ml_pool_drop(struct ml_pool *pool)
{
    while (pool->oldest != NULL)
        evict(pool->oldest);
    ml_timer_drop(&pool->timer);
}

struct ml_link *ml_pool_take(struct ml_pool *pool, uint64_t peer)
{
    double now_s = ml_loop_now_s(pool->loop);
    struct ml_link *link, *older;

    for (link = pool->newest; link != NULL; link = older) {
        older = link->older;
        if (link->expire_s <= now_s) {
            evict(link);
        } else if (link->peer == peer) {
            unlist(link);
            return link;
        }
    }
    return NULL;
}

struct ml_link *ml_pool_adopt(struct ml_pool *pool, struct ml_stream **stream, uint64_t peer)
{
    struct ml_link *link = calloc(1, sizeof *link);

    if (link == NULL)
        abort();
    link->pool = pool;
    link->peer = peer;
    link->stream = *stream;
    *stream = NULL;
    return link;
}

void ml_pool_give(struct ml_link **taken, double max_s)
{
    struct ml_link *link = *taken;
    struct ml_pool *pool = link->pool;
    double for_s = max_s > 0 && max_s < pool->timeout_s ? max_s : pool->timeout_s;

    *taken = NULL;
    assert(ml_buf_len(&link->in) == 0);
    if (pool->idle_max == 0) {
        link_free(link);
        return;
    }
    ml_buf_release(&link->in);
    link->served++;
    link->expire_s = ml_loop_now_s(pool->loop) + for_s;
    link->older = pool->newest;
    *(pool->newest != NULL ? &pool->newest->newer : &pool->oldest) = link;
    pool->newest = link;
    ml_stream_listen_to(link->stream, idle_ready, link);
    if (++pool->idle > pool->idle_max)
        evict(pool->oldest);
    if (pool->timer.due_s == 0 || link->expire_s < pool->timer.due_s)
        ml_timer_set(&pool->timer, for_s);
}

void ml_pool_close(struct ml_link **link)
{
    link_free(*link);
    *link = NULL;
}
