/* site.c - what a site says to the core, with the defaults of what it does not say. */
#include "script/site.h"

static bool developing;

void ml_site_develop(void)
{
    developing = true;
}

struct ml_site *ml_site_new(void)
{
    struct ml_arena *arena = ml_arena_new();
    struct ml_site *site = ml_arena_zalloc(arena, sizeof *site);

    site->arena = arena;
    site->settings = (struct ml_settings){
        .shutdown_timeout = 30,
        .script_budget_ms = 50,
        .script_memory = (uint64_t)128 << 20,
        .heartbeat_timeout = 10,
        .upgrade_timeout = 600,
        .script_recycle = 0.75,
        .shared_memory = (uint64_t)32 << 20,
        .limiter_memory = (uint64_t)8 << 20,
        .user = ML_STR(""),
        .access_log = ML_STR(""),
        .error_log = ML_STR(""),
        .log_level = ML_STR("info"),
        .service = ML_STR("moonlatch"),
        .poll_interval = 2,
        .development = developing,
        .slow_after = 1,
        .redact = ML_STR(""),
        .admin_listen = ML_STR(""),
        .admin_token = ML_STR(""),
    };
    return site;
}

void ml_site_free(struct ml_site **site)
{
    struct ml_arena *arena;

    if (*site == NULL)
        return;
    for (unsigned i = 0; i < (*site)->listener_count; i++)
        ml_tls_free(&(*site)->listeners[i].tls);
    arena = (*site)->arena;
    *site = NULL;
    ml_arena_free(&arena);
}
