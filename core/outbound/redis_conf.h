/* redis_conf.h - where a Redis is and how to speak to it: the reading of redis URLs.
 *
 *   redis://[user[:password]@]host[:port][/db]
 *   redis+cluster://[user[:password]@]host[:port],host[:port]...
 *   unix://[user[:password]@]/path[?db=n]
 *
 * rediss:// and rediss+cluster:// are the same over TLS.
 * User, password and path may have percent escapes. */
#ifndef ML_OUTBOUND_REDIS_CONF_H
#define ML_OUTBOUND_REDIS_CONF_H

#include "base/str.h"

enum { ML_REDIS_SEEDS_MAX = 16, ML_REDIS_HOST_CAP = 256, ML_REDIS_SECRET_CAP = 1024 };

struct ml_client_tls; /* client_tls.h: the same settings, the same pointer */

struct ml_redis_place {
    char host[ML_REDIS_HOST_CAP]; /* name, literal without brackets, or "unix:/path" */
    int port;                     /* 0: unix */
};

/* Two with equal bytes are equal; so all of it is zero before it is filled in. */
struct ml_redis_conf {
    struct ml_redis_place seeds[ML_REDIS_SEEDS_MAX]; /* one, unless it is a cluster */
    unsigned seed_count;
    bool cluster;
    bool secure;               /* TLS, by: */
    struct ml_client_tls *tls; /* not of the URL; held by who holds the configuration */
    int db;
    char user[ML_REDIS_SECRET_CAP], password[ML_REDIS_SECRET_CAP]; /* "": none */
    double timeout_s, connect_timeout_s;
};

/* NULL, or what is wrong (a static text without parts of the URL); sets all but the times and tls.
 */
const char *ml_redis_conf_parse(struct ml_str url, struct ml_redis_conf *conf);
/* A name or an address, such as a server may tell. */
bool ml_redis_conf_host_ok(struct ml_str host);

#endif
