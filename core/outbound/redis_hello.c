/* redis_hello.c - the first commands of a connection and their answers. */
#include "outbound/redis_hello.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>

enum step { AUTH = 1, SELECT = 2, PING = 4 }; /* in this order */

static void say(struct ml_buf *out, int argc, const char **argv)
{
    char *text;
    int len = redisFormatCommandArgv(&text, argc, argv, NULL);

    if (len < 0)
        abort();
    ml_buf_append(out, (struct ml_str){text, (size_t)len});
    explicit_bzero(text, (size_t)len);
    redisFreeCommand(text);
}

static void say_auth(const struct ml_redis_conf *conf, struct ml_buf *out)
{
    const char *with_user[] = {"AUTH", conf->user, conf->password};
    const char *without[] = {"AUTH", conf->password};

    if (conf->user[0] != '\0')
        say(out, 3, with_user);
    else
        say(out, 2, without);
}

unsigned ml_redis_hello_write(const struct ml_redis_conf *conf, struct ml_buf *out)
{
    const char *ping[] = {"PING"};
    unsigned steps = PING;
    char db[16];
    const char *choose[] = {"SELECT", db};

    snprintf(db, sizeof db, "%d", conf->db);
    if (conf->password[0] != '\0') {
        say_auth(conf, out);
        steps |= AUTH;
    }
    if (conf->db != 0) {
        say(out, 2, choose);
        steps |= SELECT;
    }
    say(out, 1, ping);
    return steps;
}

/* The server's text may be anything, the password too: only its first word is told, and not even
 * that when it is a part of the password. */
static void explain(const struct ml_redis_conf *conf, const char *what,
                    const struct ml_redis_reply *reply, char *why, size_t why_cap)
{
    char word[24];
    size_t n = 0;

    while (n < sizeof word - 1 && reply->text[n] >= 'A' && reply->text[n] <= 'Z') {
        word[n] = reply->text[n];
        n++;
    }
    word[n] = '\0';
    snprintf(why, why_cap, "%s (%s)", what, strstr(conf->password, word) == NULL ? word : "?");
}

bool ml_redis_hello_take(const struct ml_redis_conf *conf, unsigned *left,
                         const struct ml_redis_reply *reply, char *why, size_t why_cap)
{
    enum step step = (*left & AUTH) != 0 ? AUTH : (*left & SELECT) != 0 ? SELECT : PING;

    *left &= ~(unsigned)step;
    if (reply->type != ML_REDIS_ERROR)
        return true;
    if (step == PING && ml_redis_reply_is_error(reply, "NOPERM")) /* an ACL may forbid PING */
        return true;
    explain(conf,
            step == AUTH     ? "user or password were refused"
            : step == SELECT ? "the database was refused"
                             : "the server is not ready for commands",
            reply, why, why_cap);
    return false;
}

void ml_redis_hello_wipe(struct ml_buf *out)
{
    if (out->p != NULL)
        explicit_bzero(out->p, out->cap);
    ml_buf_release(out);
}
