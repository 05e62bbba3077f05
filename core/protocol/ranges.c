/* ranges.c - the list is read, cut to the size, and made smaller. */
#include "protocol/ranges.h"

#include <string.h>

static void skip_space(struct ml_str *s)
{
    while (s->len > 0 && (*s->p == ' ' || *s->p == '\t')) {
        s->p++;
        s->len--;
    }
}

/* False when there is no digit; a number that is too large is the largest. */
static bool take_number(struct ml_str *s, uint64_t *number)
{
    bool any = false;
    uint64_t n = 0;

    for (; s->len > 0 && *s->p >= '0' && *s->p <= '9'; s->p++, s->len--) {
        unsigned digit = (unsigned)(*s->p - '0');

        n = n > (UINT64_MAX - digit) / 10 ? UINT64_MAX : n * 10 + digit;
        any = true;
    }
    *number = n;
    return any;
}

static bool take_char(struct ml_str *s, char c)
{
    if (s->len == 0 || *s->p != c)
        return false;
    s->p++;
    s->len--;
    return true;
}

/* "5-9", "5-", "-5".  False: malformed.  len 0: outside. */
static bool take_range(struct ml_str *s, uint64_t size, struct ml_range *r)
{
    uint64_t first, last;
    bool has_first = take_number(s, &first), has_last;

    if (!take_char(s, '-'))
        return false;
    has_last = take_number(s, &last);
    *r = (struct ml_range){0, 0};
    if (!has_first) { /* the last bytes */
        *r = (struct ml_range){size - (last < size ? last : size), last < size ? last : size};
        return has_last;
    }
    if (has_last && last < first)
        return false;
    if (first >= size)
        return true;
    if (!has_last || last >= size)
        last = size - 1;
    *r = (struct ml_range){first, last - first + 1};
    return true;
}

static bool touch(const struct ml_range *a, const struct ml_range *b)
{
    return a->first <= b->first + b->len && b->first <= a->first + a->len;
}

/* Adds r to what it overlaps, and that to what it overlaps then; the first of them keeps its place.
 * Each round takes one range out of the list, so it ends. */
static void add(struct ml_range *list, unsigned *count, struct ml_range r)
{
    unsigned at = *count, i = 0;

    while (i < *count) {
        struct ml_range *other = &list[i];
        uint64_t end = r.first + r.len, other_end = other->first + other->len;

        if (!touch(&r, other)) {
            i++;
            continue;
        }
        r.first = r.first < other->first ? r.first : other->first;
        r.len = (end > other_end ? end : other_end) - r.first;
        at = at > i ? i : at;
        memmove(other, other + 1, (--*count - i) * sizeof *other);
        i = 0;
    }
    at = at > *count ? *count : at;
    memmove(list + at + 1, list + at, (*count - at) * sizeof *list);
    list[at] = r;
    ++*count;
}

/* Behind "bytes=". */
static enum ml_ranges parse_list(struct ml_str s, uint64_t size, struct ml_range *list,
                                 unsigned *count)
{
    unsigned read = 0, inside = 0;

    for (;;) {
        struct ml_range r;

        skip_space(&s);
        if (s.len > 0 && *s.p != ',') {
            if (++read > ML_RANGES_LIST_MAX)
                return ML_RANGES_WHOLE;
            if (!take_range(&s, size, &r))
                return ML_RANGES_UNSATISFIABLE;
            if (r.len > 0 && ++inside > ML_RANGES_MAX)
                return ML_RANGES_WHOLE;
            if (r.len > 0)
                add(list, count, r);
            skip_space(&s);
        }
        if (s.len == 0)
            break;
        if (!take_char(&s, ','))
            return ML_RANGES_UNSATISFIABLE;
    }
    return *count > 0 ? ML_RANGES_SOME : ML_RANGES_UNSATISFIABLE;
}

enum ml_ranges ml_ranges_parse(struct ml_str value, uint64_t size,
                               struct ml_range out[ML_RANGES_MAX], unsigned *count)
{
    static const struct ml_str unit = {"bytes=", 6};
    struct ml_range list[ML_RANGES_MAX + 1];
    enum ml_ranges found;

    *count = 0;
    if (value.len < unit.len || !ml_str_ieq((struct ml_str){value.p, unit.len}, unit) || size == 0)
        return ML_RANGES_WHOLE; /* of a unit that is not ours; or there is nothing to divide */
    value.p += unit.len;
    value.len -= unit.len;
    found = parse_list(value, size, list, count);
    if (found != ML_RANGES_SOME) {
        *count = 0;
        return found;
    }
    memcpy(out, list, *count * sizeof *list);
    return ML_RANGES_SOME;
}
