/* fuzz_proxy_protocol.c - a header is whole or not, wherever it is cut, and survives being written.
 */
#include "fuzz.h"
#include "protocol/proxy_protocol.h"

static void check_written(const struct ml_proxy_header *h, int version)
{
    char text[ML_PROXY_WRITE_MAX];
    struct ml_proxy_header again;
    size_t used = 0, len = ml_proxy_protocol_write(h, version, text);

    MUST(len > 0 && len < ML_PROXY_WRITE_MAX);
    MUST(ml_proxy_protocol_read(text, len, &again, &used) == ML_OK && used == len);
    MUST(again.known == h->known);
    if (h->known)
        MUST(memcmp(&again, h, sizeof again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct ml_proxy_header h, part;
    size_t used = 0, ignored = 0;
    enum ml_err err = ml_proxy_protocol_read((const char *)data, len, &h, &used);

    MUST(err == ML_OK || err == ML_AGAIN || err == ML_BAD_REQUEST);
    if (err == ML_AGAIN)
        MUST(len < ML_PROXY_MAX);
    if (err != ML_OK)
        return 0;
    MUST(used > 0 && used <= len && used <= ML_PROXY_MAX);
    for (size_t n = 0; n < used; n += 1 + n / 64)
        MUST(ml_proxy_protocol_read((const char *)data, n, &part, &ignored) == ML_AGAIN);
    check_written(&h, 1);
    check_written(&h, 2);
    return 0;
}
