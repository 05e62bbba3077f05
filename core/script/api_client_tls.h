/* api_client_tls.h - how scripts say what TLS to a server is: the option `tls` of upstreams,
 * gw.http and gw.redis. */
#ifndef ML_SCRIPT_API_CLIENT_TLS_H
#define ML_SCRIPT_API_CLIENT_TLS_H

#include "outbound/client_tls.h"
#include "script/api.h"

enum { ML_CLIENT_TLS_LIST_MAX = 32 };

struct ml_client_tls_options {
    struct ml_tls_client_conf conf; /* points into the rest */
    struct ml_tls_pair pair;
    struct ml_str name;
    const char *ciphers[ML_CLIENT_TLS_LIST_MAX + 1], *curves[ML_CLIENT_TLS_LIST_MAX + 1],
        *alpn[ML_CLIENT_TLS_LIST_MAX + 1];
};

/* Of the table at index (all defaults for nil):
 *
 *   ca, cert, key             PEM texts; the system's authorities, no client certificate
 *   name                      whose certificate is expected; the URL's host
 *   verify                    false: anybody's certificate is fine
 *   min_version, max_version  "1.2", "1.3"
 *   ciphers, curves           lists of OpenSSL's names
 *   alpn                      list of protocols
 *
 * Raises what is wrong with the options as such.  The texts stay on the stack and in the table,
 * where they must stay as long as they are used. */
void ml_api_client_tls(lua_State *L, int index, struct ml_client_tls_options *out);
/* Raises what is wrong with certificates, keys and names: makes a context and drops it. */
void ml_api_client_tls_check(lua_State *L, const struct ml_client_tls_options *o);
/* The context of these options, held; raises as above. */
struct ml_client_tls *ml_api_client_tls_hold(lua_State *L, const struct ml_client_tls_options *o,
                                             struct ml_outbound *outbound);
/* core.client_tls_check(table): raises what is wrong with such options. */
void ml_api_client_tls_open(lua_State *L, struct ml_bridge *b);
/* A copy in the arena. */
const struct ml_client_tls_options *
ml_client_tls_options_keep(const struct ml_client_tls_options *o, struct ml_arena *arena);

#endif
