/* redis_dial.c - an attempt to connect. */
#include "outbound/redis_dial.h"

#include "outbound/server.h"

enum { ADDRS_MAX = 8 };

static void finish(struct ml_redis_dial *d, enum ml_err err)
{
    struct ml_stream *stream = d->stream;

    d->stream = NULL;
    d->done(d->ctx, err, &stream);
}

static void on_stream(void *ctx, int what);

static void connect_next(struct ml_redis_dial *d, const struct ml_addr *addrs, unsigned count)
{
    while (d->tried < count && d->tried < ADDRS_MAX) {
        if (ml_stream_connect(d->o->loop, &addrs[d->tried++], &d->stream) != ML_OK)
            continue;
        ml_stream_listen_to(d->stream, on_stream, d);
        return;
    }
    finish(d, ML_UP_CONNECT);
}

static void step(void *ctx)
{
    struct ml_redis_dial *d = ctx;
    const struct ml_addr *addrs;
    enum ml_err err;
    unsigned count = ml_name_addresses(d->name, &addrs, &err);

    if (count > 0)
        connect_next(d, addrs, count);
    else if (err == ML_AGAIN)
        ml_name_wait(d->name, &d->waiter);
    else
        finish(d, ML_UP_RESOLVE);
}

static void on_stream(void *ctx, int what)
{
    struct ml_redis_dial *d = ctx;
    enum ml_err err = ml_stream_connected(d->stream);

    (void)what;
    if (err == ML_AGAIN) {
        ml_stream_want_write(d->stream);
    } else if (err == ML_OK) {
        finish(d, ML_OK);
    } else {
        ml_stream_close(&d->stream);
        step(d); /* the next address, if there is one */
    }
}

void ml_redis_dial_init(struct ml_redis_dial *d, struct ml_outbound *o,
                        const struct ml_redis_place *place,
                        void (*done)(void *ctx, enum ml_err err, struct ml_stream **stream),
                        void *ctx)
{
    *d = (struct ml_redis_dial){.o = o, .place = place, .done = done, .ctx = ctx};
    d->waiter.done = step;
    d->waiter.ctx = d;
}

void ml_redis_dial_start(struct ml_redis_dial *d)
{
    d->tried = 0;
    if (d->name == NULL)
        d->name = ml_resolver_watch(d->o->resolver, ml_str_of(d->place->host), d->place->port);
    step(d);
}

void ml_redis_dial_stop(struct ml_redis_dial *d)
{
    ml_name_unwait(&d->waiter);
    ml_stream_close(&d->stream);
}

void ml_redis_dial_drop(struct ml_redis_dial *d)
{
    ml_redis_dial_stop(d);
    ml_name_release(&d->name);
}
