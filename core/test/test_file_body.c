/* test_file_body.c - files as bodies: whole and in order over a connection, by sendfile or through
 * memory, and never a descriptor too many. */
#include "conn_lab.h"

#include "inbound/file_body.h"

enum { BIG = 6 << 20, MIDDLE = 100 << 10 };

static char dir[64], path[128];
static int root = -1;

static char byte_at(uint64_t i)
{
    return (char)('a' + (i * 31 + i / 977) % 26);
}

static void put(uint64_t len)
{
    char piece[4096];
    FILE *f = fopen(path, "w");

    for (uint64_t i = 0; f != NULL && i < len;) {
        size_t n = 0;

        for (; n < sizeof piece && i < len; n++, i++)
            piece[n] = byte_at(i);
        if (fwrite(piece, 1, n, f) != n)
            abort();
    }
    if (f == NULL || fclose(f) != 0)
        abort();
}

static void setup(uint64_t len)
{
    snprintf(dir, sizeof dir, "/tmp/moonlatch-body-XXXXXX");
    if (mkdtemp(dir) == NULL)
        abort();
    snprintf(path, sizeof path, "%s/f", dir);
    put(len);
    root = ml_file_root(dir);
    lab_setup();
}

static void teardown(void)
{
    lab_teardown();
    CHECK(ml_file_count() == 0);
    close(root);
    unlink(path);
    rmdir(dir);
}

/* Asks; the exchange is held by the lab. */
static struct ml_exchange *ask(struct client *c, const char *version)
{
    char text[64];
    unsigned count = lab.held_count;

    client_open(c);
    snprintf(text, sizeof text, "GET /file HTTP/1.%s\r\nHost: a\r\n\r\n", version);
    client_say(c, text);
    AWAIT(lab.held_count == count + 1);
    return lab.held[count];
}

static struct ml_file_part *part_of(struct ml_exchange *ex, const char *text, uint64_t offset,
                                    uint64_t len)
{
    struct ml_file_part *p = ml_arena_zalloc(ex->arena, sizeof *p);

    *p = (struct ml_file_part){ml_str_of(text), offset, len};
    return p;
}

static bool begin(struct ml_exchange *ex, const struct ml_file_part *parts, unsigned count)
{
    struct ml_file *f = NULL;
    bool ok;

    if (ml_file_open(root, "f", ML_SYMLINKS_NO, &f) != ML_FILE_REGULAR)
        abort();
    ok = ml_file_body_set(ex, f, parts, count);
    ml_file_release(&f);
    ex->res.status = 200;
    return ok;
}

static void send_whole(struct ml_exchange *ex, uint64_t len)
{
    CHECK(begin(ex, part_of(ex, "", 0, len), 1));
    ml_exchange_respond(ex);
}

/* Bytes of the body so far; its content is checked. */
static uint64_t body_of(struct client *c, uint64_t offset)
{
    struct ml_str s = ml_buf_str(&c->in);
    const char *body = s.len > 0 ? memmem(s.p, s.len, "\r\n\r\n", 4) : NULL;
    uint64_t len;

    if (body == NULL)
        return 0;
    body += 4;
    len = (uint64_t)(s.p + s.len - body);
    for (uint64_t i = 0; i < len; i++)
        if (body[i] != byte_at(offset + i)) {
            CHECK(!"the body has other bytes than the file");
            break;
        }
    return len;
}

static void whole(uint64_t len)
{
    struct client c = {0};

    setup(len);
    send_whole(ask(&c, "1"), len);
    AWAIT(lab.dones == 1);
    AWAIT(body_of(&c, 0) >= len);
    CHECK(body_of(&c, 0) == len && !c.eof && !c.reset);
    CHECK(ml_file_count() == 0);
    client_close(&c);
    teardown();
}

TEST(files_of_all_sizes_arrive)
{
    const uint64_t sizes[] = {0,     1,      ML_FILE_BYTES_MAX, ML_FILE_BYTES_MAX + 1,
                              65536, MIDDLE, 300 << 10,         BIG};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        whole(sizes[i]);
}

TEST(a_large_file_goes_by_sendfile_and_waits_for_a_slow_client)
{
    struct client c = {.deaf = true};
    struct ml_exchange *ex;

    setup(BIG);
    ex = ask(&c, "1");
    send_whole(ex, BIG);
    AWAIT(ex->res.body->splice_blocked);
    CHECK(ml_buf_len(&ex->res.body->buf) == 0 && ml_file_count() == 1);
    CHECK(lab.dones == 0);
    put(10); /* the bytes that are gone on the disk are not made up */
    unlink(path);
    put(BIG); /* another file of this name: not the one that is being sent */
    c.deaf = false;
    ml_stream_want_read(c.s, true);
    AWAIT(c.eof || c.reset || lab.dones == 1);
    AWAIT(lab.cancels == 1);
    CHECK(body_of(&c, 0) < BIG);
    CHECK(ml_file_count() == 0);
    client_close(&c);
    teardown();
}

TEST(a_file_that_is_replaced_meanwhile_is_sent_as_it_was)
{
    struct client c = {.deaf = true};
    struct ml_exchange *ex;

    setup(BIG);
    ex = ask(&c, "1");
    send_whole(ex, BIG);
    AWAIT(ex->res.body->splice_blocked);
    unlink(path);
    put(10);
    c.deaf = false;
    ml_stream_want_read(c.s, true);
    AWAIT(lab.dones == 1 && body_of(&c, 0) == BIG);
    CHECK(ml_file_count() == 0);
    client_close(&c);
    teardown();
}

