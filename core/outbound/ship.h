/* ship.h - log lines and spans of a worker on their way to a collector, over HTTP, in batches.
 *
 * Each worker ships its own, from its loop, beside the requests: pushing a line copies it into a
 * bounded queue and nothing else.  A collector that is gone, slow or refuses costs the oldest lines
 * of that queue, which are counted. */
#ifndef ML_OUTBOUND_SHIP_H
#define ML_OUTBOUND_SHIP_H

#include "base/lines.h"
#include "outbound/upstream.h"

enum ml_ship_kind { ML_SHIP_ELASTICSEARCH, ML_SHIP_OTLP_LOGS, ML_SHIP_OTLP_TRACES };
enum { ML_SHIPS_MAX = 3 };

struct ml_ship_conf { /* times in seconds */
    enum ml_ship_kind kind;
    struct ml_str origin; /* "https://host:port" */
    struct ml_str path;   /* before that of the API: "" or "/a"; of OTLP: the whole of it */
    struct ml_field *headers;
    unsigned header_count;
    const struct ml_tls_client_conf *tls; /* NULL: the defaults */
    struct ml_str tls_name;
    struct ml_str index;    /* Elasticsearch */
    bool daily;             /* an index per day (UTC) */
    bool no_template;       /* somebody else keeps the index template */
    struct ml_str resource; /* OTLP: the attributes of the resource, as JSON */
    unsigned batch;         /* lines of a request, at most */
    size_t batch_bytes;
    size_t buffer; /* bytes of the queue */
    double interval, timeout;
    bool gzip;
};

struct ml_ships; /* those of a worker */

struct ml_ships *ml_ships_new(struct ml_outbound *o);
/* What is still queued is lost, and counted. */
void ml_ships_free(struct ml_ships **ships);
/* These collectors from now on; what is copied.  One that stays as it is goes on; the lines for one
 * that changes go to what takes its place. */
void ml_ships_use(struct ml_ships *ships, const struct ml_ship_conf *list, unsigned count);
/* Takes lines of logs (JSON); NULL: nobody wants them. */
const struct ml_tap *ml_ships_logs(const struct ml_ships *ships);
/* Takes spans (JSON of OTLP); NULL: nobody wants them. */
const struct ml_tap *ml_ships_spans(const struct ml_ships *ships);
/* The process is about to end: batches are sent at once. */
void ml_ships_hurry(struct ml_ships *ships);
bool ml_ships_idle(const struct ml_ships *ships); /* all is sent */
void ml_ships_tick(struct ml_ships *ships);       /* sets the metrics */

#endif
