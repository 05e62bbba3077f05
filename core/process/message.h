/* message.h - what supervisor, workers and the staging process say to each other.
 *
 * One message is one packet on a SOCK_SEQPACKET pair, with the descriptors that belong to it, so
 * there are no halves.  The sockets are non-blocking. */
#ifndef ML_PROCESS_MESSAGE_H
#define ML_PROCESS_MESSAGE_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

enum { ML_MESSAGE_FDS_MAX = 32, ML_MESSAGE_TEXT_MAX = 64 * 1024 };

enum ml_message_type {
    /* from the supervisor */
    ML_MESSAGE_LOAD = 1, /* number, snapshot and new sockets: load it beside what is live */
    ML_MESSAGE_SWITCH,   /* number: make what was loaded live */
    ML_MESSAGE_DISCARD,  /* number: forget what was loaded */
    ML_MESSAGE_CLOSING,  /* the end is near: answers say Connection: close */
    ML_MESSAGE_DRAIN,    /* stop accepting, finish what is in flight, end */
    ML_MESSAGE_REOPEN,   /* reopen the log files */
    /* from a worker */
    ML_MESSAGE_LOADED,   /* number */
    ML_MESSAGE_FAILED,   /* number, text: why it does not load; also from the staging process */
    ML_MESSAGE_SWITCHED, /* number: it is live in this worker; also after its start */
    /* from the staging process */
    ML_MESSAGE_STAGED, /* text: a packed ml_summary; the snapshot */
    ML_MESSAGE_EXPLAINED, /* text: JSON */
    ML_MESSAGE_TYPE_END
};

struct ml_message {
    enum ml_message_type type;
    uint32_t number;  /* of a generation */
    uint32_t attempt; /* answers say which LOAD they mean: a number may be tried again */
    struct ml_str text;
    int fds[ML_MESSAGE_FDS_MAX];
    unsigned fd_count;
};

/* A pair of connected sockets, close-on-exec; false with errno. */
bool ml_message_pair(int fds[2]);
/* Sends without waiting; false with errno when the other end is gone or takes no more.  Longer
 * texts are cut.  The descriptors stay the caller's. */
bool ml_message_send(int fd, const struct ml_message *m);
/* Receives one: ML_OK (its text lives in scratch, its descriptors are the caller's), ML_AGAIN,
 * ML_EOF, or ML_BAD_FRAMING: no message of ours, its descriptors were closed. */
enum ml_err ml_message_receive(int fd, struct ml_buf *scratch, struct ml_message *m);
/* Closes the descriptors from the index-th on that were received with m. */
void ml_message_close_fds(struct ml_message *m, unsigned index);

#endif
