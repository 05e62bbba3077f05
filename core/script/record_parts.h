/* record_parts.h - the form of a record, which record.c writes and record_read.c reads. */
#ifndef ML_SCRIPT_RECORD_PARTS_H
#define ML_SCRIPT_RECORD_PARTS_H

#include "script/record.h"

enum record_text {
    TEXT_ID,
    TEXT_METHOD,
    TEXT_PATH,
    TEXT_IP,
    TEXT_ROUTE,
    TEXT_NAME, /* the route's label */
    TEXT_LISTENER,
    TEXT_UPSTREAM,
    TEXT_SERVER,
    TEXT_USER,
    TEXT_DECIDED_BY,
    TEXT_COUNT
};

struct record { /* then the texts, one behind the other, and in long ones JSON: ,"name":value ... */
    double at_s, took_s; /* wall clock of the end */
    uint64_t bytes_in, bytes_out;
    uint32_t generation;
    uint16_t status, why, tries, port;
    uint8_t major, minor, tls, slow, more; /* more: the path was cut */
    uint8_t lens[TEXT_COUNT];
};

/* record_detail.c: appends the JSON of a long record, at most max bytes. */
void ml_record_detail(struct ml_buf *out, struct ml_exchange *ex, size_t max);

#endif
