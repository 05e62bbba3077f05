#include "base/buf.h"
#include "outbound/redis_reply.h"

#include "test.h"

#include <sys/resource.h>

static struct ml_redis_reader *reader;
static struct ml_redis_reply *reply;

static void feed(const char *text)
{
    ml_redis_reader_feed(reader, ml_str_of(text));
}

static enum ml_err next(void)
{
    ml_redis_reply_free(&reply);
    return ml_redis_reader_next(reader, &reply);
}

static void begin(void)
{
    reader = ml_redis_reader_new();
}

static void finish(void)
{
    ml_redis_reply_free(&reply);
    ml_redis_reader_free(&reader);
}

static enum ml_err whole(const char *text)
{
    enum ml_err err;

    begin();
    feed(text);
    err = next();
    finish();
    return err;
}

static long peak_kib(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

TEST(each_type_comes_as_it_is)
{
    begin();
    feed("+OK\r\n-ERR no\r\n:-42\r\n$5\r\na\r\nbc\r\n$-1\r\n*-1\r\n*0\r\n$0\r\n\r\n");
    CHECK(next() == ML_OK && reply->type == ML_REDIS_STATUS);
    CHECK(ml_str_eq(ml_redis_reply_text(reply), ML_STR("OK")));
    CHECK(next() == ML_OK && ml_redis_reply_is_error(reply, "ERR"));
    CHECK(!ml_redis_reply_is_error(reply, "ER") && !ml_redis_reply_is_error(reply, "ERR n"));
    CHECK(next() == ML_OK && reply->type == ML_REDIS_INTEGER && reply->integer == -42);
    CHECK(next() == ML_OK && ml_str_eq(ml_redis_reply_text(reply), ML_STR("a\r\nbc")));
    CHECK(next() == ML_OK && reply->type == ML_REDIS_NIL);
    CHECK(next() == ML_OK && reply->type == ML_REDIS_NIL);
    CHECK(next() == ML_OK && reply->type == ML_REDIS_ARRAY && reply->len == 0);
    CHECK(next() == ML_OK && reply->type == ML_REDIS_STRING && reply->len == 0);
    CHECK(next() == ML_AGAIN);
    finish();
}

TEST(a_nested_reply_may_come_one_byte_at_a_time)
{
    static const char text[] = "*3\r\n*2\r\n:1\r\n$1\r\nx\r\n$-1\r\n*1\r\n-E x\r\n";

    begin();
    for (size_t i = 0; i + 1 < sizeof text - 1; i++) {
        ml_redis_reader_feed(reader, (struct ml_str){text + i, 1});
        CHECK(next() == ML_AGAIN);
    }
    feed("\n");
    CHECK(next() == ML_OK && reply->len == 3 && reply->items[0]->len == 2);
    CHECK(reply->items[0]->items[1]->text[0] == 'x');
    CHECK(reply->items[1]->type == ML_REDIS_NIL && reply->items[2]->items[0]->len == 3);
    CHECK(reply->size > 0);
    finish();
}

TEST(a_reply_that_was_begun_is_freed_with_its_reader)
{
    begin();
    feed("*3\r\n*2\r\n$3\r\nabc\r\n:1\r\n$5\r\nab");
    CHECK(next() == ML_AGAIN);
    finish();
}

TEST(garbage_is_an_error_that_stays)
{
    static const char *const bad[] = {"HTTP/1.1 400 Bad Request\r\n\r\n",
                                      "?\r\n",
                                      ":x\r\n",
                                      ":1x\r\n",
                                      "$x\r\n",
                                      "$-2\r\n",
                                      "$3\r\nabcde\r\n:1\r\n",
                                      "*x\r\n",
                                      "*-2\r\n",
                                      "\r\n",
                                      "$99999999999999999999999999\r\n",
                                      "$111111111111111111111111111111"};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        enum ml_err err;

        begin();
        feed(bad[i]);
        err = next();
        if (err == ML_OK) /* the third: the garbage follows a whole reply */
            err = next();
        if (err != ML_UP_PROTOCOL && err != ML_LIMIT) {
            printf("# %s: %s\n", bad[i], ml_err_word(err));
            CHECK(!"accepted");
        }
        feed("+OK\r\n");
        CHECK(next() == err);
        finish();
    }
}

TEST(what_announces_too_much_is_refused_before_it_comes)
{
    long before = peak_kib();

    CHECK(whole("$67108865\r\n") == ML_LIMIT);
    CHECK(whole("$9000000000000000000\r\nx") == ML_LIMIT);
    CHECK(whole("*2147483647\r\n") == ML_LIMIT);
    CHECK(whole("*9000000\r\n") == ML_LIMIT);
    CHECK(whole("*2\r\n*6000000\r\n:1\r\n") == ML_AGAIN);
    CHECK(whole("*1\r\n*4000000\r\n*4000000\r\n*4000000\r\n") == ML_LIMIT);
    CHECK(peak_kib() - before < 4 * ML_REDIS_REPLY_MAX / 1024);
}

TEST(seven_arrays_deep_is_deep_enough)
{
    CHECK(whole("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n") == ML_OK);
    CHECK(whole("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n") ==
          ML_UP_PROTOCOL);
}

TEST(a_line_without_end_is_refused)
{
    char block[4097];
    enum ml_err err = ML_AGAIN;
    unsigned fed = 0;

    memset(block, 'x', sizeof block - 1);
    block[sizeof block - 1] = '\0';
    begin();
    feed("+");
    while (err == ML_AGAIN && fed < 100) {
        feed(block);
        fed++;
        err = next();
    }
    CHECK(err == ML_UP_PROTOCOL && fed <= 17);
    finish();
}

TEST(many_small_items_count_with_what_they_need)
{
    struct ml_buf text = {0};
    enum ml_err err = ML_AGAIN;
    long before = peak_kib();

    begin();
    feed("*4000000\r\n");
    for (unsigned i = 0; i < 4096; i++)
        ml_buf_append(&text, ML_STR("$-1\r\n"));
    for (unsigned i = 0; i < 1000 && err == ML_AGAIN; i++) {
        ml_redis_reader_feed(reader, ml_buf_str(&text));
        err = next();
    }
    CHECK(err == ML_LIMIT);
    CHECK(peak_kib() - before < 4 * ML_REDIS_REPLY_MAX / 1024);
    finish();
    ml_buf_release(&text);
}

TEST(the_limit_is_for_each_reply)
{
    struct ml_buf text = {0};

    ml_buf_printf(&text, "$%d\r\n", 1 << 20);
    memset(ml_buf_reserve(&text, (1 << 20) + 2), 'v', 1 << 20);
    ml_buf_commit(&text, 1 << 20);
    ml_buf_append(&text, ML_STR("\r\n"));
    begin();
    for (unsigned i = 0; i < 80; i++) {
        ml_redis_reader_feed(reader, ml_buf_str(&text));
        CHECK(next() == ML_OK && reply->len == 1 << 20);
    }
    finish();
    ml_buf_release(&text);
}
