/* steps.h - what the policies of a site cost and decide: the metrics moonlatch_middleware_*.
 *
 * A step is a middleware in a chain, by its label; all chains of a generation share it.  Refusals
 * and errors are counted always.  CPU and wall time are measured for some of the requests, 1, 2, 4
 * ... and then each 64th, which go through a chain that takes the time (lua/moonlatch/chain.lua);
 * each stands for those since the one before. */
#ifndef ML_SCRIPT_STEPS_H
#define ML_SCRIPT_STEPS_H

#include "base/metrics.h"
#include "inbound/exchange.h"

#include <lua.h>

/* A step in a chain is known by a number: that of its label and, times ML_STEPS_PLACE, its place in
 * the chain, from 1 on from the outermost. */
enum { ML_STEPS_MAX = 1000, ML_STEPS_PLACE = 1024, ML_STEPS_PLACES_MAX = 64 };

struct ml_steps;

struct ml_mark { /* of a place; [0]: of what is inside of all steps */
    double begin_s; /* monotonic; 0: it did not run */
    double end_s;   /* when its code ran last, or began to wait */
    uint64_t cpu_ns, wall_ns;
    unsigned step, waits; /* which one it is; how often it has waited */
};

struct ml_timing {            /* of one exchange, in its arena */
    unsigned weight;          /* requests that it stands for */
    unsigned step;            /* whose code runs or waits; 0: none */
    uint64_t cpu_ns, wall_ns; /* since when */
    struct ml_steps *steps;
    struct ml_mark marks[ML_STEPS_PLACES_MAX];
};

struct ml_chain_steps { /* the steps of a chain, from the outermost on */
    struct ml_chain_steps *next;
    struct ml_str listener; /* of which it is the chain; empty: of all others */
    unsigned count;
    struct {
        unsigned id;       /* of the label */
        struct ml_str line; /* where the site asks for it */
    } v[];
};

struct ml_steps *ml_steps_new(void);
void ml_steps_free(struct ml_steps **s);
/* The number of that label, from 1 on; 0: there are too many. */
unsigned ml_steps_add(struct ml_steps *s, struct ml_str label);
/* The generation serves: the series are made.  m may be NULL: nothing is counted. */
void ml_steps_start(struct ml_steps *s, struct ml_metrics *m);

/* All requests are measured from now on, not some. */
void ml_steps_time_all(struct ml_steps *s);
struct ml_str ml_steps_label(const struct ml_steps *s, unsigned number);
/* Whether this exchange is to be measured; then its timing is ready. */
bool ml_steps_sample(struct ml_steps *s, struct ml_exchange *ex);
/* Whether it is to be watched as its trace is sampled, without being measured. */
bool ml_steps_watch(struct ml_steps *s, struct ml_exchange *ex);
/* The step answered by itself. */
void ml_steps_answered(struct ml_steps *s, unsigned step, int status);
/* The step whose function runs or waits in co, or 0.  Protected, may raise. */
unsigned ml_steps_running(lua_State *co);
/* The step's script failed. */
void ml_steps_blame(struct ml_steps *s, unsigned step);

/* From here on the time is that of the step (0: of none). */
void ml_timing_enter(struct ml_timing *t, unsigned step);
/* Around each resume of a coroutine of the exchange. */
void ml_timing_resume(struct ml_timing *t);
void ml_timing_yield(struct ml_timing *t);

/* Adds Server-Timing to h: the time in each step so far, of the upstream, of all. */
void ml_timing_header(struct ml_exchange *ex, struct ml_headers *h);

#endif
