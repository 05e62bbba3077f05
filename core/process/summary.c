/* summary.c - packs and unpacks field by field, in the order of struct ml_settings. */
#include "process/summary.h"

#include "process/pack.h"

#include <inttypes.h>
#include <math.h>

static void pack_settings(struct ml_buf *out, const struct ml_settings *s)
{
    ml_pack_u64(out, s->workers);
    ml_pack_double(out, s->shutdown_delay);
    ml_pack_double(out, s->shutdown_timeout);
    ml_pack_double(out, s->heartbeat_timeout);
    ml_pack_double(out, s->upgrade_timeout);
    ml_pack_u64(out, s->shared_memory);
    ml_pack_u64(out, s->limiter_memory);
    ml_pack_str(out, s->user);
    ml_pack_str(out, s->access_log);
    ml_pack_str(out, s->error_log);
    ml_pack_str(out, s->log_level);
    ml_pack_str(out, s->service);
    ml_pack_double(out, s->poll_interval);
    ml_pack_str(out, s->admin_listen);
    ml_pack_str(out, s->admin_token);
}

void ml_summary_pack(struct ml_buf *out, const struct ml_site *site, struct ml_str hash,
                     struct ml_str more, struct ml_str warnings)
{
    pack_settings(out, &site->settings);
    ml_pack_str(out, hash);
    ml_pack_str(out, more);
    ml_pack_str(out, warnings);
    ml_pack_u64(out, site->route_count);
    ml_pack_u64(out, site->listener_count);
    for (unsigned i = 0; i < site->listener_count; i++) {
        ml_pack_str(out, site->listeners[i].host);
        ml_pack_u64(out, (uint64_t)site->listeners[i].port);
    }
}

static struct ml_str unpack_text(struct ml_unpack *in, struct ml_arena *arena)
{
    return ml_arena_dup(arena, ml_unpack_str(in));
}

/* A time in seconds: never negative, never so large that a timer cannot hold it. */
static double unpack_time_s(struct ml_unpack *in)
{
    double s = ml_unpack_double(in);

    if (!(s >= 0 && s <= 1e9))
        in->bad = true;
    return in->bad ? 0 : s;
}

static void unpack_settings(struct ml_unpack *in, struct ml_arena *arena, struct ml_settings *s)
{
    uint64_t workers = ml_unpack_u64(in);

    in->bad |= workers > ML_SHM_WORKERS_MAX;
    s->workers = (unsigned)workers;
    s->shutdown_delay = unpack_time_s(in);
    s->shutdown_timeout = unpack_time_s(in);
    s->heartbeat_timeout = unpack_time_s(in);
    s->upgrade_timeout = unpack_time_s(in);
    s->shared_memory = ml_unpack_u64(in);
    s->limiter_memory = ml_unpack_u64(in);
    s->user = unpack_text(in, arena);
    s->access_log = unpack_text(in, arena);
    s->error_log = unpack_text(in, arena);
    s->log_level = unpack_text(in, arena);
    s->service = unpack_text(in, arena);
    s->poll_interval = unpack_time_s(in);
    s->admin_listen = unpack_text(in, arena);
    s->admin_token = unpack_text(in, arena);
}

static void unpack_listeners(struct ml_unpack *in, struct ml_summary *s)
{
    uint64_t count = ml_unpack_u64(in);

    in->bad |= count > ML_SITE_LISTENERS_MAX;
    for (uint64_t i = 0; i < count && !in->bad; i++) {
        uint64_t port;

        s->listeners[i].host = unpack_text(in, s->arena);
        port = ml_unpack_u64(in);
        in->bad |= port > 65535;
        s->listeners[i].port = (int)(port & 0xffff);
        s->listener_count++;
    }
}

struct ml_summary *ml_summary_unpack(struct ml_str bytes)
{
    struct ml_arena *arena = ml_arena_new();
    struct ml_summary *s = ml_arena_zalloc(arena, sizeof *s);
    struct ml_unpack in = {.left = bytes};

    s->arena = arena;
    unpack_settings(&in, arena, &s->settings);
    s->hash = unpack_text(&in, arena);
    s->more = unpack_text(&in, arena);
    in.bad |= s->more.len > 0 && s->more.p[s->more.len - 1] != '\0';
    s->warnings = unpack_text(&in, arena);
    s->route_count = (unsigned)ml_unpack_u64(&in);
    unpack_listeners(&in, s);
    if (!ml_unpack_done(&in))
        ml_summary_free(&s);
    return s;
}

void ml_summary_free(struct ml_summary **summary)
{
    struct ml_arena *arena;

    if (*summary == NULL)
        return;
    arena = (*summary)->arena;
    *summary = NULL;
    ml_arena_free(&arena);
}

void ml_summary_restart_notes(const struct ml_settings *started, const struct ml_settings *now,
                              struct ml_buf *notes)
{
    if (started->workers != now->workers)
        ml_buf_printf(notes, "workers = %u needs a restart (started with %u)\n", now->workers,
                      started->workers);
    if (!ml_str_eq(started->user, now->user))
        ml_buf_printf(notes, "user = \"%.*s\" needs a restart (started with \"%.*s\")\n",
                      (int)now->user.len, now->user.p, (int)started->user.len, started->user.p);
    if (started->shared_memory != now->shared_memory)
        ml_buf_printf(notes,
                      "shared_memory = %" PRIu64 " needs a restart (started with %" PRIu64 ")\n",
                      now->shared_memory, started->shared_memory);
    if (started->limiter_memory != now->limiter_memory)
        ml_buf_printf(notes,
                      "limiter_memory = %" PRIu64 " needs a restart (started with %" PRIu64 ")\n",
                      now->limiter_memory, started->limiter_memory);
}
