/* waiters.c - a short list; each is answered once. */
#include "process/waiters.h"

#include "base/json.h"

void ml_waiters_add(struct ml_waiters *w, struct ml_control_waiter *waiter)
{
    if (waiter == NULL)
        return;
    if (w->count == ML_WAITERS_MAX)
        ml_control_reply(waiter, false, ML_STR("{\"error\":\"too many clients wait already\"}"));
    else
        w->list[w->count++] = waiter;
}

void ml_waiters_answer(struct ml_waiters *w, bool ok, struct ml_str json)
{
    unsigned count = w->count;

    w->count = 0;
    for (unsigned i = 0; i < count; i++)
        ml_control_reply(w->list[i], ok, json);
}

void ml_waiters_drop(struct ml_waiters *w, struct ml_control_waiter *waiter, struct ml_str sentence)
{
    struct ml_waiters one = {0};

    if (w->count == 0 || w->list[w->count - 1] != waiter)
        return; /* it was one too many, and is gone */
    w->count--;
    ml_waiters_add(&one, waiter);
    ml_waiters_fail(&one, sentence);
}

void ml_waiters_fail(struct ml_waiters *w, struct ml_str sentence)
{
    struct ml_buf json = {0};

    ml_buf_append(&json, ML_STR("{\"error\":"));
    ml_json_string(&json, sentence);
    ml_buf_append(&json, ML_STR("}"));
    ml_waiters_answer(w, false, ml_buf_str(&json));
    ml_buf_release(&json);
}
