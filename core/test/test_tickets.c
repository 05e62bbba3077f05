/* test_tickets.c - the keys of session tickets: replaced, and remembered for a while. */
#include "process/tickets.h"

#include "transport/tls.h"

#include "test.h"

#include <sys/wait.h>

static const struct ml_tls_ticket_keys *keys;

static bool known(const unsigned char *name, bool *fresh)
{
    unsigned char key[ML_TLS_TICKET_KEY];

    return keys->find(keys->ctx, name, key, fresh);
}

TEST(a_key_seals_until_it_is_replaced_and_opens_for_two_more_rounds)
{
    unsigned char first[ML_TLS_TICKET_KEY], next[ML_TLS_TICKET_KEY];
    bool fresh;

    ml_tickets_open();
    keys = ml_tls_ticket_keys();
    CHECK(keys->find(keys->ctx, NULL, first, &fresh) && fresh);
    CHECK(known(first, &fresh) && fresh);
    for (int round = 0; round < 2; round++) {
        ml_tickets_rotate();
        CHECK(keys->find(keys->ctx, NULL, next, &fresh) && fresh);
        CHECK(memcmp(next, first, sizeof first) != 0);
        CHECK(known(first, &fresh) && !fresh);
    }
    ml_tickets_rotate();
    CHECK(!known(first, &fresh));
    CHECK(known(next, &fresh) && !fresh);
    ml_tickets_close();
    CHECK(ml_tls_ticket_keys() == NULL);
}

TEST(a_child_sees_the_key_that_its_parent_makes_later)
{
    unsigned char key[ML_TLS_TICKET_KEY], seen[ML_TLS_TICKET_KEY];
    int go[2], back[2], status;
    bool fresh;
    pid_t pid;

    ml_tickets_open();
    keys = ml_tls_ticket_keys();
    if (pipe(go) != 0 || pipe(back) != 0)
        abort();
    pid = fork();
    if (pid == 0) {
        if (read(go[0], key, 1) != 1 || !keys->find(keys->ctx, NULL, key, &fresh) ||
            write(back[1], key, sizeof key) != (ssize_t)sizeof key)
            _exit(1);
        _exit(0);
    }
    ml_tickets_rotate();
    CHECK(keys->find(keys->ctx, NULL, key, &fresh));
    CHECK(write(go[1], "x", 1) == 1);
    CHECK(read(back[0], seen, sizeof seen) == (ssize_t)sizeof seen);
    CHECK(memcmp(seen, key, sizeof key) == 0);
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    ml_tickets_close();
}
