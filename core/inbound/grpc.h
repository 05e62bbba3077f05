/* grpc.h - what of gRPC a gateway has to know: which requests are it, the client's deadline, and
 * how an answer that is not the server's is told to a client that looks at grpc-status alone. */
#ifndef ML_INBOUND_GRPC_H
#define ML_INBOUND_GRPC_H

#include "inbound/exchange.h"

/* A request over HTTP/2 whose content-type is application/grpc, or begins with "application/grpc+".
 */
bool ml_grpc_is(const struct ml_request *req);
/* Of the field grpc-timeout; 0: there is none that counts. */
double ml_grpc_timeout_s(const struct ml_request *req);
/* The status of gRPC (0..16) for one of HTTP. */
int ml_grpc_status(int http_status);
/* The answer in ex->res, which no server has made, to a request of gRPC: its status and message as
 * fields, added to h.  False: it stays as it is. */
bool ml_grpc_translates(const struct ml_exchange *ex);
/* The value of grpc-message, percent-encoded. */
struct ml_str ml_grpc_message(const struct ml_exchange *ex);

#endif
