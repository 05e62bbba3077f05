/* str_cut.h - parts of a ml_str, borrowed from it like itself. */
#ifndef ML_BASE_STR_CUT_H
#define ML_BASE_STR_CUT_H

#include "base/str.h"

/* Without spaces and tabs at both ends: what HTTP calls optional white space (RFC 9110
 * section 5.6.3). */
static inline struct ml_str ml_str_trim(struct ml_str s)
{
    while (s.len > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s.p++;
        s.len--;
    }
    while (s.len > 0 && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* Cuts s at the first c: what was before it; s begins behind it.  False, and nothing changed, when
 * there is none. */
static inline bool ml_str_cut(struct ml_str *s, char c, struct ml_str *before)
{
    const char *at = s->len > 0 ? memchr(s->p, c, s->len) : NULL;

    if (at == NULL)
        return false;
    *before = (struct ml_str){s->p, (size_t)(at - s->p)};
    s->len -= before->len + 1;
    s->p = at + 1;
    return true;
}

/* The next part of a list, up to c or the end.  False at its end; an empty part there is none. */
static inline bool ml_str_next(struct ml_str *rest, char c, struct ml_str *part)
{
    if (rest->len == 0)
        return false;
    if (!ml_str_cut(rest, c, part)) {
        *part = *rest;
        *rest = (struct ml_str){rest->p + rest->len, 0};
    }
    return true;
}

#endif
