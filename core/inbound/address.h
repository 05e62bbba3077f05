/* address.h - addresses of clients as 16 bytes (IPv4 as ::ffff:a.b.c.d), their text, and who of a
 * chain of proxies is the client. */
#ifndef ML_INBOUND_ADDRESS_H
#define ML_INBOUND_ADDRESS_H

#include "inbound/listener.h"

struct ml_address { /* all zero: none, such as the peer of a unix socket */
    uint8_t bytes[16];
    uint16_t port; /* of those that come from a socket; else 0 */
};

enum { ML_ADDRESS_TEXT_CAP = 46 };

/* Of a socket address; all zero when it is neither IPv4 nor IPv6. */
struct ml_address ml_address_of(const struct ml_addr *addr);
/* "192.0.2.7", "2001:db8::1"; false when malformed. */
bool ml_address_parse(struct ml_str text, struct ml_address *out);
/* Writes the text (IPv4 in its own form) and says how long it is; "unix" for none. */
size_t ml_address_text(const struct ml_address *a, char out[ML_ADDRESS_TEXT_CAP]);

bool ml_address_within(const struct ml_cidr *list, unsigned count, const struct ml_address *a);

/* Makes a set of many networks: sorts the list in place and drops what others hold; how many are
 * left. */
unsigned ml_cidr_set_make(struct ml_cidr *list, unsigned count);
/* The same question to such a set, in a time that grows with the logarithm of its size. */
bool ml_cidr_set_has(const struct ml_cidr *set, unsigned count, const struct ml_address *a);

/* The client according to X-Forwarded-For, read from the right as long as the proxies that wrote
 * it are trusted; peer itself when there is no such field or it is not to be believed. */
struct ml_address ml_address_client(const struct ml_headers *h, const struct ml_cidr *trusted,
                                    unsigned count, const struct ml_address *peer);

#endif
