/* static_answer.c - one file as an answer: which coding, whether at all, and how much of it.
 *
 *   entry --Accept-Encoding--> variant --conditions--> 304, 412, or 200 --Range--> 206, 416 or 200
 *
 * Everything said in fields is copied: the entry may be gone before the answer is written. */
#include "inbound/static_parts.h"

#include "base/clock.h"
#include "inbound/file_body.h"
#include "protocol/conditions.h"
#include "protocol/ranges.h"

#include <string.h>

enum { BOUNDARY_BYTES = 12 };

/* ---- the coding ---- */

static struct ml_str accept_encoding(const struct ml_exchange *ex)
{
    const struct ml_field *f = ml_headers_find(&ex->req.headers, ML_STR("accept-encoding"));
    struct ml_str all = f != NULL ? f->value : ML_STR("");

    if (f == NULL)
        return all;
    while ((f = ml_headers_next(&ex->req.headers, f)) != NULL)
        all = ml_arena_printf(ex->arena, "%.*s, %.*s", (int)all.len, all.p, (int)f->value.len,
                              f->value.p);
    return all;
}

static const struct static_variant *choose(const struct static_entry *e,
                                           const struct ml_exchange *ex)
{
    enum ml_coding offers[STATIC_VARIANTS], chosen;
    unsigned count = 0;

    if (!e->varies)
        return &e->variants[0];
    for (unsigned i = 1; i < STATIC_VARIANTS; i++)
        if (e->variants[i].file != NULL)
            offers[count++] = e->variants[i].coding;
    chosen = ml_coding_choose(accept_encoding(ex), offers, count);
    for (unsigned i = 1; i < STATIC_VARIANTS; i++)
        if (e->variants[i].file != NULL && e->variants[i].coding == chosen)
            return &e->variants[i];
    return &e->variants[0];
}

/* ---- the fields ---- */

static void add(struct ml_exchange *ex, struct ml_str name, struct ml_str value)
{
    ml_headers_add(&ex->res.headers, ex->arena, name, ml_arena_dup(ex->arena, value));
}

/* RFC 9110 section 8.8.2.1: not later than Date. */
static void add_modified(struct ml_exchange *ex, const struct static_variant *v, int64_t now_s)
{
    char now[ML_HTTP_DATE_LEN];

    if (v->modified_s > now_s)
        ml_http_date_write(now_s, now);
    add(ex, ML_STR("Last-Modified"),
        (struct ml_str){v->modified_s > now_s ? now : v->modified, ML_HTTP_DATE_LEN});
}

/* Those of 304 too (RFC 9110 section 15.4.5). */
static void add_state(struct ml_exchange *ex, const struct static_entry *e,
                      const struct static_variant *v, int64_t now_s)
{
    if (v->etag_len > 0) {
        add(ex, ML_STR("ETag"), (struct ml_str){v->etag, v->etag_len});
        add_modified(ex, v, now_s);
    }
    if (e->cache_control.len > 0)
        add(ex, ML_STR("Cache-Control"), e->cache_control);
    if (e->varies)
        ml_headers_add(&ex->res.headers, ex->arena, ML_STR("Vary"), ML_STR("Accept-Encoding"));
}

static void add_content(struct ml_exchange *ex, const struct static_variant *v, struct ml_str type)
{
    add(ex, ML_STR("Content-Type"), type);
    if (v->coding != ML_CODING_NONE)
        ml_headers_add(&ex->res.headers, ex->arena, ML_STR("Content-Encoding"),
                       ml_coding_name(v->coding));
}

/* ---- ranges ---- */

static struct ml_str content_range(struct ml_exchange *ex, struct ml_range r, uint64_t size)
{
    return ml_arena_printf(ex->arena, "bytes %llu-%llu/%llu", (unsigned long long)r.first,
                           (unsigned long long)(r.first + r.len - 1), (unsigned long long)size);
}

