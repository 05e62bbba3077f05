/* fuzz_redis.c - replies of a Redis: read whole and in pieces, with the same outcome; the URL of
 * one, and the slot of a command, from the same bytes. */
#include "fuzz.h"
#include "outbound/redis_command.h"
#include "outbound/redis_conf.h"
#include "outbound/redis_reply.h"

static void describe(struct ml_buf *out, const struct ml_redis_reply *r)
{
    ml_buf_printf(out, "%d:%zu:%lld:", r->type, r->len, r->integer);
    MUST(r->type == ML_REDIS_ARRAY || r->items == NULL);
    ml_buf_append(out, ml_redis_reply_text(r));
    for (size_t i = 0; r->type == ML_REDIS_ARRAY && i < r->len && i < 1000; i++)
        describe(out, r->items[i]);
}

/* Appends what was read to out.  random NULL: all at once. */
static enum ml_err read_all(struct ml_str in, struct fuzz_random *random, struct ml_buf *out)
{
    struct ml_redis_reader *reader = ml_redis_reader_new();
    struct ml_redis_reply *reply = NULL;
    enum ml_err err = ML_AGAIN;

    while (err == ML_AGAIN && in.len > 0) {
        size_t n = random != NULL ? fuzz_piece(random, in.len) : in.len;
        char *copy = fuzz_copy(in.p, n);

        ml_redis_reader_feed(reader, (struct ml_str){copy, n});
        free(copy);
        in.p += n;
        in.len -= n;
        while ((err = ml_redis_reader_next(reader, &reply)) == ML_OK) {
            MUST(reply->size > 0 && reply->size <= ML_REDIS_REPLY_MAX);
            describe(out, reply);
            ml_redis_reply_free(&reply);
        }
    }
    ml_redis_reader_free(&reader);
    return err;
}

/* The first bytes as words of a command: no word is looked at beyond its end. */
static void try_command(struct ml_str in)
{
    char *copy = fuzz_copy(in.p, in.len);
    const char *v[8];
    size_t len[8], n = 0;
    struct ml_redis_argv argv = {0, v, len};

    while (argv.argc < 8 && n < in.len) {
        const char *end = memchr(copy + n, ' ', in.len - n);

        v[argv.argc] = copy + n;
        len[argv.argc] = end != NULL ? (size_t)(end - copy) - n : in.len - n;
        n += len[argv.argc++] + 1;
    }
    if (argv.argc > 0 && len[0] > 0) {
        int slot = ml_redis_command_slot(&argv);

        MUST(slot >= -1 && slot < ML_REDIS_SLOTS);
        (void)ml_redis_command_refusal(&argv);
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct ml_str in = {(const char *)bytes, len};
    struct fuzz_random random = fuzz_random_of(in);
    struct ml_buf whole = {0}, pieces = {0};
    static struct ml_redis_conf conf;
    char *copy = fuzz_copy(bytes, len);
    enum ml_err a = read_all(in, NULL, &whole), b = read_all(in, &random, &pieces);

    /* a length without its end is refused as soon as it is too long: pieces may differ in when */
    MUST(a == b);
    MUST(ml_str_eq(ml_buf_str(&whole), ml_buf_str(&pieces)));
    if (ml_redis_conf_parse((struct ml_str){copy, len}, &conf) == NULL)
        MUST(conf.seed_count > 0 && conf.seeds[0].host[0] != '\0');
    free(copy);
    try_command(in);
    ml_buf_release(&whole);
    ml_buf_release(&pieces);
    return 0;
}
