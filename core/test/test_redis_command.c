#include "outbound/redis_command.h"

#include "test.h"

/* The words of a text, split at spaces. */
static const struct ml_redis_argv *words(const char *text)
{
    static struct ml_redis_argv argv;
    static const char *v[64];
    static size_t len[64];
    static char copy[512];

    snprintf(copy, sizeof copy, "%s", text);
    argv = (struct ml_redis_argv){0, v, len};
    for (char *word = strtok(copy, " "); word != NULL; word = strtok(NULL, " ")) {
        v[argv.argc] = word;
        len[argv.argc++] = strlen(word);
    }
    return &argv;
}

static int slot(const char *text)
{
    return ml_redis_command_slot(words(text));
}

static int key(const char *text)
{
    return ml_redis_command_key_slot(ml_str_of(text));
}

TEST(slots_are_those_of_the_cluster_specification)
{
    CHECK(key("123456789") == 0x31c3 % ML_REDIS_SLOTS);
    CHECK(key("foo") == 12182); /* CLUSTER KEYSLOT of redis-server 7.0 */
    CHECK(key("bar") == 5061);
    CHECK(key("") == 0);
}

TEST(a_hash_tag_is_what_is_between_the_first_braces)
{
    CHECK(key("{user1000}.following") == key("user1000"));
    CHECK(key("a{user1000}b{other}") == key("user1000"));
    CHECK(key("foo{}{bar}") != key("bar")); /* an empty tag is none */
    CHECK(key("foo{{bar}}zap") == key("{bar"));
    CHECK(key("foo{bar") != key("bar"));
    CHECK(key("}foo{bar}") == key("bar"));
}

TEST(the_first_key_of_a_command_is_found)
{
    CHECK(slot("GET foo") == key("foo"));
    CHECK(slot("mset foo 1 bar 2") == key("foo"));
    CHECK(slot("EVALSHA abc 2 foo bar 1") == key("foo"));
    CHECK(slot("EVAL abc 0 foo") == -1);
    CHECK(slot("ZINTERCARD 2 foo bar") == key("foo"));
    CHECK(slot("ZUNIONSTORE foo 2 a b") == key("foo"));
    CHECK(slot("XREAD COUNT 1 STREAMS foo 0") == key("foo"));
    CHECK(slot("XREADGROUP GROUP g c STREAMS foo >") == key("foo"));
    CHECK(slot("OBJECT ENCODING foo") == key("foo"));
    CHECK(slot("BITOP AND foo a b") == key("foo"));
    CHECK(slot("XGROUP CREATE foo g $") == key("foo"));
}

TEST(a_command_without_a_key_may_go_anywhere)
{
    static const char *const none[] = {"PING",          "INFO memory", "SCAN 0",
                                       "SCRIPT LOAD x", "TIME",        "PUBLISH channel text",
                                       "GET",           "EVAL x",      "XREAD STREAMS"};

    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        CHECK(slot(none[i]) == -1);
}

TEST(what_would_spoil_a_shared_connection_is_refused)
{
    static const char *const bad[] = {
        "SUBSCRIBE a",
        "psubscribe a*",
        "MONITOR",
        "MULTI",
        "exec",
        "WATCH a",
        "BLPOP a 0",
        "BRPOPLPUSH a b 0",
        "bzpopmin a 0",
        "XREAD BLOCK 0 STREAMS a 0",
        "XREADGROUP GROUP g c COUNT 1 BLOCK 0 STREAMS a >",
        "WAIT 1 0",
        "AUTH x",
        "SELECT 1",
        "HELLO 3",
        "RESET",
        "QUIT",
        "CLIENT REPLY OFF",
        "client tracking on",
        "SCRIPT DEBUG YES",
        "ASKING",
        "READONLY",
        "DEBUG SLEEP 10",
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (ml_redis_command_refusal(words(bad[i])) == NULL) {
            printf("# %s\n", bad[i]);
            CHECK(!"accepted");
        }
}

TEST(other_commands_are_not)
{
    static const char *const good[] = {"GET multi",
                                       "LPOP a",
                                       "XREAD STREAMS BLOCK 0",
                                       "CLIENT ID",
                                       "CLIENT SETNAME reply",
                                       "SCRIPT LOAD x",
                                       "SET a BLOCK",
                                       "PUBLISH a b"};

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK(ml_redis_command_refusal(words(good[i])) == NULL);
}
