/* redact.c - names are compared without case and, in a query, without their escapes. */
#include "base/redact.h"

#include <stdlib.h>

enum { NAME_CAP = 64 };

static const char *const query_names[] = {"access_token",
                                          "refresh_token",
                                          "id_token",
                                          "token",
                                          "password",
                                          "passwd",
                                          "pwd",
                                          "api_key",
                                          "apikey",
                                          "api-key",
                                          "key",
                                          "secret",
                                          "client_secret",
                                          "code",
                                          "signature",
                                          "sig",
                                          "auth",
                                          "authorization",
                                          "jwt",
                                          "session",
                                          "sessionid",
                                          "session_id",
                                          "sid",
                                          "otp",
                                          "assertion",
                                          "credential",
                                          "credentials",
                                          "x-amz-signature",
                                          "x-amz-credential",
                                          "x-goog-signature",
                                          "x-amz-security-token",
                                          "client_assertion",
                                          "subject_token",
                                          "code_verifier",
                                          NULL};
static const char *const header_names[] = {
    "authorization", "proxy-authorization",  "cookie",       "set-cookie", "x-api-key", "api-key",
    "x-auth-token",  "x-amz-security-token", "x-csrf-token", NULL};
static const char *const field_names[] = {
    "password",  "passwd",  "secret", "client_secret", "token",  "access_token", "refresh_token",
    "id_token",  "api_key", "apikey", "authorization", "cookie", "set-cookie",   "private_key",
    "x-api-key", "jwt",     NULL};

static struct list {
    char **names; /* owned, lower case */
    unsigned count;
    bool no_defaults;
} queries, headers;

static void set(struct list *l, const struct ml_str *names, unsigned count, bool defaults)
{
    for (unsigned i = 0; i < l->count; i++)
        free(l->names[i]);
    free(l->names);
    l->count = count;
    l->no_defaults = !defaults;
    l->names = calloc(count + 1, sizeof *l->names);
    for (unsigned i = 0; l->names != NULL && i < count; i++)
        l->names[i] = strndup(names[i].p, names[i].len);
    for (unsigned i = 0; i <= count; i++)
        if (l->names == NULL || (i < count && l->names[i] == NULL))
            abort();
}

void ml_redact_use(const struct ml_str *query, unsigned query_count, const struct ml_str *header,
                   unsigned header_count, bool defaults)
{
    set(&queries, query, query_count, defaults);
    set(&headers, header, header_count, defaults);
}

/* Of a list, by length: which first letters there are.  Most names are none of it by that. */
struct letters {
    uint32_t of_len[NAME_CAP / 2];
    bool made;
};

static bool may_be_in(struct letters *l, const char *const *names, struct ml_str name)
{
    unsigned letter = (unsigned char)ml_lower(name.p[0]) - 'a';

    for (; !l->made && *names != NULL; names++)
        l->of_len[strlen(*names)] |= UINT32_C(1) << (**names - 'a');
    l->made = true;
    return letter < 26 && name.len < NAME_CAP / 2 && (l->of_len[name.len] >> letter & 1) != 0;
}

static bool is_in(const char *const *names, struct ml_str name)
{
    for (; *names != NULL; names++)
        if (ml_lower(name.p[0]) == **names && ml_str_ieq(ml_str_of(*names), name))
            return true;
    return false;
}

static bool is_listed(const struct list *l, struct letters *letters, const char *const *defaults,
                      struct ml_str name)
{
    if (name.len == 0)
        return false;
    if (!l->no_defaults && may_be_in(letters, defaults, name) && is_in(defaults, name))
        return true;
    for (unsigned i = 0; i < l->count; i++)
        if (ml_str_ieq(ml_str_of(l->names[i]), name))
            return true;
    return false;
}

bool ml_redact_header(struct ml_str name)
{
    static struct letters letters;

    return is_listed(&headers, &letters, header_names, name);
}

bool ml_redact_field(struct ml_str name)
{
    return name.len > 0 && is_in(field_names, name);
}

static int hex(char c)
{
    c = ml_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Without its escapes; one that is too long to be a name of ours stays empty. */
static struct ml_str decoded(struct ml_str name, char out[NAME_CAP])
{
    size_t len = 0;

    for (size_t i = 0; i < name.len; i++) {
        if (len == NAME_CAP)
            return ML_STR_NONE;
        if (name.p[i] == '%' && i + 2 < name.len && hex(name.p[i + 1]) >= 0 &&
            hex(name.p[i + 2]) >= 0) {
            out[len++] = (char)(hex(name.p[i + 1]) << 4 | hex(name.p[i + 2]));
            i += 2;
        } else {
            out[len++] = name.p[i];
        }
    }
    return (struct ml_str){out, len};
}

static bool is_secret(struct ml_str name)
{
    static struct letters letters;
    char plain[NAME_CAP];

    if (name.len > 0 && memchr(name.p, '%', name.len) != NULL)
        name = decoded(name, plain);
    return is_listed(&queries, &letters, query_names, name);
}

static bool ends_pair(char c)
{
    return c == '&' || c == ';' || c == '#';
}

/* Copies url[*from..to) before the secret at to, if that is the first or another one. */
static void replace(struct ml_buf *out, struct ml_str url, size_t *from, size_t to, size_t end)
{
    ml_buf_append(out, (struct ml_str){url.p + *from, to - *from});
    ml_buf_append(out, ML_STR(ML_REDACTED));
    *from = end;
}

/* "https://user:secret@host/": what is between the slashes and the at sign. */
static void user_info(struct ml_str url, struct ml_buf *out, size_t *from)
{
    const char *mark = url.len > 0 && url.p[0] != '/' ? memmem(url.p, url.len, "://", 3) : NULL;
    size_t begin, at;

    if (mark == NULL)
        return;
    begin = (size_t)(mark - url.p) + 3;
    for (at = begin; at < url.len && url.p[at] != '/' && url.p[at] != '?'; at++)
        if (url.p[at] == '@') {
            replace(out, url, from, begin, at);
            return;
        }
}

struct ml_str ml_redact_url(struct ml_str url, struct ml_buf *out)
{
    const char *mark = url.len > 0 ? memchr(url.p, '?', url.len) : NULL;
    size_t from = 0, i;

    if (mark == NULL && (url.len == 0 || url.p[0] == '/'))
        return url;
    user_info(url, out, &from);
    i = mark != NULL ? (size_t)(mark - url.p) + 1 : url.len;
    while (i < url.len) {
        size_t name = i, value;

        while (i < url.len && url.p[i] != '=' && !ends_pair(url.p[i]))
            i++;
        value = i < url.len && url.p[i] == '=' ? i + 1 : 0;
        while (i < url.len && !ends_pair(url.p[i]))
            i++;
        if (value > 0 && i > value && is_secret((struct ml_str){url.p + name, value - 1 - name}))
            replace(out, url, &from, value, i);
        i++;
    }
    if (from == 0)
        return url;
    ml_buf_append(out, (struct ml_str){url.p + from, url.len - from});
    return ml_buf_str(out);
}
