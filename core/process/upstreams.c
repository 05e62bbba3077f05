/* upstreams.c - one object for each server. */
#include "process/upstreams.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log_event.h"
#include "outbound/health.h"

#include <inttypes.h>

static struct ml_str name_of(const struct ml_shm_server *s)
{
    return (struct ml_str){s->name, strnlen(s->name, sizeof s->name)};
}

static void split(struct ml_str name, struct ml_str *group, struct ml_str *server)
{
    const char *space = memrchr(name.p, ' ', name.len); /* a URL has none */
    size_t len = space != NULL ? (size_t)(space - name.p) : name.len;
    size_t at = space != NULL ? len + 1 : name.len;

    *group = (struct ml_str){name.p, len};
    *server = (struct ml_str){name.p + at, name.len - at};
}

static void error_text(struct ml_buf *out, const char *key, uint32_t error)
{
    struct ml_buf word = {0};

    ml_buf_printf(out, ",\"%s\":", key);
    if (error == 0) {
        ml_buf_append(out, ML_STR("null"));
        return;
    }
    ml_health_error_text(error, &word);
    ml_json_string(out, ml_buf_str(&word));
    ml_buf_release(&word);
}

static void when(struct ml_buf *out, const char *key, uint64_t wall_ms)
{
    ml_buf_printf(out, ",\"%s\":", key);
    if (wall_ms == 0) {
        ml_buf_append(out, ML_STR("null"));
        return;
    }
    ml_buf_append(out, ML_STR("\""));
    ml_log_timestamp(out, (double)wall_ms / 1000);
    ml_buf_append(out, ML_STR("\""));
}

static void checks(struct ml_buf *out, const struct ml_shm_server *s, uint64_t now_ms)
{
    static const char *const verdicts[] = {"unknown", "up", "down", "unknown"};
    uint64_t last_ms = atomic_load(&s->checked_ms);

    ml_buf_append(out, ML_STR(",\"check\":"));
    if ((atomic_load(&s->flags) & ML_SHM_SERVER_CHECKED) == 0) {
        ml_buf_append(out, ML_STR("null"));
        return;
    }
    ml_buf_printf(out, "{\"state\":\"%s\",\"count\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"ago\":",
                  verdicts[ml_health_check_state(s)], atomic_load(&s->checks),
                  atomic_load(&s->checks_failed));
    if (last_ms == 0)
        ml_buf_append(out, ML_STR("null"));
    else
        ml_buf_printf(out, "%.3f", (double)(now_ms > last_ms ? now_ms - last_ms : 0) / 1000);
    error_text(out, "error", atomic_load(&s->check_result));
    ml_buf_append(out, ML_STR("}"));
}

static void server_json(struct ml_buf *out, const struct ml_shm_server *s, uint64_t now_ms)
{
    struct ml_str group, server;

    split(name_of(s), &group, &server);
    ml_buf_append(out, ML_STR("{\"group\":"));
    ml_json_string(out, group);
    ml_buf_append(out, ML_STR(",\"server\":"));
    ml_json_string(out, server);
    ml_buf_printf(out, ",\"state\":\"%s\",\"listed\":%s,\"backup\":%s,\"weight\":%u",
                  ml_health_word(s, now_ms), atomic_load(&s->unlisted_ms) == 0 ? "true" : "false",
                  atomic_load(&s->flags) & ML_SHM_SERVER_BACKUP ? "true" : "false",
                  atomic_load(&s->weight));
    ml_buf_printf(out, ",\"inFlight\":%u,\"fails\":%u", atomic_load(&s->in_flight),
                  atomic_load(&s->fails));
    ml_buf_printf(out, ",\"requests\":%" PRIu64 ",\"errors\":%" PRIu64, atomic_load(&s->requests),
                  atomic_load(&s->errors));
    checks(out, s, now_ms);
    error_text(out, "lastError", atomic_load(&s->last_error));
    when(out, "lastErrorAt", atomic_load(&s->last_error_ms));
    ml_buf_append(out, ML_STR("}"));
}

static bool shown(const struct ml_shm_server *s)
{
    return atomic_load(&s->unlisted_ms) == 0 || atomic_load(&s->in_flight) > 0;
}

void ml_upstreams_json(struct ml_shm *shm, struct ml_buf *out)
{
    uint64_t now_ms = ml_clock_mono_ms();
    struct ml_shm_server *s;
    bool first = true;

    ml_buf_append(out, ML_STR("["));
    for (unsigned i = 0; (s = ml_shm_server_at(shm, i)) != NULL; i++) {
        if (!shown(s))
            continue;
        if (!first)
            ml_buf_append(out, ML_STR(","));
        first = false;
        server_json(out, s, now_ms);
    }
    ml_buf_append(out, ML_STR("]"));
}

/* ---- drain ---- */

static bool is_called(struct ml_str url, struct ml_str name)
{
    const char *slashes = memmem(url.p, url.len, "://", 3);
    size_t skip = slashes != NULL ? (size_t)(slashes - url.p) + 3 : 0;

    return ml_str_eq(url, name) ||
           (skip > 0 && ml_str_eq((struct ml_str){url.p + skip, url.len - skip}, name));
}

static struct ml_shm_server *find(struct ml_shm *shm, struct ml_str group, struct ml_str server)
{
    struct ml_shm_server *s = ml_shm_server_find(shm, group, server);
    struct ml_str its_group, url;

    if (s != NULL && shown(s))
        return s;
    for (unsigned i = 0; (s = ml_shm_server_at(shm, i)) != NULL; i++) {
        split(name_of(s), &its_group, &url);
        if (shown(s) && ml_str_eq(its_group, group) && is_called(url, server))
            return s;
    }
    return NULL;
}

bool ml_upstreams_drain(struct ml_shm *shm, struct ml_str group, struct ml_str server, bool on,
                        struct ml_buf *json)
{
    struct ml_shm_server *s = find(shm, group, server);
    uint64_t now_ms = ml_clock_mono_ms();
    struct ml_str its_group, url;
    bool changed;

    if (s == NULL) {
        ml_buf_append(json,
                      ML_STR("{\"error\":\"there is no such server: see moonlatch status\"}"));
        return false;
    }
    changed = ml_health_drain(s, on, now_ms);
    split(name_of(s), &its_group, &url);
    if (changed)
        ml_log_event(ML_LOG_INFO,
                     on ? "upstream server is drained" : "upstream server is used again",
                     ML_KV("upstream", its_group), ML_KV("server", url));
    ml_buf_printf(json, "{\"changed\":%s,\"server\":", changed ? "true" : "false");
    server_json(json, s, now_ms);
    ml_buf_append(json, ML_STR("}"));
    return true;
}
