/* handle_auth.c - credentials of the Authorization field, and the base64 they are written in. */
#include "script/handle.h"

/* ---- base64 ---- */

void ml_base64_encode(struct ml_buf *out, struct ml_str bytes, bool url)
{
    const char *alphabet = url ? "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
                               : "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        unsigned n = (unsigned)(unsigned char)bytes.p[i] << 16;
        char text[4];

        n |= left > 1 ? (unsigned)(unsigned char)bytes.p[i + 1] << 8 : 0;
        n |= left > 2 ? (unsigned)(unsigned char)bytes.p[i + 2] : 0;
        text[0] = alphabet[n >> 18];
        text[1] = alphabet[n >> 12 & 63];
        text[2] = left > 1 ? alphabet[n >> 6 & 63] : '=';
        text[3] = left > 2 ? alphabet[n & 63] : '=';
        ml_buf_append(out, (struct ml_str){text, !url || left > 2 ? 4 : left + 1});
    }
}

static int sextet(char c, bool url)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == (url ? '-' : '+'))
        return 62;
    return c == (url ? '_' : '/') ? 63 : -1;
}

static size_t without_padding(struct ml_str text)
{
    size_t len = text.len;

    if (text.len % 4 != 0)
        return len;
    for (int i = 0; i < 2 && len > 0 && text.p[len - 1] == '='; i++)
        len--;
    return len;
}

bool ml_base64_decode(struct ml_buf *out, struct ml_str text, bool url)
{
    size_t len = without_padding(text);
    unsigned n = 0, bits = 0;

    if (len % 4 == 1)
        return false;
    for (size_t i = 0; i < len; i++) {
        int six = sextet(text.p[i], url);
        char byte;

        if (six < 0)
            return false;
        n = (n << 6 | (unsigned)six) & 0xffff;
        bits += 6;
        if (bits < 8)
            continue;
        bits -= 8;
        byte = (char)(n >> bits & 0xff);
        ml_buf_append(out, (struct ml_str){&byte, 1});
    }
    return (n & ((1u << bits) - 1)) == 0; /* RFC 4648 section 3.5: one text per value */
}

/* ---- Authorization ---- */

/* What follows the scheme; false when there is no field, more than one, or another scheme. */
static bool credentials(const struct ml_headers *h, struct ml_str scheme, struct ml_str *out)
{
    const struct ml_field *f = ml_headers_get(h, ML_H_AUTHORIZATION);

    if (f == NULL || ml_headers_next(h, f) != NULL || f->value.len <= scheme.len)
        return false;
    if (!ml_str_ieq((struct ml_str){f->value.p, scheme.len}, scheme) ||
        f->value.p[scheme.len] != ' ')
        return false;
    *out = (struct ml_str){f->value.p + scheme.len, f->value.len - scheme.len};
    while (out->len > 0 && out->p[0] == ' ') {
        out->p++;
        out->len--;
    }
    return out->len > 0;
}

/* RFC 6750 section 2.1.  Tokens are long. */
static bool is_token68(struct ml_str s)
{
    static const bool fine[256] = {
        ['A' ... 'Z'] = true, ['a' ... 'z'] = true, ['0' ... '9'] = true,
        ['-'] = true,         ['.'] = true,         ['_'] = true,
        ['~'] = true,         ['+'] = true,         ['/'] = true,
    };
    size_t i = 0;

    while (i < s.len && fine[(unsigned char)s.p[i]])
        i++;
    if (i == 0)
        return false;
    while (i < s.len && s.p[i] == '=')
        i++;
    return i == s.len;
}

/* A field of this scheme without a token, or more fields than one, are not the same as none. */
enum ml_bearer ml_bearer_find(const struct ml_headers *h, struct ml_str *token)
{
    static const struct ml_str scheme = {"Bearer", 6};
    const struct ml_field *f = ml_headers_get(h, ML_H_AUTHORIZATION);
    size_t len = scheme.len;

    if (f == NULL)
        return ML_BEARER_NONE;
    if (credentials(h, scheme, token))
        return ML_BEARER_FOUND;
    if (ml_headers_next(h, f) != NULL)
        return ML_BEARER_MALFORMED;
    if (f->value.len < len || !ml_str_ieq((struct ml_str){f->value.p, len}, scheme))
        return ML_BEARER_NONE;
    return f->value.len == len || sextet(f->value.p[len], false) < 0 || f->value.p[len] == '+' ||
                   f->value.p[len] == '/'
               ? ML_BEARER_MALFORMED
               : ML_BEARER_NONE;
}

static int bearer_token(lua_State *L)
{
    struct ml_exchange *ex = ml_handle_exchange(L, ml_handle_check(L, 1, ML_HANDLE_REQUEST));
    struct ml_str token;

    if (!credentials(&ex->req.headers, ML_STR("Bearer"), &token) || !is_token68(token))
        lua_pushnil(L);
    else
        ml_push_str(L, token);
    return 1;
}

/* RFC 7617 section 2: the user's name has no colon. */
static int basic_auth(lua_State *L)
{
    struct ml_exchange *ex = ml_handle_exchange(L, ml_handle_check(L, 1, ML_HANDLE_REQUEST));
    struct ml_buf *out = ml_handle_scratch();
    struct ml_str text;
    const char *colon;

    lua_pushnil(L);
    if (!credentials(&ex->req.headers, ML_STR("Basic"), &text) ||
        !ml_base64_decode(out, text, false))
        return 1;
    text = ml_buf_str(out);
    colon = text.len > 0 ? memchr(text.p, ':', text.len) : NULL;
    if (colon == NULL)
        return 1;
    ml_push_str(L, (struct ml_str){text.p, (size_t)(colon - text.p)});
    ml_push_str(L, (struct ml_str){colon + 1, text.len - (size_t)(colon - text.p) - 1});
    return 2;
}

const luaL_Reg ml_auth_methods[] = {
    {"bearer_token", bearer_token},
    {"basic_auth", basic_auth},
    {NULL, NULL},
};
