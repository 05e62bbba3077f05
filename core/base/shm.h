/* shm.h - the memory that all workers share: one anonymous mapping made before the fork.
 *
 * A worker may be killed at any instruction: words are changed by single atomic operations, larger
 * records sit under robust mutexes whose next owner repairs them. */
#ifndef ML_BASE_SHM_H
#define ML_BASE_SHM_H

#include "base/str.h"

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

enum { ML_SHM_OLD_MAX = 12 };
enum { ML_SHM_WORKERS_MAX = 256, ML_SHM_SERVERS_MAX = 4096, ML_SHM_SECRET_LEN = 32 };

struct ml_shm_worker {                     /* one cache line and more per worker: its heartbeat */
    _Alignas(64) _Atomic uint64_t beat_ms; /* monotonic time of the last turn of the loop */
    _Atomic uint64_t script_since_ms;      /* when the script that runs now was resumed; 0: none */
    _Atomic uint32_t generation;
    _Atomic uint32_t connections; /* open client connections */
    _Atomic uint32_t websockets;  /* open WebSockets: tunnels, and those that end in a script */
    _Atomic uint64_t requests;    /* finished exchanges */
    _Atomic uint64_t h2_calmed;   /* connections of HTTP/2 that were closed for what they did */
    _Atomic uint64_t log_dropped; /* log lines lost because the sink was stuck */
    char script[128];             /* route and script in hand; written by the worker only */
    struct {                      /* generations that still have something in hand; number 0: free */
        _Atomic uint32_t number, exchanges;
    } in_hand[ML_SHM_OLD_MAX];
};

/* How the last check of a server ended, beside the words of enum ml_err. */
enum {
    ML_SHM_CHECK_STATUS = 1000, /* + the status: not one that is expected */
    ML_SHM_CHECK_BODY = 2000
}; /* the body does not contain what is expected */

struct ml_shm_server {                 /* what all workers know of one upstream server */
    _Alignas(64) _Atomic uint64_t key; /* hash of "group\0address"; 0: free slot */
    _Atomic uint32_t in_flight;        /* all workers; see ml_shm_server_release_worker */
    _Atomic uint32_t fails;            /* within the current window */
    _Atomic uint64_t window_ms;        /* monotonic begin of the window of fails */
    _Atomic uint64_t down_until_ms;    /* monotonic; ejected while now is before it */
    _Atomic uint64_t requests, errors;
    _Atomic uint32_t last_error; /* enum ml_err of a request, or how a check ended; 0: none yet */
    _Atomic uint32_t check;      /* verdict and streak of the checks; outbound/health.h */
    _Atomic uint32_t drained;    /* an operator wants no new requests for it */
    _Atomic uint32_t weight;     /* of the list it is in; for status */
    _Atomic uint64_t last_error_ms; /* wall clock */
    _Atomic uint64_t recovered_ms;  /* monotonic; its weight grows from then on; 0: long ago */
    _Atomic uint64_t checked_ms;    /* monotonic begin of the last check; 0: none yet */
    _Atomic uint64_t checks, checks_failed;
    _Atomic uint32_t check_result; /* of the last check: 0 or as last_error */
    _Atomic uint32_t flags;        /* ML_SHM_SERVER_* */
    _Atomic uint64_t unlisted_ms;  /* monotonic; when it left the lists; 0: it is in one */
    char name[224];                 /* "group address" for status */
};
enum { ML_SHM_SERVER_BACKUP = 1, ML_SHM_SERVER_CHECKED = 2 };

/* The state of a worker as the supervisor sees it; WAITING: it died, and is started again after a
 * delay. */
enum ml_shm_state { ML_SHM_NONE, ML_SHM_STARTING, ML_SHM_SERVING, ML_SHM_DRAINING, ML_SHM_WAITING };

