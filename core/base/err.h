/* err.h - the table of outcomes: one word, one status and one sentence for every reason.
 *
 * A reason means the same in code, log, metric and answer.  The peer's mistake is an ml_err, our own
 * mistake is an assert, out of memory aborts.  Results of a call change on ML_OK only. */
#ifndef ML_BASE_ERR_H
#define ML_BASE_ERR_H

/* X(name, word for log and metric, HTTP status for the client or 0, sentence) */
#define ML_ERR_TABLE(X)                                                                            \
    X(OK, "ok", 0, "no error")                                                                     \
    X(AGAIN, "again", 0, "an event must come first")                                               \
    X(EOF, "eof", 0, "the peer closed the connection")                                             \
    X(RESET, "reset", 0, "the peer reset the connection")                                          \
    X(CANCELLED, "cancelled", 0, "the other side went away first")                                 \
    X(BAD_REQUEST, "bad_request", 400, "the request is malformed")                                 \
    X(BAD_HOST, "bad_host", 400, "the Host field is missing, repeated or invalid")                 \
    X(BAD_TARGET, "bad_target", 400, "the request target is invalid")                              \
    X(BAD_FRAMING, "bad_framing", 400, "the message length cannot be determined safely")           \
    X(BAD_CHUNK, "bad_chunk", 400, "the chunked body is malformed")                                \
    X(BAD_PATH, "bad_path", 400, "the path contains an ambiguous escape")                          \
    X(METHOD_REFUSED, "method_refused", 405, "the method is not allowed here")                     \
    X(REQUEST_TIMEOUT, "request_timeout", 408, "the request did not arrive in time")               \
    X(LENGTH_REQUIRED, "length_required", 411, "the request needs a length")                       \
    X(BODY_TOO_LARGE, "body_too_large", 413, "the request body is larger than allowed")            \
    X(URI_TOO_LONG, "uri_too_long", 414, "the request line is longer than allowed")                \
    X(EXPECTATION, "expectation_failed", 417, "the expectation cannot be met")                     \
    X(MISDIRECTED, "misdirected_request", 421, "the connection is not for this host")              \
    X(HEADERS_TOO_LARGE, "headers_too_large", 431, "the header section is larger than allowed")    \
    X(SCRIPT_ERROR, "script_error", 500, "the gateway could not handle the request")               \
    X(SCRIPT_BUDGET, "script_budget", 500, "the gateway could not handle the request")             \
    X(SCRIPT_MEMORY, "script_memory", 500, "the gateway could not handle the request")             \
    X(NOT_IMPLEMENTED, "not_implemented", 501, "the transfer coding or method is not implemented") \
    X(VERSION, "version_not_supported", 505, "the HTTP version is not supported")                  \
    X(OVERLOAD, "overload", 503, "the gateway is overloaded")                                      \
    X(UP_RESOLVE, "upstream_unresolved", 503, "the upstream's name cannot be resolved")            \
    X(UP_CONNECT, "upstream_refused", 503, "the upstream cannot be reached")                       \
    X(UP_CONNECT_TIMEOUT, "upstream_connect_timeout", 504, "the upstream did not accept in time")  \
    X(UP_TLS, "upstream_tls", 502, "no trusted TLS connection to the upstream")                    \
    X(UP_TIMEOUT, "upstream_timeout", 504, "the upstream did not answer in time")                  \
    X(UP_CLOSED, "upstream_closed", 502, "the upstream closed the connection too early")           \
    X(UP_PROTOCOL, "upstream_protocol", 502, "the upstream's answer is malformed")                 \
    X(UP_TOO_LARGE, "upstream_too_large", 502, "the upstream's header section is too large")       \
    X(UP_NO_SERVER, "upstream_no_server", 503, "the upstream has no server")                       \
    X(FILE_CHANGED, "file_changed", 500, "the file changed while it was sent")                     \
    X(LIMIT, "limit", 0, "a limit was reached")

enum ml_err {
#define X(name, word, status, text) ML_##name,
    ML_ERR_TABLE(X)
#undef X
        ML_ERR_COUNT
};

const char *ml_err_word(enum ml_err err); /* "bad_request"; for log, metric and the JSON answer */
const char *ml_err_text(enum ml_err err); /* one sentence without the final period */
int ml_err_status(enum ml_err err);       /* status to answer with, 0 when there is none */

#endif
