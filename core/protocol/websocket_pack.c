/* websocket_pack.c - permessage-deflate with zlib.
 *
 * A stream is made when it is used first.  One that forgets after each message is given back with
 * it, so that a quiet connection holds no window. */
#include "protocol/websocket_pack.h"

#include <assert.h>
#include <stdlib.h>
#include <zlib.h>

enum { STEP = 16384, MEMORY_LEVEL = 8 };

struct ml_websocket_zip {
    struct ml_websocket_pack agreed;
    int level;
    z_stream in, out;
    bool reads, writes; /* the stream exists */
};

struct ml_websocket_zip *ml_websocket_zip_new(const struct ml_websocket_pack *agreed, int level)
{
    struct ml_websocket_zip *z = calloc(1, sizeof *z);

    if (z == NULL)
        abort();
    z->agreed = *agreed;
    z->level = level;
    return z;
}

static void end_reading(struct ml_websocket_zip *z)
{
    if (z->reads)
        inflateEnd(&z->in);
    z->reads = false;
}

static void end_writing(struct ml_websocket_zip *z)
{
    if (z->writes)
        deflateEnd(&z->out);
    z->writes = false;
}

void ml_websocket_zip_free(struct ml_websocket_zip **zip)
{
    struct ml_websocket_zip *z = *zip;

    *zip = NULL;
    if (z == NULL)
        return;
    end_reading(z);
    end_writing(z);
    free(z);
}

/* ---- in ---- */

static void begin_reading(struct ml_websocket_zip *z)
{
    if (z->reads)
        return;
    memset(&z->in, 0, sizeof z->in);
    if (inflateInit2(&z->in, -15) != Z_OK) /* reads streams of smaller windows too */
        abort();
    z->reads = true;
}

/* One step.  ML_AGAIN: call again. */
static enum ml_err unpack_step(struct ml_websocket_zip *z, struct ml_buf *out, size_t max)
{
    size_t room = max - ml_buf_len(out) + 1; /* one more shows that it is too much */
    int result;

    if (room > STEP)
        room = STEP;
    z->in.next_out = (Bytef *)ml_buf_reserve(out, room);
    z->in.avail_out = (uInt)room;
    result = inflate(&z->in, Z_SYNC_FLUSH);
    ml_buf_commit(out, room - z->in.avail_out);
    if (ml_buf_len(out) > max)
        return ML_LIMIT;
    if (result == Z_STREAM_END) /* a block may be marked as the last, section 7.2.3.4 */
        return inflateResetKeep(&z->in) == Z_OK && z->in.avail_in > 0 ? ML_AGAIN : ML_OK;
    if (result == Z_BUF_ERROR)
        return ML_OK; /* nothing more to do */
    if (result != Z_OK)
        return ML_BAD_FRAMING;
    return z->in.avail_in > 0 || z->in.avail_out == 0 ? ML_AGAIN : ML_OK;
}

static enum ml_err unpack_bytes(struct ml_websocket_zip *z, struct ml_str piece, struct ml_buf *out,
                                size_t max)
{
    enum ml_err err = ML_OK;

    assert(piece.len <= UINT32_MAX);
    z->in.next_in = (Bytef *)(uintptr_t)piece.p;
    z->in.avail_in = (uInt)piece.len;
    if (piece.len > 0)
        do
            err = unpack_step(z, out, max);
        while (err == ML_AGAIN);
    return err;
}

enum ml_err ml_websocket_unpack(struct ml_websocket_zip *z, struct ml_str piece, bool last,
                                struct ml_buf *out, size_t max)
{
    enum ml_err err;

    begin_reading(z);
    err = unpack_bytes(z, piece, out, max);
    if (err == ML_OK && last) /* what the sender has cut off, section 7.2.2 */
        err = unpack_bytes(z, (struct ml_str){"\0\0\xff\xff", 4}, out, max);
    if (last && z->agreed.client_forgets)
        end_reading(z);
    return err;
}

/* ---- out ---- */

static void begin_writing(struct ml_websocket_zip *z)
{
    if (z->writes)
        return;
    memset(&z->out, 0, sizeof z->out);
    if (deflateInit2(&z->out, z->level, Z_DEFLATED, -z->agreed.server_bits, MEMORY_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        abort();
    z->writes = true;
}

void ml_websocket_pack(struct ml_websocket_zip *z, struct ml_str message, struct ml_buf *out)
{
    if (message.len == 0) { /* zlib flushes nothing twice; section 7.2.3.6 */
        ml_buf_append(out, ML_STR("\0"));
        return;
    }
    begin_writing(z);
    assert(message.len <= UINT32_MAX);
    z->out.next_in = (Bytef *)(uintptr_t)message.p;
    z->out.avail_in = (uInt)message.len;
    do {
        size_t room = message.len / 2 + 64 < STEP ? message.len / 2 + 64 : STEP;

        z->out.next_out = (Bytef *)ml_buf_reserve(out, room);
        z->out.avail_out = (uInt)room;
        (void)deflate(&z->out, Z_SYNC_FLUSH); /* Z_BUF_ERROR: all was out already */
        ml_buf_commit(out, room - z->out.avail_out);
    } while (z->out.avail_out == 0);
    assert(ml_buf_len(out) >= 4);
    out->end -= 4; /* 00 00 ff ff, section 7.2.1 */
    if (z->agreed.server_forgets)
        end_writing(z);
}
