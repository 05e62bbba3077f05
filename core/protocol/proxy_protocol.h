/* proxy_protocol.h - the PROXY protocol, versions 1 and 2: what a balancer says of a client before
 * the first byte of that client (haproxy.org, proxy-protocol.txt).  Pure: bytes in, a header out.
 *
 * Strict: whoever does not speak it exactly is not believed.  Extensions (TLVs) are checked for
 * their lengths and for their checksum when there is one, and else passed over. */
#ifndef ML_PROTOCOL_PROXY_PROTOCOL_H
#define ML_PROTOCOL_PROXY_PROTOCOL_H

#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

enum {
    ML_PROXY_V1_MAX = 107,    /* with its CRLF */
    ML_PROXY_MAX = 16 + 4096, /* a longer header is refused */
    ML_PROXY_WRITE_MAX = ML_PROXY_V1_MAX + 1
};

struct ml_proxy_end { /* an address, IPv4 as ::ffff:a.b.c.d */
    uint8_t bytes[16];
    uint16_t port;
};

struct ml_proxy_header {
    bool known; /* false: the sender speaks for itself (LOCAL), or has no IP address to tell of */
    struct ml_proxy_end source, dest;
};

/* Reads the header at the front of len bytes.  ML_OK: *used bytes of them are it.  ML_AGAIN: all of
 * them belong to it, and more must come.  ML_BAD_REQUEST: it is none, or malformed. */
enum ml_err ml_proxy_protocol_read(const char *p, size_t len, struct ml_proxy_header *out,
                                   size_t *used);
/* Writes a header of version 1 or 2; how long it is. */
size_t ml_proxy_protocol_write(const struct ml_proxy_header *h, int version,
                               char out[ML_PROXY_WRITE_MAX]);

#endif
