/* sim.h - a worker whose peers, clock, names and environment are in the hand of a test.
 *
 *   test's Lua -- send --> client end ==socketpair== conn, exchange, chain ... pool, upstream
 *   test's Lua <- request - upstream end ==socketpair== -------------------------------'
 *
 * Everything between the two ends is the product: a simulation only decides what time it is, which
 * random bytes are drawn, and where a connection leads.  Time stands still until it is moved. */
#ifndef ML_KIT_SIM_H
#define ML_KIT_SIM_H

#include "base/clock.h"
#include "base/log.h"
#include "inbound/conn.h"
#include "outbound/redis_conf.h"
#include "script/generation.h"

struct ml_sim;

enum ml_sim_mode { ML_SIM_ACCEPT, ML_SIM_REFUSE, ML_SIM_RESET };

struct ml_sim_host { /* what scripts connect to */
    char *name;      /* owned, as it was asked for; also "unix:/path" */
    int port;
    enum ml_sim_mode mode;
    bool redis; /* speaks RESP; else HTTP */
    int redis_db;
};

struct ml_sim_record { /* what became of one exchange */
    uint64_t serial;
    struct ml_buf trace; /* "what\037name\037detail\036" for each step */
    struct ml_buf id, route, upstream, server, user;
    unsigned tries;
    enum ml_err why;
    bool done;
};

struct ml_sim_end { /* the test's end of a connection */
    struct ml_sim_end *next;
    struct ml_sim *sim;
    int fd; /* owned; -1: closed */
    bool eof, broken;
    unsigned host;        /* of an upstream's: index in hosts */
    struct ml_conn *conn; /* of a client's: only to be compared; NULL: an upstream's */
    struct ml_sim_record record;
    struct ml_buf in, out;
    bool handed; /* the request in hand was given to the test, which has not answered yet */
};

struct ml_sim {
    struct ml_clock_source clock;
    uint64_t now_ns;
    double wall_begin_s;
    uint64_t random;
    struct ml_loop *loop;
    struct ml_resolver *resolver;
    struct ml_outbound *outbound;
    struct ml_shm *shm;
    struct ml_metrics *metrics; /* owned, like inbound.metrics */
    struct ml_inbound inbound;
    struct ml_handler handler, inner;
    struct ml_script_host host;
    struct ml_generation *current;
    struct ml_listener_conf conf; /* when the site has no listener */
    struct ml_port ports[ML_SITE_LISTENERS_MAX];
    unsigned port_count;
    struct ml_log *events, *access;
    int events_fd, access_fd;
    struct ml_sim_host *hosts;
    unsigned host_count;
    struct ml_sim_end *ends;
};

/* While a simulation is entered, the process's clock, random bytes, names and connections are its
 * own; calls nest.  Each function below enters by itself. */
struct ml_sim *ml_sim_enter(struct ml_sim *sim); /* the one before */
void ml_sim_leave(struct ml_sim *before);
struct ml_sim *ml_sim_entered(void); /* or NULL */

/* Takes the snapshot over.  extend may change `core` in the fresh VM.  NULL with why. */
struct ml_sim *ml_sim_new(struct ml_snapshot **snapshot, double wall_s, uint64_t seed,
                          void (*extend)(lua_State *L, void *ctx), void *ctx, struct ml_buf *why);
void ml_sim_free(struct ml_sim **sim);

/* Lets everything happen that happens without time passing. */
void ml_sim_settle(struct ml_sim *sim);
double ml_sim_next_s(struct ml_sim *sim);          /* until the next timer; INFINITY: none */
void ml_sim_move(struct ml_sim *sim, double by_s); /* moves the clock, fires what is due */

/* A client that connects from that address to the listener with that port (0: the first). NULL: no
 * such listener. */
struct ml_sim_end *ml_sim_client(struct ml_sim *sim, const struct ml_address *from, int port);
/* Appends the page of metrics, as `gw.metrics.text()` has it. */
void ml_sim_metrics(struct ml_sim *sim, struct ml_buf *out);
/* The index of a host, made when it is new. */
unsigned ml_sim_host(struct ml_sim *sim, struct ml_str name, int port);
/* The site that is being loaded uses this Redis; it is up. */
void ml_sim_redis(const struct ml_redis_conf *conf);
void ml_sim_end_close(struct ml_sim_end **end);
void ml_sim_record_clear(struct ml_sim_record *record);
/* For the function that traces chains: the record of the exchange, or NULL. */
struct ml_sim_record *ml_sim_record_of(struct ml_sim *sim, const struct ml_exchange *ex);

#endif
