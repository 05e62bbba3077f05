/* source.h - where the servers of a group come from: URLs, the addresses of a name, SRV records. */
#ifndef ML_OUTBOUND_SOURCE_H
#define ML_OUTBOUND_SOURCE_H

#include "outbound/roster.h"
#include "outbound/upstream.h"

struct ml_sources;

struct ml_sources_conf {
    struct ml_outbound *o;
    struct ml_str group;        /* name of the servers' group; borrowed for as long */
    bool all;                   /* each address of a name is a server */
    bool shared;                /* the health of the servers, with the other workers */
    void (*changed)(void *ctx); /* the servers may be others now; NULL: who wants to know */
    void *ctx;
};

/* Copies the list.  The URLs must be right. */
struct ml_sources *ml_sources_new(const struct ml_sources_conf *conf,
                                  const struct ml_server_conf *list, unsigned count);
void ml_sources_free(struct ml_sources **sources);
/* The servers as they are known now; the caller's. */
struct ml_roster *ml_sources_roster(struct ml_sources *s);
/* A name whose first answer is still to come, or NULL. */
struct ml_name *ml_sources_pending(struct ml_sources *s);
/* Nobody is told of changes any more. */
void ml_sources_rest(struct ml_sources *s);

#endif
