/* server.h - one server of an upstream group: where it is, its connections, its health.
 *
 * Known by group name and URL, so that the groups of two generations share it and a reload closes
 * no connection.  Its health and its count of requests in flight are shared by the workers. */
#ifndef ML_OUTBOUND_SERVER_H
#define ML_OUTBOUND_SERVER_H

#include "base/metrics.h"
#include "base/shm.h"
#include "outbound/h2_link.h"
#include "outbound/pool.h"
#include "transport/resolver.h"

struct ml_upstream;
struct ml_group;
struct ml_checks;
struct ml_client_tls;

struct ml_outbound {      /* what the servers of a worker have in common */
    struct ml_loop *loop; /* borrowed, like the next two */
    struct ml_resolver *resolver;
    struct ml_shm *shm; /* NULL: this process is alone (tests) */
    unsigned worker;
    struct ml_server *servers;        /* owned */
    struct ml_group *groups;          /* those of the generation that serves; group.c */
    uint64_t lists_version;           /* of what scripts set; lists.c */
    bool unchecked;            /* this process makes no checks any more */
    struct ml_checks *checks;         /* owned; NULL until there is something to check; check.c */
    struct ml_client_tls *client_tls; /* owned by their users; client_tls.c */
    struct ml_redis *redis;           /* owned by their users; redis.c */
    struct ml_metrics *metrics;       /* borrowed; NULL: nothing is counted */
    struct ml_upstream *spare;        /* requests that ended, for use again; upstream.c */
    unsigned spare_count;
    uint64_t random; /* state of a xorshift generator */
};

struct ml_server_url {       /* parts of a URL, pointing into it */
    struct ml_str host;      /* name, literal without brackets, or "unix:/path" */
    struct ml_str authority; /* for Host: host[:port] as written; "localhost" for unix */
    struct ml_str prefix;    /* "" or "/a/b" */
    struct ml_str origin;    /* all before the prefix */
    int port;
    bool tls; /* "https://", "h2://" */
    bool h2;  /* "h2://", "h2c://": it speaks HTTP/2 from the first byte on */
    bool srv; /* "srv://NAME": host is a name of SRV records, which say where the servers are */
};
/* NULL, or what is wrong. */
const char *ml_server_url_parse(struct ml_str text, struct ml_server_url *out);

enum { ML_AVOIDED_MAX = 4 };

struct ml_server {
    struct ml_outbound *o; /* borrowed */
    struct ml_server *next;
    unsigned refs;
    struct ml_str group, text; /* owned, one allocation; text is the URL */
    struct ml_str given;       /* likewise: the authority it was given in the place of the URL's */
    unsigned listed;           /* rosters of groups that serve */
    struct ml_server_url url;  /* points into text */
    struct ml_name *name;      /* owned */
    unsigned next_addr;        /* the addresses of its name take turns */
    struct {
        uint64_t key;   /* of an address that did not let us connect: */
        double until_s; /* its turns are skipped until then */
    } avoided[ML_AVOIDED_MAX];
    unsigned next_avoided;
    struct ml_pool pool;
    struct ml_h2_set h2; /* its connections, when it speaks HTTP/2 */
    struct ml_slot *idle_slot;   /* count.c; NULL: not made yet */
    struct ml_shm_server *state; /* shared, or own when the slots are used up */
    struct ml_shm_server own;
};

/* The server of that name, made when it is new.  url must be right.  shared: its health is shared
 * with the other workers, for which it takes one of the slots that are never given back. */
struct ml_server *ml_server_hold(struct ml_outbound *o, struct ml_str group, struct ml_str url,
                                 bool shared);
/* The same, for one of several addresses behind a name: requests say that they are for authority.
 */
struct ml_server *ml_server_hold_as(struct ml_outbound *o, struct ml_str group, struct ml_str url,
                                    struct ml_str authority, bool shared);
/* It is in one list of a group more, or less: whether it is in any is for status. */
void ml_server_list(struct ml_server *s);
void ml_server_unlist(struct ml_server *s);
void ml_server_release(struct ml_server **server);
/* Whose certificate a server with an https URL has to show, before the group's option. */
struct ml_str ml_server_tls_name(const struct ml_server *s);
void ml_server_begin(struct ml_server *s); /* one more request in flight */
void ml_server_end(struct ml_server *s);

#endif
