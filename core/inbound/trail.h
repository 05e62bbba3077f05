/* trail.h - what happened to an exchange on its way, as `moonlatch why` tells it.
 *
 * Noted where it happens, in the arena of the exchange, and only a few things of each kind: an
 * ordinary request costs a few stores. */
#ifndef ML_INBOUND_TRAIL_H
#define ML_INBOUND_TRAIL_H

#include "base/arena.h"
#include "base/err.h"

enum { ML_TRAIL_CHANGES_MAX = 64, ML_TRAIL_TRIES_MAX = 16, ML_TRAIL_DECISIONS_MAX = 4 };

enum ml_change_kind { ML_CHANGE_SET, ML_CHANGE_ADD, ML_CHANGE_REMOVE };

struct ml_change { /* of a header, by a script */
    struct ml_change *next;
    struct ml_str name, value; /* borrowed: they live in the arena */
    unsigned step;             /* whose code ran, if that is known; else 0 */
    enum ml_change_kind kind;
    bool response; /* else of the request */
};

struct ml_try { /* a server was asked */
    struct ml_try *next;
    struct ml_str server;          /* borrowed */
    double begin_s, sent_s, end_s; /* monotonic; 0: not reached.  end: head, or failure */
    enum ml_err why;
    int status;
    bool kept;      /* the first connection was one that was open already */
    bool refreshed; /* which was dead */
};

enum ml_decided {
    ML_DECIDED_ANSWERED,
    ML_DECIDED_REPLACED,
    ML_DECIDED_RAISED,
    ML_DECIDED_CANCELLED
};

struct ml_decision { /* of a step: a number of script/steps.h */
    unsigned step;
    int status;
    enum ml_decided how;
};

struct ml_trail {
    struct ml_generation *generation; /* script: who decides; NULL: nobody did */
    const struct ml_chain *chain;     /* script */
    struct ml_decision decisions[ML_TRAIL_DECISIONS_MAX];
    unsigned decision_count, change_count, try_count; /* also of those that were not noted */
    struct ml_change *changes, *last_change;
    struct ml_try *tries, *last_try;
    struct ml_str error, traceback; /* of a script that failed; empty: none did */
};

static inline void ml_trail_decided(struct ml_trail *t, unsigned step, enum ml_decided how,
                                    int status)
{
    /* the last place is for the last one */
    unsigned at =
        t->decision_count < ML_TRAIL_DECISIONS_MAX ? t->decision_count : ML_TRAIL_DECISIONS_MAX - 1;

    t->decisions[at] = (struct ml_decision){step, status, how};
    t->decision_count++;
}

/* name and value must live as long as the arena. */
void ml_trail_changed(struct ml_trail *t, struct ml_arena *arena, const struct ml_change *change);
void ml_trail_try(struct ml_trail *t, struct ml_arena *arena, struct ml_str server, double now_s,
                  bool kept);

#endif
