/* site.h - what gateway.lua says to the C core: settings, listeners, upstream groups, routes.
 *
 * Filled by the script layer while it loads a generation, read by supervisor and worker.  All
 * memory belongs to the site's arena. */
#ifndef ML_SCRIPT_SITE_H
#define ML_SCRIPT_SITE_H

#include "base/arena.h"
#include "inbound/access_log.h"
#include "inbound/listener.h"
#include "inbound/tracing.h"
#include "outbound/ship.h"
#include "outbound/upstream.h"

enum { ML_SITE_LISTENERS_MAX = 16, ML_SITE_GROUPS_MAX = 512 };

struct ml_settings { /* gw.settings{}; [default]; S: counts at start only, a change is reported */
    unsigned workers;            /* S [one per CPU this process may use] */
    double shutdown_delay;       /* [0] seconds between SIGTERM and the end of accepting */
    double shutdown_timeout;     /* [30] deadline for what is in flight */
    double script_budget_ms;     /* [50] CPU per resume */
    uint64_t script_memory;      /* [128 MiB] bytes per VM */
    double heartbeat_timeout;    /* [10] seconds a worker may be stuck before it is killed */
    double upgrade_timeout;      /* [600] seconds that tunnels outlive an upgrade */
    double script_recycle;       /* [0.75] share of script_memory; fuller VMs are replaced; 0: none */
    double script_max_age;       /* [0: any] seconds after which a VM is replaced */
    uint64_t memory_limit;       /* [0: the cgroup's counts] bytes of a worker */
    uint64_t shared_memory;      /* S [32 MiB] for gw.shared */
    uint64_t limiter_memory;     /* S [8 MiB] for the counters of limits */
    struct ml_str user;          /* S [""] run workers as this user */
    struct ml_str access_log;    /* [""] "" or "-": stdout; "off"; else a file */
    struct ml_str error_log;     /* ["" : stderr] */
    enum ml_log_format error_format;
    struct ml_access_conf access;
    struct ml_str *redact_query; /* names of parameters beside the built-in ones */
    unsigned redact_query_count;
    bool redact_bare;            /* [false] none are built in */
    struct ml_ship_conf ships[ML_SHIPS_MAX];
    unsigned ship_count;
    struct ml_tracing_conf tracing;
    struct ml_str log_level;     /* ["info"] */
    struct ml_str service;       /* ["moonlatch"] name in the log */
    double poll_interval;        /* [2] seconds between content checks of the directory */
    bool development;            /* [false] answers tell what is wrong with scripts */
    bool why_all;                /* [false] the way of each request is noted at length */
    double slow_after;           /* [1] seconds from which on an exchange is kept as slow */
    struct ml_str redact;        /* [""] names of headers, in lower case, each with its NUL */
    struct ml_str admin_listen;  /* [""] "address:port" of the admin API, beside the unix socket */
    struct ml_str admin_token;   /* what its clients must know */
};

struct ml_site {
    struct ml_arena *arena; /* owned */
    struct ml_settings settings;
    struct ml_listener_conf listeners[ML_SITE_LISTENERS_MAX];
    unsigned listener_count;
    struct ml_group_conf groups[ML_SITE_GROUPS_MAX];
    unsigned group_count;
    unsigned route_count; /* "GET|POST /a" counts twice */
};

struct ml_site *ml_site_new(void); /* with defaults */
/* Sites of this process and its children are in development, whatever they say. */
void ml_site_develop(void);
void ml_site_free(struct ml_site **site);

#endif
