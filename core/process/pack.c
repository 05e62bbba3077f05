/* pack.c - eight bytes for each number, in the order of this machine; strings after their length.
 */
#include "process/pack.h"

void ml_pack_u64(struct ml_buf *out, uint64_t n)
{
    ml_buf_append(out, (struct ml_str){(const char *)&n, sizeof n});
}

void ml_pack_double(struct ml_buf *out, double n)
{
    ml_buf_append(out, (struct ml_str){(const char *)&n, sizeof n});
}

void ml_pack_str(struct ml_buf *out, struct ml_str s)
{
    ml_pack_u64(out, s.len);
    ml_buf_append(out, s);
}

static struct ml_str take(struct ml_unpack *in, uint64_t len)
{
    struct ml_str s = {in->left.p, (size_t)len};

    if (in->bad || len > in->left.len) {
        in->bad = true;
        return (struct ml_str){"", 0};
    }
    in->left.p += len;
    in->left.len -= len;
    return s;
}

uint64_t ml_unpack_u64(struct ml_unpack *in)
{
    uint64_t n = 0;
    struct ml_str s = take(in, sizeof n);

    if (s.len == sizeof n)
        memcpy(&n, s.p, sizeof n);
    return n;
}

double ml_unpack_double(struct ml_unpack *in)
{
    double n = 0;
    struct ml_str s = take(in, sizeof n);

    if (s.len == sizeof n)
        memcpy(&n, s.p, sizeof n);
    return n;
}

struct ml_str ml_unpack_str(struct ml_unpack *in)
{
    return take(in, ml_unpack_u64(in));
}

bool ml_unpack_done(const struct ml_unpack *in)
{
    return !in->bad && in->left.len == 0;
}
