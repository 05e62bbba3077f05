/* str.h - a borrowed run of bytes: pointer and length, never NUL-terminated, never owned. */
#ifndef ML_BASE_STR_H
#define ML_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct ml_str {
    const char *p;
    size_t len;
};

#define ML_STR(literal) ((struct ml_str){(literal), sizeof(literal) - 1})
#define ML_STR_NONE ((struct ml_str){NULL, 0})

static inline struct ml_str ml_str_of(const char *z)
{
    return (struct ml_str){z, strlen(z)};
}

static inline bool ml_str_eq(struct ml_str a, struct ml_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

static inline char ml_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* ASCII case-insensitive, independent of the locale (RFC 9110 section 5.1). */
static inline bool ml_str_ieq(struct ml_str a, struct ml_str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) /* mostly the first letter tells them apart, or both are the same */
        if (a.p[i] != b.p[i] && ml_lower(a.p[i]) != ml_lower(b.p[i]))
            return false;
    return true;
}

#endif
