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

enum { ML_STEPS_MAX = 1000 };

struct ml_steps;

struct ml_timing {            /* of one exchange, in its arena */
    unsigned weight;          /* requests that it stands for */
    unsigned step;            /* whose code runs or waits; 0: none */
    uint64_t cpu_ns, wall_ns; /* since when */
    struct ml_steps *steps;
};

struct ml_steps *ml_steps_new(void);
void ml_steps_free(struct ml_steps **s);
/* The number of that label, from 1 on; 0: there are too many. */
unsigned ml_steps_add(struct ml_steps *s, struct ml_str label);
/* The generation serves: the series are made.  m may be NULL: nothing is counted. */
void ml_steps_start(struct ml_steps *s, struct ml_metrics *m);

/* Whether this exchange is to be measured; then its timing is ready. */
bool ml_steps_sample(struct ml_steps *s, struct ml_exchange *ex);
/* The step answered by itself. */
void ml_steps_answered(struct ml_steps *s, unsigned step, int status);
/* A script failed: counts for the step whose function was running in co.  Protected, may raise. */
void ml_steps_blame(struct ml_steps *s, lua_State *L, lua_State *co);

/* From here on the time is that of the step (0: of none). */
void ml_timing_enter(struct ml_timing *t, unsigned step);
/* Around each resume of a coroutine of the exchange. */
void ml_timing_resume(struct ml_timing *t);
void ml_timing_yield(struct ml_timing *t);

#endif
