/* test_message.c - messages between processes: whole, with their descriptors, or refused. */
#include "process/message.h"

#include "process/pack.h"
#include "process/summary.h"
#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>

static int pair[2];
static struct ml_buf scratch;

static void setup(void)
{
    CHECK(ml_message_pair(pair));
}

static void teardown(void)
{
    close(pair[0]);
    close(pair[1]);
    ml_buf_release(&scratch);
}

static unsigned open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

TEST(a_message_arrives_as_it_was_sent)
{
    struct ml_message out = {ML_MESSAGE_FAILED, 7, 9, ML_STR("gateway.lua:3: no"), {0}, 0}, in;

    setup();
    CHECK(ml_message_receive(pair[1], &scratch, &in) == ML_AGAIN);
    CHECK(ml_message_send(pair[0], &out));
    CHECK(ml_message_receive(pair[1], &scratch, &in) == ML_OK);
    CHECK(in.type == ML_MESSAGE_FAILED && in.number == 7 && in.attempt == 9 && in.fd_count == 0);
    CHECK(ml_str_eq(in.text, out.text));
    close(pair[0]);
    CHECK(ml_message_receive(pair[1], &scratch, &in) == ML_EOF);
    pair[0] = dup(pair[1]);
    teardown();
}

TEST(descriptors_travel_and_are_closed_on_exec)
{
    struct ml_message out = {.type = ML_MESSAGE_LOAD}, in;
    unsigned before;

    setup();
    before = open_fds();
    for (int i = 0; i < ML_MESSAGE_FDS_MAX; i++)
        out.fds[out.fd_count++] = 0;
    CHECK(ml_message_send(pair[0], &out));
    CHECK(ml_message_receive(pair[1], &scratch, &in) == ML_OK);
    CHECK(in.fd_count == ML_MESSAGE_FDS_MAX);
    for (unsigned i = 0; i < in.fd_count; i++)
        CHECK((fcntl(in.fds[i], F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(open_fds() == before + ML_MESSAGE_FDS_MAX);
    ml_message_close_fds(&in, 0);
    CHECK(open_fds() == before);
    teardown();
}

TEST(a_long_text_is_cut)
{
    char *text = malloc(ML_MESSAGE_TEXT_MAX + 10);
    struct ml_message out = {.type = ML_MESSAGE_FAILED}, in;

    setup();
    memset(text, 'x', ML_MESSAGE_TEXT_MAX + 10);
    out.text = (struct ml_str){text, ML_MESSAGE_TEXT_MAX + 10};
    CHECK(ml_message_send(pair[0], &out));
    CHECK(ml_message_receive(pair[1], &scratch, &in) == ML_OK);
    CHECK(in.text.len == ML_MESSAGE_TEXT_MAX);
    free(text);
    teardown();
}

/* Catches the bytes of a real message, so that they can be damaged. */
static size_t real_bytes(char *bytes, size_t cap)
{
    struct ml_message out = {ML_MESSAGE_SWITCH, 1, 2, ML_STR("text"), {0}, 0};

    CHECK(ml_message_send(pair[0], &out));
    return (size_t)recv(pair[1], bytes, cap, 0);
}

TEST(damaged_bytes_are_refused_and_their_descriptors_closed)
{
    char bytes[256], damaged[256];
    struct ml_message in;
    size_t len;

    setup();
    len = real_bytes(bytes, sizeof bytes);
    for (size_t cut = 1; cut < len; cut++) {
        CHECK(send(pair[0], bytes, cut, 0) == (ssize_t)cut);
        CHECK(ml_message_receive(pair[1], &scratch, &in) == ML_BAD_FRAMING);
    }
    for (size_t at = 0; at < 8; at++) { /* magic and type */
        memcpy(damaged, bytes, len);
        damaged[at] ^= 0x40;
        CHECK(send(pair[0], damaged, len, 0) == (ssize_t)len);
        CHECK(ml_message_receive(pair[1], &scratch, &in) == ML_BAD_FRAMING);
        CHECK(in.fd_count == 0);
    }
    teardown();
}

TEST(what_is_too_long_for_a_message_is_refused)
{
    size_t len = ML_MESSAGE_TEXT_MAX + 4096;
    char *bytes = calloc(1, len);
    struct ml_message in;

    setup();
    CHECK(send(pair[0], bytes, len, 0) == (ssize_t)len);
    CHECK(ml_message_receive(pair[1], &scratch, &in) == ML_BAD_FRAMING);
    free(bytes);
    teardown();
}

/* ---- pack ---- */

TEST(what_is_packed_comes_out_again)
{
    struct ml_buf b = {0};
    struct ml_unpack in;

    ml_pack_u64(&b, UINT64_MAX);
    ml_pack_str(&b, ML_STR(""));
    ml_pack_str(&b, ML_STR("a\0b"));
    ml_pack_double(&b, -0.5);
    in = (struct ml_unpack){.left = ml_buf_str(&b)};
    CHECK(ml_unpack_u64(&in) == UINT64_MAX);
    CHECK(ml_unpack_str(&in).len == 0);
    CHECK(ml_str_eq(ml_unpack_str(&in), ML_STR("a\0b")));
    CHECK(ml_unpack_double(&in) == -0.5);
    CHECK(ml_unpack_done(&in));
    CHECK(ml_unpack_u64(&in) == 0 && in.bad && !ml_unpack_done(&in));
    CHECK(ml_unpack_str(&in).len == 0);
    ml_buf_release(&b);
}

TEST(a_length_beyond_the_end_is_bad)
{
    uint64_t lengths[] = {1, 1000, UINT64_MAX, UINT64_MAX - 7};

    for (unsigned i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct ml_unpack in = {.left = {(const char *)&lengths[i], sizeof lengths[i]}};

        CHECK(ml_unpack_str(&in).len == 0 && in.bad);
    }
}

/* ---- summary ---- */

static struct ml_site *site(void)
{
    struct ml_site *s = ml_site_new();

    s->settings.workers = 3;
    s->settings.user = ML_STR("nobody");
    s->settings.shutdown_delay = 1.5;
    for (unsigned i = 0; i < 2; i++) {
        ml_listener_defaults(&s->listeners[i]);
        s->listeners[i].port = 3100 + (int)i;
    }
    s->listeners[1].host = ML_STR("::1");
    s->listener_count = 2;
    return s;
}

TEST(a_summary_tells_what_the_supervisor_needs)
{
    struct ml_site *s = site();
    struct ml_buf b = {0};
    struct ml_summary *sum;

    ml_summary_pack(&b, s, ML_STR("0123456789abcdef"), (struct ml_str){"/a\0//b", 7},
                    ML_STR("a\nb\n"));
    sum = ml_summary_unpack(ml_buf_str(&b));
    CHECK(sum != NULL && sum->settings.workers == 3 && sum->settings.shutdown_delay == 1.5);
    CHECK(ml_str_eq(sum->settings.user, ML_STR("nobody")));
    CHECK(ml_str_eq(sum->settings.log_level, ML_STR("info")));
    CHECK(sum->settings.shared_memory == 32 << 20);
    CHECK(ml_str_eq(sum->hash, ML_STR("0123456789abcdef")));
    CHECK(ml_str_eq(sum->warnings, ML_STR("a\nb\n")));
    CHECK(sum->listener_count == 2 && sum->listeners[1].port == 3101);
    CHECK(ml_str_eq(sum->listeners[1].host, ML_STR("::1")));
    ml_summary_free(&sum);
    ml_site_free(&s);
    ml_buf_release(&b);
}

TEST(a_summary_that_is_cut_or_too_long_is_none)
{
    struct ml_site *s = site();
    struct ml_buf b = {0};
    size_t len;

    ml_summary_pack(&b, s, ML_STR("0123456789abcdef"), ML_STR(""), ML_STR(""));
    len = ml_buf_len(&b);
    for (size_t cut = 0; cut < len; cut++) {
        char *copy = test_cliff(ml_buf_str(&b).p, cut);

        CHECK(ml_summary_unpack((struct ml_str){copy, cut}) == NULL);
        test_cliff_free(copy, cut);
    }
    ml_buf_append(&b, ML_STR("x"));
    CHECK(ml_summary_unpack(ml_buf_str(&b)) == NULL);
    ml_site_free(&s);
    ml_buf_release(&b);
}

TEST(a_summary_with_impossible_numbers_is_none)
{
    struct ml_site *s = site();
    struct ml_buf b = {0};

    s->settings.workers = ML_SHM_WORKERS_MAX + 1;
    ml_summary_pack(&b, s, ML_STR(""), ML_STR(""), ML_STR(""));
    CHECK(ml_summary_unpack(ml_buf_str(&b)) == NULL);
    ml_buf_consume(&b, ml_buf_len(&b));
    s->settings.workers = 1;
    s->settings.poll_interval = -1;
    ml_summary_pack(&b, s, ML_STR(""), ML_STR(""), ML_STR(""));
    CHECK(ml_summary_unpack(ml_buf_str(&b)) == NULL);
    ml_site_free(&s);
    ml_buf_release(&b);
}

TEST(settings_that_count_at_the_start_are_named)
{
    struct ml_settings a = {.workers = 2, .shared_memory = 1}, b = a;
    struct ml_buf notes = {0};

    ml_summary_restart_notes(&a, &b, &notes);
    CHECK(ml_buf_len(&notes) == 0);
    b.workers = 4;
    b.user = ML_STR("www");
    b.shared_memory = 2;
    b.limiter_memory = 3;
    ml_summary_restart_notes(&a, &b, &notes);
    CHECK(ml_str_eq(ml_buf_str(&notes),
                    ML_STR("workers = 4 needs a restart (started with 2)\n"
                           "user = \"www\" needs a restart (started with \"\")\n"
                           "shared_memory = 2 needs a restart (started with 1)\n"
                           "limiter_memory = 3 needs a restart (started with 0)\n")));
    ml_buf_release(&notes);
}
