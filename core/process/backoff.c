/* backoff.c - 0, 0.1, 0.2, 0.4 ... 10 seconds. */
#include "process/backoff.h"

static const double YOUNG_S = 5, FIRST_S = 0.1, MAX_S = 10;

double ml_backoff_died(struct ml_backoff *b, double uptime_s)
{
    double delay_s = uptime_s < YOUNG_S ? b->delay_s : 0;

    b->delay_s = delay_s > 0 ? delay_s * 2 : FIRST_S;
    if (b->delay_s > MAX_S)
        b->delay_s = MAX_S;
    return delay_s;
}
