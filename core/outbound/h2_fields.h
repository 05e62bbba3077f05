/* h2_fields.h - a head as HTTP/1.1 writes it, in the terms of HTTP/2: so that what of a request a
 * server gets to see is decided in one place only, upstream_head.c. */
#ifndef ML_OUTBOUND_H2_FIELDS_H
#define ML_OUTBOUND_H2_FIELDS_H

#include "base/str.h"

#include <nghttp2/nghttp2.h>

/* The head of a request.  Names are put into lower case where they are.  nv has room for three
 * fields more than there are lines; how many there are. */
size_t ml_h2_fields_request(struct ml_str head, bool tls, bool te, nghttp2_nv *nv);
/* Trailers: "name: value" lines, likewise. */
size_t ml_h2_fields_trailers(struct ml_str lines, nghttp2_nv *nv);

#endif