struct ml_shm_gateway { /* what the supervisor knows; all texts end with NUL */
    int32_t pid;
    uint32_t generation, worker_count;
    uint64_t reloads, reload_failures;
    double started_s, committed_s, last_s; /* wall clock; last_s: of the last reload, 0: none */
    bool last_ok, closing;
    char hash[24], last_error[4096];
    char notes[2048], listeners[2048]; /* one per line */
    struct {
        int32_t pid; /* 0: none at the moment */
        uint32_t restarts;
        uint8_t state; /* enum ml_shm_state */
    } workers[ML_SHM_WORKERS_MAX];
};

struct ml_shm;
struct ml_shdict_region;  /* base/shdict.h */
struct ml_limiter_region; /* base/limiter.h */
struct ml_lists_region;   /* base/lists.h */
struct ml_metrics_region; /* base/metrics.h */
struct ml_rings;          /* base/rings.h */

/* Maps the segment; dict_bytes of it (0: 32 MiB) hold the shared dicts.  Aborts when it cannot. */
struct ml_shm *ml_shm_new(size_t dict_bytes);
/* The same; limiter_bytes (0: 8 MiB) hold the counters of limits. */
struct ml_shm *ml_shm_new_with(size_t dict_bytes, size_t limiter_bytes);
/* The same; metrics of that many workers (4 in the others). */
struct ml_shm *ml_shm_new_for(size_t dict_bytes, size_t limiter_bytes, unsigned workers);
void ml_shm_free(struct ml_shm **shm);

struct ml_shm_worker *ml_shm_worker(struct ml_shm *shm, unsigned index);
/* The slot of a server, made when it is new; the same for all workers and all generations.
 * NULL when all slots are taken. */
struct ml_shm_server *ml_shm_server(struct ml_shm *shm, struct ml_str group, struct ml_str address);
/* The index-th used slot or NULL, for status. */
struct ml_shm_server *ml_shm_server_at(struct ml_shm *shm, unsigned index);
/* The slot of a server that is known, or NULL. */
struct ml_shm_server *ml_shm_server_find(struct ml_shm *shm, struct ml_str group,
                                         struct ml_str address);
/* In-flight counts are kept per worker as well, so that the supervisor can subtract those of a
 * worker that died. */
void ml_shm_server_begin(struct ml_shm *shm, struct ml_shm_server *s, unsigned worker);
void ml_shm_server_end(struct ml_shm *shm, struct ml_shm_server *s, unsigned worker);
void ml_shm_worker_died(struct ml_shm *shm, unsigned worker);

/* One worker of a machine checks the servers for all: the one that has the lease.  It says so again
 * before lease_ms are over; who finds that it did not takes its place.  True: the caller has it. */
bool ml_shm_prober(struct ml_shm *shm, unsigned worker, uint64_t now_ms, uint64_t lease_ms);
void ml_shm_prober_leave(struct ml_shm *shm, unsigned worker); /* if it has the lease */
/* 1 + worker, 0: nobody. */
unsigned ml_shm_prober_who(struct ml_shm *shm);

struct ml_shdict_region *ml_shm_dicts(struct ml_shm *shm);
struct ml_limiter_region *ml_shm_limiter(struct ml_shm *shm);
struct ml_lists_region *ml_shm_lists(struct ml_shm *shm);
struct ml_metrics_region *ml_shm_metrics(struct ml_shm *shm);
struct ml_rings *ml_shm_rings(struct ml_shm *shm);
/* ML_SHM_SECRET_LEN random bytes, made with the segment: the same for all workers and generations,
 * others after the next start. */
const unsigned char *ml_shm_secret(const struct ml_shm *shm);

/* Puts as much of s into out as fits before a NUL. */
void ml_shm_text(char *out, size_t cap, struct ml_str s);
/* The supervisor, and nobody else, makes g what readers see from now on. */
void ml_shm_gateway_publish(struct ml_shm *shm, const struct ml_shm_gateway *g);
/* A copy that was whole at one moment; zeroes before the first. */
void ml_shm_gateway_read(struct ml_shm *shm, struct ml_shm_gateway *out);

#endif
