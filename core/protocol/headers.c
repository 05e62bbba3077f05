/* headers.c - a growing array of fields.
 *
 * A name is recognised by its length and one of its bytes, which leave one candidate at most; only
 * that one is compared.  The fields are few, so looking one up is a walk over their ids, and none
 * when no name with its key was added. */
#include "protocol/headers.h"

#include "protocol/chars.h"

#include <assert.h>

enum { FIRST_CAP = 24 };

static const struct ml_str names[ML_H_COUNT] = {[ML_H_OTHER] = {"", 0},
#define X(id, name) [ML_H_##id] = {name, sizeof(name) - 1},
                                                ML_HEADER_TABLE(X)
#undef X
};

static enum ml_header_id either(bool is_first, enum ml_header_id first, enum ml_header_id second)
{
    return is_first ? first : second;
}

/* The only known name of that length that can begin with (or have) that byte. */
static enum ml_header_id candidate_short(size_t len, char first)
{
    switch (len) {
    case 2:
        return ML_H_TE;
    case 3:
        return ML_H_VIA;
    case 4:
        return either(first == 'h', ML_H_HOST, ML_H_DATE);
    case 5:
        return ML_H_PROXY;
    case 6:
        return first == 's' ? ML_H_SERVER : either(first == 'c', ML_H_COOKIE, ML_H_EXPECT);
    case 7:
        return either(first == 't', ML_H_TRAILER, ML_H_UPGRADE);
    case 9:
        return either(first == 'x', ML_H_X_REAL_IP, ML_H_FORWARDED);
    default:
        return ML_H_OTHER;
    }
}

static enum ml_header_id candidate_long(struct ml_str name, char first)
{
    switch (name.len) {
    case 10:
        return first == 's' ? ML_H_SET_COOKIE
                            : either(first == 'c', ML_H_CONNECTION, ML_H_KEEP_ALIVE);
    case 12:
        return first == 'c' ? ML_H_CONTENT_TYPE
                            : either(first == 'x', ML_H_X_REQUEST_ID, ML_H_MAX_FORWARDS);
    case 13:
        return ML_H_AUTHORIZATION;
    case 14:
        return either(first == 'c', ML_H_CONTENT_LENGTH, ML_H_HTTP2_SETTINGS);
    case 15:
        return ML_H_X_FORWARDED_FOR;
    case 16:
        if (first == 'p')
            return ML_H_PROXY_CONNECTION;
        return either((name.p[12] | 0x20) == 'h', ML_H_X_FORWARDED_HOST, ML_H_X_FORWARDED_PORT);
    case 17:
        return either(first == 't', ML_H_TRANSFER_ENCODING, ML_H_X_FORWARDED_PROTO);
    case 18:
        return ML_H_PROXY_AUTHENTICATE;
    case 19:
        return ML_H_PROXY_AUTHORIZATION;
    default:
        return ML_H_OTHER;
    }
}

static uint64_t word_at(const char *p)
{
    uint64_t word;

    memcpy(&word, p, sizeof word);
    return word;
}

/* Do eight bytes differ in nothing but the case of letters?  The letters of known, all lower-case,
 * have bit 0x40, its digits and '-' have not; the bit below it is the case. */
static bool same_word(const char *known, const char *name)
{
    uint64_t k = word_at(known);

    return ((k ^ word_at(name)) & ~((k & 0x4040404040404040u) >> 1)) == 0;
}

static bool same_name(struct ml_str known, struct ml_str name)
{
    size_t len = name.len;

    if (known.len != len)
        return false;
    if (len < 8)
        return ml_str_ieq(known, name);
    for (size_t i = 0; i + 8 <= len; i += 8)
        if (!same_word(known.p + i, name.p + i))
            return false;
    return same_word(known.p + len - 8, name.p + len - 8);
}

/* ml_header_key of a literal, which the compiler knows. */
#define KEY(name)                                                                                  \
    ((uint64_t)1 << (((sizeof(name) - 1) * 5 + ((unsigned char)(name)[0] | 0x20)) & 63))

static inline enum ml_header_id id_of(struct ml_str name)
{
#define X(id, name) | KEY(name)
    const uint64_t known = 0 ML_HEADER_TABLE(X);
#undef X
    enum ml_header_id id;

    if (name.len < 2 || name.len > 19 || (known & ml_header_key(name)) == 0)
        return ML_H_OTHER;
    id = name.len < 10 ? candidate_short(name.len, ml_lower(name.p[0]))
                       : candidate_long(name, ml_lower(name.p[0]));
    if (id == ML_H_OTHER || names[id].p[0] != ml_lower(name.p[0]))
        return ML_H_OTHER;
    return same_name(names[id], name) ? id : ML_H_OTHER;
}

enum ml_header_id ml_header_id(struct ml_str name)
{
    return id_of(name);
}

struct ml_str ml_header_name(enum ml_header_id id)
{
    return names[id];
}

static inline bool is_named(const struct ml_field *f, enum ml_header_id id, struct ml_str name)
{
    return f->id == id && (id != ML_H_OTHER || ml_str_ieq(f->name, name));
}

