/* test_websocket.c - frames, UTF-8, close codes, the handshake, the ends of frames, compression. */
#include "protocol/websocket.h"
#include "protocol/websocket_pack.h"
#include "test.h"

static enum ml_err head(const char *bytes, size_t len, bool may_pack, struct ml_websocket_frame *f)
{
    char *copy = test_cliff(bytes, len);
    size_t used = 0;
    enum ml_err err;

    for (size_t n = 0; n < len; n++) {
        char *part = test_cliff(bytes, n);

        err = ml_websocket_head((struct ml_str){part, n}, may_pack, f, &used);
        test_cliff_free(part, n);
        if (err == ML_BAD_FRAMING)
            break;
        CHECK(err == ML_AGAIN);
    }
    err = ml_websocket_head((struct ml_str){copy, len}, may_pack, f, &used);
    CHECK(err != ML_OK || used == len);
    test_cliff_free(copy, len);
    return err;
}
#define HEAD(literal, pack, f) head(literal, sizeof(literal) - 1, pack, f)

TEST(a_head_may_come_one_byte_at_a_time)
{
    struct ml_websocket_frame f;

    CHECK(HEAD("\x81\x05", false, &f) == ML_OK);
    CHECK(f.fin && !f.packed && !f.masked && f.opcode == ML_WEBSOCKET_TEXT && f.length == 5);
    CHECK(HEAD("\x02\xfe\x01\x00"
               "abcd",
               false, &f) == ML_OK);
    CHECK(!f.fin && f.masked && f.opcode == ML_WEBSOCKET_BINARY && f.length == 256);
    CHECK(memcmp(f.mask, "abcd", 4) == 0);
    CHECK(HEAD("\x80\x7f\x00\x00\x00\x01\x00\x00\x00\x00", false, &f) == ML_OK);
    CHECK(f.opcode == ML_WEBSOCKET_MORE && f.length == UINT64_C(1) << 32);
}

TEST(what_no_endpoint_may_send_is_refused)
{
    struct ml_websocket_frame f;

    CHECK(HEAD("\xc1\x05", false, &f) == ML_BAD_FRAMING); /* RSV1 */
    CHECK(HEAD("\xc1\x05", true, &f) == ML_OK && f.packed);
    CHECK(HEAD("\xc0\x05", true, &f) == ML_BAD_FRAMING); /* on a continuation */
    CHECK(HEAD("\xc9\x05", true, &f) == ML_BAD_FRAMING); /* on a control frame */
    CHECK(HEAD("\xa1\x05", true, &f) == ML_BAD_FRAMING);
    CHECK(HEAD("\x91\x05", true, &f) == ML_BAD_FRAMING);
    for (unsigned opcode = 0; opcode < 16; opcode++) {
        char bytes[2] = {(char)(0x80 | opcode), 0};
        bool known = opcode < 3 || (opcode > 7 && opcode < 11);

        CHECK(head(bytes, 2, false, &f) == (known ? ML_OK : ML_BAD_FRAMING));
    }
    CHECK(HEAD("\x08\x00", false, &f) == ML_BAD_FRAMING);         /* a control frame in parts */
    CHECK(HEAD("\x89\x7e\x00\x7e", false, &f) == ML_BAD_FRAMING); /* a long one */
    CHECK(HEAD("\x82\x7e\x00\x7d", false, &f) == ML_BAD_FRAMING); /* not the shortest form */
    CHECK(HEAD("\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff", false, &f) == ML_BAD_FRAMING);
    CHECK(HEAD("\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00", false, &f) == ML_BAD_FRAMING);
}

TEST(masking_is_its_own_inverse_at_any_place)
{
    const unsigned char mask[4] = {1, 2, 4, 8};
    char bytes[70], want[70];

    for (size_t len = 0; len <= sizeof bytes; len++)
        for (size_t at = 0; at < 5; at++) {
            for (size_t i = 0; i < len; i++)
                want[i] = (char)((char)i ^ mask[(at + i) & 3]);
            for (size_t i = 0; i < len; i++)
                bytes[i] = (char)i;
            ml_websocket_mask(bytes, len, mask, at);
            CHECK(memcmp(bytes, want, len) == 0);
        }
}

TEST(what_is_put_can_be_read)
{
    const unsigned char mask[4] = {9, 8, 7, 6};
    static char payload[70000];
    const size_t lens[] = {0, 1, 125, 126, 65535, 65536, 70000};

    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++)
        for (int masked = 0; masked < 2; masked++) {
            struct ml_websocket_frame f;
            struct ml_buf out = {0};
            size_t used = 0;

            memset(payload, 'x', sizeof payload);
            ml_websocket_put(&out, ML_WEBSOCKET_BINARY, true, false, masked ? mask : NULL,
                             (struct ml_str){payload, lens[i]});
            CHECK(ml_websocket_head(ml_buf_str(&out), false, &f, &used) == ML_OK);
            CHECK(f.length == lens[i] && f.masked == masked && ml_buf_len(&out) == used + lens[i]);
            ml_buf_consume(&out, used);
            if (masked)
                ml_websocket_mask(out.p + out.start, lens[i], f.mask, 0);
            CHECK(ml_str_eq(ml_buf_str(&out), (struct ml_str){payload, lens[i]}));
            ml_buf_release(&out);
        }
}

