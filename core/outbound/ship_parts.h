/* ship_parts.h - what the files of ship share: ships.c (those of a worker), ship.c (the engine of
 * one), ship_elastic.c and ship_otlp.c (what is sent and what answers mean).  Nobody else includes
 * it. */
#ifndef ML_OUTBOUND_SHIP_PARTS_H
#define ML_OUTBOUND_SHIP_PARTS_H

#include "base/metrics.h"
#include "outbound/ship.h"

struct ml_ship;
struct ml_client_tls;

struct ml_ship_count {                                             /* ship_count.c */
    struct ml_slot *shipped, *refused, *errors, *dropped, *queued; /* NULL: not counted */
    uint64_t told_dropped;
};

const char *ml_ship_label(enum ml_ship_kind kind);
void ml_ship_count_open(struct ml_ship_count *c, struct ml_metrics *m, enum ml_ship_kind kind);
void ml_ship_count_look(struct ml_ship_count *c, const struct ml_lines *lines);
/* What is still queued is lost. */
void ml_ship_count_close(struct ml_ship_count *c, const struct ml_lines *lines);
void ml_ship_add(struct ml_slot *to, double by); /* to may be NULL */

enum ml_ship_verdict {
    ML_SHIP_DONE,   /* the batch is dealt with */
    ML_SHIP_AGAIN,  /* later, with a pause */
    ML_SHIP_SMALLER /* it was too large */
};

struct ml_ship_result { /* of an answer; begins as all zero */
    bool *keep;         /* of each line: to be sent again; as many as there were lines */
    unsigned again, refused;
    char why[120]; /* of the first one that was refused, or empty */
};

struct ml_ship_protocol {
    /* Appends the path of the request for a batch. */
    void (*path)(const struct ml_ship_conf *conf, struct ml_buf *out);
    const char *type; /* Content-Type */
    void (*begin)(const struct ml_ship_conf *conf, struct ml_buf *out);
    void (*line)(const struct ml_ship_conf *conf, struct ml_str line, uint64_t number, bool first,
                 struct ml_buf *out);
    void (*end)(const struct ml_ship_conf *conf, struct ml_buf *out);
    enum ml_ship_verdict (*judge)(int status, struct ml_str body, unsigned lines,
                                  struct ml_ship_result *r);
    /* The request that has to come before all others, or NULL: there is none. */
    bool (*prepare)(const struct ml_ship_conf *conf, struct ml_buf *path, struct ml_buf *body);
};

extern const struct ml_ship_protocol ml_ship_elastic, ml_ship_otlp_logs, ml_ship_otlp_traces;

/* Takes conf over as it is: it lives in memory, which is owned from now on. */
struct ml_ship *ml_ship_new(struct ml_outbound *o, const struct ml_ship_conf *conf,
                            struct ml_arena *memory);
void ml_ship_free(struct ml_ship **ship);
const struct ml_client_tls *ml_ship_tls(const struct ml_ship *ship);
const struct ml_ship_conf *ml_ship_conf_of(const struct ml_ship *ship);
void ml_ship_push(struct ml_ship *ship, struct ml_str line);
void ml_ship_inherit(struct ml_ship *ship, struct ml_ship *from);
void ml_ship_hurry(struct ml_ship *ship);
bool ml_ship_idle(const struct ml_ship *ship);
void ml_ship_tick(struct ml_ship *ship);

#endif
