/* recode.h - a coder between the body of a response and its client: what compresses answers, and
 * what opens those that a script wants to read.
 *
 * Owned by the exchange: it ends with the body, when either side breaks, or by ml_recode_end. */
#ifndef ML_INBOUND_RECODE_H
#define ML_INBOUND_RECODE_H

#include "inbound/exchange.h"
#include "protocol/coding.h"

/* All of ex->res' body goes through *coder, which is taken over and NULLed.  flush: the client can
 * read each piece when it has come, for streams of events.  Changes no header field; a body that is
 * in memory and short stays there, with a length. */
void ml_recode_response(struct ml_exchange *ex, struct ml_coder **coder, bool flush);
/* The exchange is over: ends the recoding of its body, and so whatever feeds it. */
void ml_recode_end(struct ml_exchange *ex);

#endif
