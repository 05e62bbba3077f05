/* test_proxy_protocol.c - headers as the specification has them, cut at every byte, and wrong ones.
 */
#include "protocol/proxy_protocol.h"

#include "test.h"

static struct ml_proxy_header h;
static size_t used;

/* Every proper prefix waits for more, and bytes behind the header are not touched. */
static enum ml_err read_all(const char *p, size_t len)
{
    char *edge = malloc(len + 16);
    enum ml_err err;

    for (size_t n = 0; n < len; n++) {
        memcpy(edge, p, n);
        err = ml_proxy_protocol_read(edge, n, &h, &used);
        if (err != ML_AGAIN) {
            free(edge);
            return err;
        }
    }
    memcpy(edge, p, len);
    memcpy(edge + len, "GET / HTTP/1.1\r\n", 16);
    used = 0;
    err = ml_proxy_protocol_read(edge, len + 16, &h, &used);
    free(edge);
    return err;
}

static enum ml_err text(const char *s)
{
    return read_all(s, strlen(s));
}

static bool is_v4(const struct ml_proxy_end *end, const char bytes[4], unsigned port)
{
    return memcmp(end->bytes, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) == 0 &&
           memcmp(end->bytes + 12, bytes, 4) == 0 && end->port == port;
}

TEST(version_1_tells_of_a_client)
{
    const char *line = "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";

    CHECK(text(line) == ML_OK && used == strlen(line) && h.known);
    CHECK(is_v4(&h.source, "\xc0\x00\x02\x07", 56324));
    CHECK(is_v4(&h.dest, "\xc6\x33\x64\x01", 443));
    CHECK(text("PROXY TCP6 2001:db8::7 ::1 1 65535\r\n") == ML_OK && h.known);
    CHECK(h.source.bytes[0] == 0x20 && h.source.bytes[15] == 7 && h.dest.bytes[15] == 1);
    CHECK(h.source.port == 1 && h.dest.port == 65535);
    CHECK(text("PROXY UNKNOWN\r\n") == ML_OK && !h.known);
    CHECK(text("PROXY UNKNOWN ffff::1 whatever 1 2\r\n") == ML_OK && !h.known && used == 36);
}

TEST(version_1_is_taken_word_by_word)
{
    static const char *const wrong[] = {
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\n",
        "PROXY TCP4  192.0.2.7 198.51.100.1 56324 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 \r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 7\r\n",
        "PROXY TCP4 192.0.2.07 198.51.100.1 56324 443\r\n",
        "PROXY TCP4 192.0.2 198.51.100.1 56324 443\r\n",
        "PROXY TCP4 192.0.2.256 198.51.100.1 56324 443\r\n",
        "PROXY TCP4 ::1 ::1 56324 443\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 56324 443\r\n",
        "PROXY TCP6 fe80::1%lo ::1 56324 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 +1 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 01 443\r\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 1 443\r\n",
        "PROXY tcp4 192.0.2.7 198.51.100.1 1 443\r\n",
        "PROXY \r\n",
        "PROXY\r\n",
        "proxy TCP4 192.0.2.7 198.51.100.1 1 443\r\n",
        "GET / HTTP/1.1\r\n",
        "POST / HTTP/1.1\r\n",
        "\r\n",
    };

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK(text(wrong[i]) == ML_BAD_REQUEST);
        if (text(wrong[i]) != ML_BAD_REQUEST)
            printf("# %s", wrong[i]);
    }
}

TEST(version_1_has_a_longest_line)
{
    char line[200];

    memset(line, 'x', sizeof line);
    memcpy(line, "PROXY UNKNOWN ", 14);
    CHECK(ml_proxy_protocol_read(line, ML_PROXY_V1_MAX - 1, &h, &used) == ML_AGAIN);
    CHECK(ml_proxy_protocol_read(line, ML_PROXY_V1_MAX, &h, &used) == ML_BAD_REQUEST);
    memcpy(line + ML_PROXY_V1_MAX - 2, "\r\n", 2);
    CHECK(ml_proxy_protocol_read(line, sizeof line, &h, &used) == ML_OK && used == ML_PROXY_V1_MAX);
}

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define READ2(bytes) read_all(SIGNATURE bytes, sizeof SIGNATURE bytes - 1)