TEST(a_client_that_leaves_takes_the_descriptor_along)
{
    struct client c = {.deaf = true};
    struct ml_exchange *ex;

    setup(BIG);
    ex = ask(&c, "1");
    send_whole(ex, BIG);
    AWAIT(ex->res.body->splice_blocked);
    client_close(&c);
    AWAIT(lab.cancels == 1);
    AWAIT(ml_file_count() == 0);
    teardown();
}

TEST(a_body_that_is_replaced_or_never_sent_closes_its_file)
{
    struct client c = {0};
    struct ml_exchange *ex;

    setup(BIG);
    ex = ask(&c, "1");
    CHECK(begin(ex, part_of(ex, "", 0, BIG), 1));
    CHECK(ml_file_count() == 1);
    ml_exchange_reset_response(ex);
    CHECK(ml_file_count() == 0);
    CHECK(begin(ex, part_of(ex, "", 0, BIG), 1));
    ex->res.body->on_room = NULL; /* nobody tells it of the end */
    ex->res.body = NULL;
    lab_text(ex, 200, ML_STR("other"));
    AWAIT(lab.dones == 1 && ml_file_count() == 0);
    client_close(&c);
    teardown();
}

TEST(parts_come_in_order_with_their_texts)
{
    struct client c = {0};
    struct ml_exchange *ex;
    struct ml_file_part *parts;
    struct ml_str s;

    setup(BIG);
    ex = ask(&c, "1");
    parts = ml_arena_zalloc(ex->arena, 3 * sizeof *parts);
    parts[0] = (struct ml_file_part){ML_STR("<one>"), 1 << 20, 2 << 20};
    parts[1] = (struct ml_file_part){ML_STR("<two>"), 0, 1 << 20};
    parts[2] = (struct ml_file_part){ML_STR("<end>"), 0, 0};
    CHECK(begin(ex, parts, 3) && ex->res.length == (3 << 20) + 15);
    ml_exchange_respond(ex);
    AWAIT(lab.dones == 1 && client_has(&c, "<end>"));
    s = ml_buf_str(&c.in);
    s.len -= (3 << 20) + 15;
    s.p += s.len;
    CHECK(memcmp(s.p - 4, "\r\n\r\n<one>", 9) == 0);
    CHECK(s.p[5] == byte_at(1 << 20) && s.p[4 + (2 << 20)] == byte_at((3 << 20) - 1));
    CHECK(memcmp(s.p + 5 + (2 << 20), "<two>", 5) == 0 && s.p[10 + (2 << 20)] == byte_at(0));
    CHECK(memcmp(s.p + 10 + (3 << 20), "<end>", 5) == 0);
    client_close(&c);
    teardown();
}

TEST(a_file_shorter_than_announced_is_no_body)
{
    struct client c = {0};
    struct ml_exchange *ex;

    setup(100);
    ex = ask(&c, "1");
    CHECK(!begin(ex, part_of(ex, "", 0, 101), 1));
    CHECK(!begin(ex, part_of(ex, "", 0, BIG), 1));
    CHECK(ex->res.body == NULL && ml_file_count() == 0);
    ex->res = (struct ml_response){0};
    lab_text(ex, 500, ML_STR("short"));
    AWAIT(lab.dones == 1);
    client_close(&c);
    teardown();
}

/* ---- without a socket to send to ---- */

static uint64_t taken, most;

static void take(struct ml_pipe *p)
{
    while (ml_buf_len(&p->buf) > 0) {
        struct ml_str s = ml_buf_str(&p->buf);

        for (size_t i = 0; i < s.len; i++)
            if (s.p[i] != byte_at(taken + i)) {
                CHECK(!"other bytes");
                break;
            }
        most = s.len > most ? s.len : most;
        taken += s.len;
        ml_buf_consume(&p->buf, s.len);
        ml_pipe_took(p, s.len);
    }
}

static void on_data(void *ctx)
{
    struct ml_pipe *p = ctx;

    p->on_data = NULL;
    take(p);
    p->on_data = on_data;
}

TEST(a_consumer_without_a_socket_gets_pieces_and_others_their_turn)
{
    struct client c = {0};
    struct ml_exchange *ex;
    struct ml_pipe *p;

    setup(BIG);
    taken = most = 0;
    ex = ask(&c, "1");
    CHECK(begin(ex, part_of(ex, "", 0, BIG), 1));
    p = ex->res.body;
    p->data_ctx = p;
    on_data(p);
    CHECK(taken < BIG / 2); /* in one turn */
    AWAIT(p->state == ML_PIPE_EOF);
    CHECK(taken == BIG && most <= ML_PIPE_CAP && ml_file_count() == 0);
    p->on_data = NULL;
    ml_exchange_reset_response(ex);
    lab_text(ex, 200, ML_STR("other"));
    AWAIT(lab.dones == 1);
    client_close(&c);
    teardown();
}

TEST(many_clients_share_one_descriptor_each_its_place)
{
    static struct client c[LAB_HELD];
    unsigned count = 40;

    memset(c, 0, sizeof c);
    setup(MIDDLE * 4);
    for (unsigned i = 0; i < count; i++) {
        c[i].deaf = true;
        send_whole(ask(&c[i], "1"), MIDDLE * 4);
    }
    CHECK(ml_file_count() <= count);
    for (unsigned i = 0; i < count; i++) {
        c[i].deaf = false;
        ml_stream_want_read(c[i].s, true);
    }
    AWAIT(lab.dones == count);
    for (unsigned i = 0; i < count; i++) {
        AWAIT(body_of(&c[i], 0) == MIDDLE * 4);
        client_close(&c[i]);
    }
    CHECK(ml_file_count() == 0);
    teardown();
}
