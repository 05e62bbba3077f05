/* page.h - the page that scrapers of metrics read: the registry, and what shared memory tells of
 * the gateway, its upstream servers and its dictionaries. */
#ifndef ML_PROCESS_PAGE_H
#define ML_PROCESS_PAGE_H

#include "base/metrics.h"
#include "base/shm.h"

/* Appends it.  service: the label of active_connections. */
void ml_page_write(struct ml_shm *shm, struct ml_str service, enum ml_exposition format,
                   struct ml_buf *out);

#endif