TEST(version_2_tells_of_a_client)
{
    CHECK(READ2("\x21\x11\0\x0c\xc0\0\2\7\xc6\x33\x64\1\xdc\x04\1\xbb") == ML_OK && used == 28);
    CHECK(h.known && is_v4(&h.source, "\xc0\x00\x02\x07", 56324));
    CHECK(is_v4(&h.dest, "\xc6\x33\x64\x01", 443));
    CHECK(
        READ2("\x21\x21\0\x24"
              "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\7\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\1\0\2") ==
        ML_OK);
    CHECK(h.known && h.source.bytes[15] == 7 && h.source.port == 1 && h.dest.port == 2);
    CHECK(READ2("\x20\0\0\0") == ML_OK && !h.known && used == 16); /* LOCAL */
    CHECK(READ2("\x20\x11\0\x0c\xc0\0\2\7\xc6\x33\x64\1\xdc\x04\1\xbb") == ML_OK && !h.known);
    CHECK(READ2("\x21\0\0\3\xee\0\0") == ML_OK && !h.known); /* of no family, with an extension */
}

TEST(version_2_refuses_what_it_does_not_know)
{
    CHECK(READ2("\x11\x11\0\x0c............") == ML_BAD_REQUEST); /* another version */
    CHECK(READ2("\x22\x11\0\x0c............") == ML_BAD_REQUEST); /* another command */
    CHECK(READ2("\x21\x12\0\x0c............") == ML_BAD_REQUEST); /* UDP */
    CHECK(READ2("\x21\x41\0\x0c............") == ML_BAD_REQUEST);
    CHECK(READ2("\x21\x11\0\x0b...........") == ML_BAD_REQUEST); /* too short for its family */
    CHECK(READ2("\x21\x11\x10\x01") == ML_BAD_REQUEST);          /* longer than 4096 */
}

TEST(extensions_are_passed_over_when_they_fit)
{
    CHECK(READ2("\x21\x11\0\x12\xc0\0\2\7\xc6\x33\x64\1\xdc\x04\1\xbb\xe0\0\3abc") == ML_OK &&
          used == 34);
    CHECK(READ2("\x21\x11\0\x12\xc0\0\2\7\xc6\x33\x64\1\xdc\x04\1\xbb\xe0\0\4abc") ==
          ML_BAD_REQUEST);
    CHECK(READ2("\x21\x11\0\x0e\xc0\0\2\7\xc6\x33\x64\1\xdc\x04\1\xbb\xe0\0") == ML_BAD_REQUEST);
    CHECK(READ2("\x21\x11\0\x13\xc0\0\2\7\xc6\x33\x64\1\xdc\x04\1\xbb\3\0\4abcd") ==
          ML_BAD_REQUEST);
}

/* CRC-32C by its definition, bit for bit, of the header with zeros in the place of the sum. */
TEST(a_checksum_must_be_right)
{
    char m[] = SIGNATURE "\x21\x11\0\x13\xc0\0\2\7\xc6\x33\x64\1\xdc\x04\1\xbb\3\0\4\0\0\0\0";
    uint32_t crc = ~0u;
    size_t len = sizeof m - 1;

    for (size_t i = 0; i < len * 8; i++) {
        uint32_t bit = (crc ^ (uint32_t)((unsigned char)m[i / 8] >> i % 8)) & 1;

        crc = crc >> 1 ^ (bit ? 0x82f63b78u : 0);
    }
    crc = ~crc;
    for (int i = 0; i < 4; i++)
        m[len - 4 + (size_t)i] = (char)(crc >> (24 - 8 * i));
    CHECK(read_all(m, len) == ML_OK && h.known);
    m[16] ^= 1;
    CHECK(read_all(m, len) == ML_BAD_REQUEST);
}

TEST(what_is_written_is_read)
{
    struct ml_proxy_header out = {.known = true, .source.port = 7, .dest.port = 65535};
    char text_out[ML_PROXY_WRITE_MAX];
    size_t len;

    memcpy(out.source.bytes, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\7", 16);
    memcpy(out.dest.bytes, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\1", 16);
    len = ml_proxy_protocol_write(&out, 1, text_out);
    CHECK(len == 40 && memcmp(text_out, "PROXY TCP4 192.0.2.7 127.0.0.1 7 65535\r\n", 40) == 0);
    for (int version = 1; version <= 2; version++) {
        len = ml_proxy_protocol_write(&out, version, text_out);
        CHECK(read_all(text_out, len) == ML_OK && used == len && memcmp(&h, &out, sizeof h) == 0);
    }
    memset(out.source.bytes, 0xee, 16); /* the longest text */
    memset(out.dest.bytes, 0xee, 16);
    out.source.port = 65535;
    for (int version = 1; version <= 2; version++) {
        len = ml_proxy_protocol_write(&out, version, text_out);
        CHECK(read_all(text_out, len) == ML_OK && used == len && memcmp(&h, &out, sizeof h) == 0);
    }
    out.known = false;
    for (int version = 1; version <= 2; version++) {
        len = ml_proxy_protocol_write(&out, version, text_out);
        CHECK(read_all(text_out, len) == ML_OK && used == len && !h.known);
    }
}