/* RFC 9110 section 14.6.  The parts; the type of them all replaces *type. */
static unsigned multipart(struct ml_exchange *ex, const struct ml_range *ranges, unsigned count,
                          uint64_t size, struct ml_str *type, struct ml_file_part **parts)
{
    struct ml_file_part *p = ml_arena_zalloc(ex->arena, (count + 1) * sizeof *p);
    char boundary[2 * BOUNDARY_BYTES + 1];

    ml_random_hex(boundary, BOUNDARY_BYTES);
    boundary[2 * BOUNDARY_BYTES] = '\0';
    for (unsigned i = 0; i < count; i++) {
        struct ml_str range = content_range(ex, ranges[i], size);

        p[i].text = ml_arena_printf(ex->arena,
                                    "\r\n--%s\r\nContent-Type: %.*s\r\nContent-Range: %.*s\r\n\r\n",
                                    boundary, (int)type->len, type->p, (int)range.len, range.p);
        p[i].offset = ranges[i].first;
        p[i].len = ranges[i].len;
    }
    p[count].text = ml_arena_printf(ex->arena, "\r\n--%s--\r\n", boundary);
    *type = ml_arena_printf(ex->arena, "multipart/byteranges; boundary=%s", boundary);
    *parts = p;
    return count + 1;
}

static enum ml_ranges wanted(const struct ml_exchange *ex, const struct ml_validators *v,
                             int64_t now_s, uint64_t size, struct ml_range *ranges, unsigned *count)
{
    const struct ml_field *f = ml_headers_find(&ex->req.headers, ML_STR("range"));

    if (f == NULL || ml_headers_next(&ex->req.headers, f) != NULL ||
        !ml_str_eq(ex->req.method, ML_STR("GET")) || /* RFC 9110 section 14.2 */
        !ml_conditions_range(&ex->req.headers, now_s, v))
        return ML_RANGES_WHOLE;
    return ml_ranges_parse(f->value, size, ranges, count);
}

/* ---- the answer ---- */

static bool refuse(struct ml_static_refusal *no, int status, uint64_t size)
{
    *no = (struct ml_static_refusal){status, size};
    return false;
}

static bool send_file(const struct static_entry *e, const struct static_variant *v,
                      struct ml_exchange *ex, int64_t now_s, const struct ml_range *ranges,
                      unsigned count)
{
    struct ml_file_part *parts = ml_arena_zalloc(ex->arena, sizeof *parts);
    struct ml_str type = e->type;
    unsigned part_count = 1;
    bool head = ml_str_eq(ex->req.method, ML_STR("HEAD"));

    parts->len = v->file->size;
    if (count == 1)
        *parts = (struct ml_file_part){ML_STR_NONE, ranges->first, ranges->len};
    else if (count > 1)
        part_count = multipart(ex, ranges, count, v->file->size, &type, &parts);
    if (head) {
        ex->res.no_body = ex->res.has_length = true;
        ex->res.length = v->file->size;
    } else if (!ml_file_body_set(ex, v->file, parts, part_count)) {
        return false;
    }
    add_content(ex, v, type);
    add_state(ex, e, v, now_s);
    if (count == 1)
        ml_headers_add(&ex->res.headers, ex->arena, ML_STR("Content-Range"),
                       content_range(ex, *ranges, v->file->size));
    ml_headers_add(&ex->res.headers, ex->arena, ML_STR("Accept-Ranges"), ML_STR("bytes"));
    return true;
}

bool ml_static_answer(const struct static_entry *e, struct ml_exchange *ex, int status,
                      struct ml_static_refusal *no)
{
    const struct static_variant *v = choose(e, ex);
    struct ml_validators state = {{v->etag, v->etag_len}, v->etag_len > 0, v->modified_s};
    int64_t now_s = (int64_t)ml_clock_wall_s();
    struct ml_range ranges[ML_RANGES_MAX];
    enum ml_ranges asked;
    unsigned count = 0;

    if (v != &e->variants[0] && !ml_file_same(v->file))
        return refuse(no, 0, 0);
    ex->res.from = ML_FROM_SCRIPT;
    if (status != 200) {
        ex->res.status = status;
        return send_file(e, v, ex, now_s, NULL, 0) || refuse(no, 0, 0);
    }
    switch (ml_conditions_check(&ex->req.headers, true, now_s, &state)) {
    case ML_CONDITION_FAILED:
        return refuse(no, 412, 0);
    case ML_CONDITION_NOT_MODIFIED:
        ex->res.status = 304;
        add_state(ex, e, v, now_s);
        return true;
    case ML_CONDITION_GO:
        break;
    }
    asked = wanted(ex, &state, now_s, v->file->size, ranges, &count);
    if (asked == ML_RANGES_UNSATISFIABLE)
        return refuse(no, 416, v->file->size);
    ex->res.status = asked == ML_RANGES_SOME ? 206 : 200;
    return send_file(e, v, ex, now_s, ranges, count) || refuse(no, 0, 0);
}