/* The first field from index on that has the name (id says which known name it is). */
static struct ml_field *find_from(const struct ml_headers *h, uint32_t index, enum ml_header_id id,
                                  struct ml_str name)
{
    for (uint32_t i = index; i < h->count; i++)
        if (is_named(&h->v[i], id, name))
            return &h->v[i];
    return NULL;
}

struct ml_field *ml_headers_get(const struct ml_headers *h, enum ml_header_id id)
{
    assert(id != ML_H_OTHER);
    if ((h->seen & ml_header_key(names[id])) == 0)
        return NULL;
    return find_from(h, 0, id, ML_STR_NONE);
}

struct ml_field *ml_headers_find(const struct ml_headers *h, struct ml_str name)
{
    if ((h->seen & ml_header_key(name)) == 0)
        return NULL;
    return find_from(h, 0, ml_header_id(name), name);
}

struct ml_field *ml_headers_next(const struct ml_headers *h, const struct ml_field *f)
{
    if ((h->again & ml_header_key(f->name)) == 0)
        return NULL;
    return find_from(h, (uint32_t)(f - h->v) + 1, f->id, f->name);
}

static void grow(struct ml_headers *h, struct ml_arena *arena, uint32_t more)
{
    uint32_t cap = h->cap > 0 ? h->cap * 2 : FIRST_CAP;
    struct ml_field *v;

    while (cap - h->count < more)
        cap *= 2;
    v = ml_arena_alloc(arena, cap * sizeof *v);
    if (h->count > 0)
        memcpy(v, h->v, h->count * sizeof *v);
    h->v = v;
    h->cap = cap;
}

static inline void append(struct ml_headers *h, struct ml_arena *arena, struct ml_str name,
                          struct ml_str value, enum ml_header_id id)
{
    uint64_t key = ml_header_key(name);
    struct ml_field *f;

    if (h->count == h->cap)
        grow(h, arena, 1);
    f = &h->v[h->count++];
    f->name = name;
    f->value = value;
    f->id = id;
    h->again |= h->seen & key;
    h->seen |= key;
}

void ml_headers_add(struct ml_headers *h, struct ml_arena *arena, struct ml_str name,
                    struct ml_str value)
{
    append(h, arena, name, value, id_of(name));
}

void ml_headers_add_field(struct ml_headers *h, struct ml_arena *arena,
                          const struct ml_field *field)
{
    append(h, arena, field->name, field->value, field->id);
}

void ml_headers_add_all(struct ml_headers *h, struct ml_arena *arena, const struct ml_field *fields,
                        uint32_t count, uint64_t keys)
{
    if (count == 0)
        return;
    if (h->cap - h->count < count)
        grow(h, arena, count);
    memcpy(h->v + h->count, fields, count * sizeof *fields);
    h->count += count;
    h->again |= keys; /* two of them may have the same */
    h->seen |= keys;
}

/* Removes the fields of that name from index on. */
static uint32_t remove_from(struct ml_headers *h, uint32_t index, enum ml_header_id id,
                            struct ml_str name)
{
    uint32_t kept = index, removed;

    for (uint32_t i = index; i < h->count; i++)
        if (!is_named(&h->v[i], id, name))
            h->v[kept++] = h->v[i];
    removed = h->count - kept;
    h->count = kept;
    return removed;
}

void ml_headers_set(struct ml_headers *h, struct ml_arena *arena, struct ml_str name,
                    struct ml_str value)
{
    enum ml_header_id id = ml_header_id(name);
    uint64_t key = ml_header_key(name);
    struct ml_field *f = (h->seen & key) != 0 ? find_from(h, 0, id, name) : NULL;

    if (f == NULL) {
        append(h, arena, name, value, id);
        return;
    }
    f->name = name;
    f->value = value;
    if ((h->again & key) != 0)
        remove_from(h, (uint32_t)(f - h->v) + 1, id, name);
}

uint32_t ml_headers_remove(struct ml_headers *h, struct ml_str name)
{
    if ((h->seen & ml_header_key(name)) == 0)
        return 0;
    return remove_from(h, 0, ml_header_id(name), name);
}

bool ml_header_name_ok(struct ml_str name)
{
    return name.len > 0 && ml_chars_skip_token(name.p, name.p + name.len) == name.p + name.len;
}

bool ml_header_value_ok(struct ml_str value)
{
    return value.len == 0 ||
           ml_chars_find_control(value.p, value.p + value.len) == value.p + value.len;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

bool ml_list_next(struct ml_str *rest, struct ml_str *element)
{
    while (rest->len > 0) {
        const char *comma = memchr(rest->p, ',', rest->len);
        size_t len = comma != NULL ? (size_t)(comma - rest->p) : rest->len;
        size_t step = comma != NULL ? len + 1 : len;
        struct ml_str e = {rest->p, len};

        rest->p += step;
        rest->len -= step;
        while (e.len > 0 && is_blank(e.p[0]))
            e.p++, e.len--;
        while (e.len > 0 && is_blank(e.p[e.len - 1]))
            e.len--;
        if (e.len > 0) {
            *element = e;
            return true;
        }
    }
    return false;
}