TEST(a_close_frame_has_a_code_that_may_be_sent)
{
    struct ml_str reason;
    int code;

    for (code = 0; code < 5100; code++) {
        bool want = (code >= 3000 && code < 5000) || (code >= 1000 && code <= 1003) ||
                    (code >= 1007 && code <= 1014);

        CHECK(ml_websocket_code_ok(code) == want);
    }
    CHECK(ml_websocket_read_close(ML_STR(""), &code, &reason) && code == ML_WEBSOCKET_NO_CODE);
    CHECK(!ml_websocket_read_close(ML_STR("\x03"), &code, &reason) && code == 1002);
    CHECK(!ml_websocket_read_close(ML_STR("\x03\xed"), &code, &reason) && code == 1002);
    CHECK(!ml_websocket_read_close(ML_STR("\x03\xe8\xff"), &code, &reason) && code == 1007);
    CHECK(ml_websocket_read_close(ML_STR("\x03\xe9"
                                         "bye"),
                                  &code, &reason));
    CHECK(code == 1001 && ml_str_eq(reason, ML_STR("bye")));
}

TEST(a_reason_that_is_too_long_is_cut_between_characters)
{
    struct ml_buf out = {0};
    char text[200];
    struct ml_str reason;
    int code;

    for (size_t i = 0; i < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xa4", 2);
    ml_websocket_put_close(&out, 1000, (struct ml_str){text, sizeof text}, NULL);
    CHECK(ml_buf_len(&out) == 2 + 2 + 122);
    ml_buf_consume(&out, 2);
    CHECK(ml_websocket_read_close(ml_buf_str(&out), &code, &reason) && reason.len == 122);
    ml_buf_release(&out);
}

/* -1: wrong, 0: incomplete, 1: whole; the same in pieces of any size. */
static int utf8(const char *text)
{
    size_t len = strlen(text);
    int result = 2;

    for (size_t cut = 0; cut <= len; cut++) {
        struct ml_utf8 u = {0};
        bool ok = ml_utf8_feed(&u, (struct ml_str){text, cut}) &&
                  ml_utf8_feed(&u, (struct ml_str){text + cut, len - cut});
        int this = !ok ? -1 : ml_utf8_whole(&u) ? 1 : 0;

        CHECK(result == 2 || result == this);
        result = this;
    }
    return result;
}

TEST(utf8_is_what_rfc_3629_says)
{
    CHECK(utf8("") == 1 && utf8("sixteen or more ascii characters, then \xc3\xa4") == 1);
    CHECK(utf8("\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5") == 1);
    CHECK(utf8("\xed\x9f\xbf") == 1 && utf8("\xee\x80\x80") == 1 && utf8("\xf4\x8f\xbf\xbf") == 1);
    CHECK(utf8("\xed\xa0\x80") == -1 && utf8("\xed\xbf\xbf") == -1); /* surrogates */
    CHECK(utf8("\xc0\x80") == -1 && utf8("\xc1\xbf") == -1);         /* overlong */
    CHECK(utf8("\xe0\x9f\xbf") == -1 && utf8("\xf0\x8f\xbf\xbf") == -1);
    CHECK(utf8("\xf4\x90\x80\x80") == -1 && utf8("\xf5") == -1 && utf8("\xff") == -1);
    CHECK(utf8("\x80") == -1 && utf8("\xc3(") == -1 && utf8("a\xe1\xbd") == 0);
}

TEST(the_handshake_has_the_answer_of_the_rfc)
{
    char out[ML_WEBSOCKET_ACCEPT_LEN];

    CHECK(ml_websocket_key_ok(ML_STR("dGhlIHNhbXBsZSBub25jZQ==")));
    CHECK(!ml_websocket_key_ok(ML_STR("dGhlIHNhbXBsZSBub25jZQ=")));
    CHECK(!ml_websocket_key_ok(ML_STR("dGhlIHNhbXBsZSBub25jZ,==")));
    ml_websocket_accept(ML_STR("dGhlIHNhbXBsZSBub25jZQ=="), out);
    CHECK(memcmp(out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", sizeof out) == 0);
}

/* What is agreed on for an offer, as text; "" when nothing is. */
static const char *agree(const char *offer, struct ml_websocket_pack bounds)
{
    static char text[200];
    struct ml_arena *arena = ml_arena_new();
    struct ml_headers h = {0};
    struct ml_buf out = {0};

    ml_headers_add(&h, arena, ML_STR("Sec-WebSocket-Extensions"), ml_str_of(offer));
    if (ml_websocket_agree(&h, &bounds))
        ml_websocket_put_agreed(&out, &bounds);
    snprintf(text, sizeof text, "%.*s", (int)ml_buf_len(&out), out.p != NULL ? out.p : "");
    ml_buf_release(&out);
    ml_arena_free(&arena);
    return text;
}

TEST(the_first_offer_that_can_be_kept_is_accepted)
{
    const struct ml_websocket_pack all = {.server_bits = 15, .client_bits = 15};
    const struct ml_websocket_pack small = {
        .server_bits = 11, .client_bits = 10, .server_forgets = true};

#define AGREES(offer, bounds, want) CHECK(strcmp(agree(offer, bounds), want) == 0)
    AGREES("permessage-deflate", all, "permessage-deflate");
    AGREES("x-webkit-deflate-frame, permessage-deflate; client_max_window_bits", all,
           "permessage-deflate");
    AGREES("permessage-deflate; client_max_window_bits", small,
           "permessage-deflate; server_no_context_takeover; server_max_window_bits=11; "
           "client_max_window_bits=10");
    AGREES("permessage-deflate", small,
           "permessage-deflate; server_no_context_takeover; server_max_window_bits=11");
    AGREES("permessage-deflate; server_max_window_bits=10; client_no_context_takeover", all,
           "permessage-deflate; client_no_context_takeover; server_max_window_bits=10");
    AGREES("permessage-deflate; client_max_window_bits=\"9\"", all,
           "permessage-deflate; client_max_window_bits=9");
    AGREES("permessage-deflate; server_max_window_bits=8, permessage-deflate", all,
           "permessage-deflate");
    AGREES("permessage-deflate; server_max_window_bits", all, "");
    AGREES("permessage-deflate; server_max_window_bits=16", all, "");
    AGREES("permessage-deflate; client_max_window_bits=7", all, "");
    AGREES("permessage-deflate; server_no_context_takeover=1", all, "");
    AGREES("permessage-deflate; server_no_context_takeover; server_no_context_takeover", all, "");
    AGREES("permessage-deflate; what=1", all, "");
    AGREES("permessage-bzip2", all, "");
}

TEST(the_ends_of_frames_are_found_in_any_pieces)
{
    struct ml_buf out = {0};
    size_t ends[4];

    ml_websocket_put(&out, ML_WEBSOCKET_TEXT, true, false, NULL, ML_STR("hello"));
    ends[0] = ml_buf_len(&out);
    ml_websocket_put(&out, ML_WEBSOCKET_PING, true, false, (const unsigned char *)"abcd",
                     ML_STR(""));
    ends[1] = ml_buf_len(&out);
    ml_websocket_put(&out, ML_WEBSOCKET_BINARY, true, false, NULL,
                     (struct ml_str){(char[300]){0}, 300});
    ends[2] = ml_buf_len(&out);
    ml_websocket_put_close(&out, 1000, ML_STR("x"), NULL);
    ends[3] = ml_buf_len(&out);
    for (size_t step = 1; step <= ends[3]; step++) {
        struct ml_websocket_track t = {0}, stopping = {0};
        size_t at = 0, found = 0, last = 0;

        for (; at < ends[3]; at += step) {
            size_t n = at + step <= ends[3] ? step : ends[3] - at;

            CHECK(ml_websocket_track(&t, (struct ml_str){out.p + at, n}, false) == n);
        }
        CHECK(ml_websocket_at_end(&t) && t.closed);
        for (at = 0; at < ends[3];) {
            size_t n = at + step <= ends[3] ? step : ends[3] - at;

            if (ml_websocket_at_end(&stopping)) { /* one byte on, as for data that passes */
                ml_websocket_track(&stopping, (struct ml_str){out.p + at, 1}, false);
                at++;
            } else {
                at += ml_websocket_track(&stopping, (struct ml_str){out.p + at, n}, true);
            }
            if (ml_websocket_at_end(&stopping) && at > last) {
                CHECK(found < 4 && at == ends[found]);
                last = ends[found++];
            }
        }
        CHECK(found == 4);
    }
    ml_buf_release(&out);
}

TEST(bytes_that_are_no_frames_have_no_end)
{
    struct ml_websocket_track t = {0};

    CHECK(ml_websocket_track(&t, ML_STR("\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff x"), false) ==
          12);
    CHECK(t.lost && !ml_websocket_at_end(&t));
}

static void round_trips(struct ml_websocket_pack agreed)
{
    struct ml_websocket_zip *a = ml_websocket_zip_new(&agreed, 6);
    struct ml_websocket_pack other = {.server_bits = 15,
                                      .client_bits = agreed.server_bits,
                                      .client_forgets = agreed.server_forgets};
    struct ml_websocket_zip *b = ml_websocket_zip_new(&other, 6);
    static char text[100000];

    for (size_t i = 0; i < sizeof text; i++)
        text[i] = "moonlatch"[i * i % 7];
    for (size_t len = 1; len <= sizeof text; len = len * 3 + 1) {
        struct ml_buf packed = {0}, plain = {0};
        enum ml_err err = ML_OK;

        ml_websocket_pack(a, (struct ml_str){text, len}, &packed);
        for (size_t i = 0; i < ml_buf_len(&packed) && err == ML_OK; i += 100) {
            size_t n = ml_buf_len(&packed) - i;

            err = ml_websocket_unpack(b, (struct ml_str){packed.p + i, n < 100 ? n : 100}, n <= 100,
                                      &plain, len);
        }
        CHECK(err == ML_OK && ml_str_eq(ml_buf_str(&plain), (struct ml_str){text, len}));
        ml_buf_release(&packed);
        ml_buf_release(&plain);
    }
    ml_websocket_zip_free(&a);
    ml_websocket_zip_free(&b);
}

TEST(packed_messages_come_back)
{
    round_trips((struct ml_websocket_pack){.server_bits = 15});
    round_trips((struct ml_websocket_pack){.server_bits = 9});
    round_trips((struct ml_websocket_pack){.server_bits = 12, .server_forgets = true});
}

TEST(the_examples_of_rfc_7692_unpack)
{
    static const struct ml_str hello[] = {
        {"\xf2\x48\xcd\xc9\xc9\x07\x00", 7},
        {"\xf2\x00\x11\x00\x00", 5},                                  /* with the window before */
        {"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 11},         /* not compressed */
        {"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8},                      /* BFINAL */
        {"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13}, /* two blocks */
    };
    const struct ml_websocket_pack agreed = {.server_bits = 15};
    struct ml_websocket_zip *z = ml_websocket_zip_new(&agreed, 6);

    for (size_t i = 0; i < sizeof hello / sizeof *hello; i++) {
        struct ml_buf out = {0};

        CHECK(ml_websocket_unpack(z, hello[i], true, &out, 5) == ML_OK);
        CHECK(ml_str_eq(ml_buf_str(&out), ML_STR("Hello")));
        ml_buf_release(&out);
    }
    ml_websocket_zip_free(&z);
}

TEST(empty_messages_may_be_packed_one_after_the_other)
{
    const struct ml_websocket_pack agreed = {.server_bits = 15};
    struct ml_websocket_zip *a = ml_websocket_zip_new(&agreed, 6);
    struct ml_websocket_zip *b = ml_websocket_zip_new(&agreed, 6);
    const struct ml_str messages[] = {ML_STR(""), ML_STR("x"), ML_STR(""), ML_STR(""), ML_STR("x")};

    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
        struct ml_buf packed = {0}, plain = {0};

        ml_websocket_pack(a, messages[i], &packed);
        CHECK(ml_buf_len(&packed) > 0);
        CHECK(ml_websocket_unpack(b, ml_buf_str(&packed), true, &plain, 1) == ML_OK);
        CHECK(ml_str_eq(ml_buf_str(&plain), messages[i]));
        ml_buf_release(&packed);
        ml_buf_release(&plain);
    }
    ml_websocket_zip_free(&a);
    ml_websocket_zip_free(&b);
}

TEST(a_bomb_stops_at_the_limit)
{
    const struct ml_websocket_pack agreed = {.server_bits = 15};
    struct ml_websocket_zip *z = ml_websocket_zip_new(&agreed, 9);
    struct ml_buf packed = {0}, out = {0};
    char *zeroes = calloc(1, 8 << 20);

    ml_websocket_pack(z, (struct ml_str){zeroes, 8 << 20}, &packed);
    CHECK(ml_buf_len(&packed) < 10000);
    CHECK(ml_websocket_unpack(z, ml_buf_str(&packed), true, &out, 100000) == ML_LIMIT);
    CHECK(ml_buf_len(&out) == 100001 && out.cap <= 262144);
    free(zeroes);
    ml_buf_release(&packed);
    ml_buf_release(&out);
    ml_websocket_zip_free(&z);
}

TEST(what_is_no_deflate_is_refused)
{
    const struct ml_websocket_pack agreed = {.server_bits = 15};
    struct ml_websocket_zip *z = ml_websocket_zip_new(&agreed, 6);
    struct ml_buf out = {0};

    CHECK(ml_websocket_unpack(z, ML_STR("\xff\xff\xff"), true, &out, 100) == ML_BAD_FRAMING);
    ml_buf_release(&out);
    ml_websocket_zip_free(&z);
}
