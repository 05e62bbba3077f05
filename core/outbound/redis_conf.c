/* redis_conf.c - redis URLs, from left to right. */
#include "outbound/redis_conf.h"

#include "base/str_cut.h"

enum { PORT_DEFAULT = 6379, PATH_MAX_LEN = 107, DB_MAX = 1000000 };

static bool skip(struct ml_str *s, const char *prefix)
{
    size_t len = strlen(prefix);

    if (s->len < len || memcmp(s->p, prefix, len) != 0)
        return false;
    s->p += len;
    s->len -= len;
    return true;
}

static int hex(char c)
{
    c = ml_lower(c);
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Without its escapes, and with a NUL; false when it does not fit, or is no such text. */
static bool decode(struct ml_str s, char *out, size_t cap)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++) {
        int c = (unsigned char)s.p[i];

        if (c == '%') {
            int high = i + 2 < s.len ? hex(s.p[i + 1]) : -1, low = high >= 0 ? hex(s.p[i + 2]) : -1;

            if (low < 0)
                return false;
            c = high * 16 + low;
            i += 2;
        }
        if (c == 0 || n + 1 >= cap)
            return false;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return true;
}

/* Decimal digits only; -1 when it is something else or above max. */
static int number(struct ml_str s, int max)
{
    int n = 0;

    if (s.len == 0 || s.len > 7)
        return -1;
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return -1;
        n = n * 10 + (s.p[i] - '0');
    }
    return n <= max ? n : -1;
}

static bool only(struct ml_str s, const char *chars)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] == '\0' || strchr(chars, s.p[i]) == NULL)
            return false;
    return true;
}

bool ml_redis_conf_host_ok(struct ml_str host)
{
    bool literal6 = host.len > 0 && memchr(host.p, ':', host.len) != NULL;

    if (host.len == 0 || host.len > 253)
        return false;
    return only(host, literal6
                          ? "0123456789abcdefABCDEF:."
                          : "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
}

/* host, host:port, [::1]:port */
static const char *parse_place(struct ml_str s, struct ml_redis_place *out)
{
    struct ml_str host = s, rest = s;

    if (skip(&rest, "[")) {
        if (!ml_str_cut(&rest, ']', &host))
            return "the IPv6 address has no closing bracket";
        if (memchr(host.p, ':', host.len) == NULL)
            return "there is no IPv6 address between the brackets";
        out->port = rest.len == 0 ? PORT_DEFAULT : skip(&rest, ":") ? number(rest, 65535) : -1;
    } else {
        out->port = ml_str_cut(&rest, ':', &host) ? number(rest, 65535) : PORT_DEFAULT;
    }
    if (!ml_redis_conf_host_ok(host))
        return "the host is missing or invalid";
    if (out->port < 1)
        return "the port is not a number from 1 to 65535";
    memcpy(out->host, host.p, host.len);
    return NULL;
}

/* user[:password]@, when there is an "@"; the last one counts. */
static const char *parse_secrets(struct ml_str *s, size_t within, struct ml_redis_conf *conf)
{
    const char *at = memrchr(s->p, '@', within);
    struct ml_str user, password;

    if (at == NULL)
        return NULL;
    password = (struct ml_str){s->p, (size_t)(at - s->p)};
    s->len -= password.len + 1;
    s->p = at + 1;
    if (!ml_str_cut(&password, ':', &user)) {
        user = password;
        password = ML_STR_NONE;
    }
    if (!decode(user, conf->user, sizeof conf->user) ||
        !decode(password, conf->password, sizeof conf->password))
        return "the user or the password is too long, or has a bad percent escape";
    return NULL;
}

static const char *parse_db(struct ml_str s, struct ml_redis_conf *conf)
{
    conf->db = number(s, DB_MAX);
    return conf->db < 0 ? "the database is not a number" : NULL;
}

static const char *parse_cluster(struct ml_str s, struct ml_redis_conf *conf)
{
    const char *wrong = NULL;
    struct ml_str one;
    bool more = true;

    conf->cluster = true;
    if (s.len > 0 && s.p[s.len - 1] == '/')
        s.len--;
    while (more && wrong == NULL) {
        more = ml_str_cut(&s, ',', &one);
        if (conf->seed_count == ML_REDIS_SEEDS_MAX)
            return "a cluster's URL has at most 16 hosts";
        wrong = parse_place(more ? one : s, &conf->seeds[conf->seed_count++]);
    }
    return wrong;
}

static const char *parse_tcp(struct ml_str s, bool cluster, struct ml_redis_conf *conf)
{
    const char *slash = s.len > 0 ? memchr(s.p, '/', s.len) : NULL, *wrong;
    struct ml_str place;

    wrong = parse_secrets(&s, slash != NULL ? (size_t)(slash - s.p) : s.len, conf);
    if (wrong != NULL)
        return wrong;
    if (cluster)
        return parse_cluster(s, conf);
    conf->seed_count = 1;
    if (!ml_str_cut(&s, '/', &place))
        return parse_place(s, &conf->seeds[0]);
    wrong = parse_place(place, &conf->seeds[0]);
    return wrong == NULL && s.len > 0 ? parse_db(s, conf) : wrong;
}

static const char *parse_unix(struct ml_str s, struct ml_redis_conf *conf)
{
    const char *slash = s.len > 0 ? memchr(s.p, '/', s.len) : NULL, *wrong;
    char *host = conf->seeds[0].host;
    struct ml_str path;

    if (slash == NULL)
        return "the path of a unix socket begins with '/'";
    wrong = parse_secrets(&s, (size_t)(slash - s.p), conf);
    if (wrong != NULL)
        return wrong;
    if (ml_str_cut(&s, '?', &path)) {
        if (!skip(&s, "db="))
            return "only db= may follow the path of a unix socket";
        wrong = parse_db(s, conf);
    } else {
        path = s;
    }
    conf->seed_count = 1;
    memcpy(host, "unix:", 5);
    if (path.len < 2 || path.p[0] != '/' || !decode(path, host + 5, PATH_MAX_LEN + 1))
        return "the path of a unix socket begins with '/' and has at most 107 bytes";
    return wrong;
}

const char *ml_redis_conf_parse(struct ml_str url, struct ml_redis_conf *conf)
{
    memset(conf, 0, sizeof *conf);
    for (size_t i = 0; i < url.len; i++)
        if (url.p[i] <= ' ' || url.p[i] >= 0x7f)
            return "the URL contains a character that a URL cannot have";
    conf->secure = url.len > 6 && memcmp(url.p, "rediss", 6) == 0;
    if (skip(&url, "redis://") || skip(&url, "rediss://"))
        return parse_tcp(url, false, conf);
    if (skip(&url, "redis+cluster://") || skip(&url, "rediss+cluster://"))
        return parse_tcp(url, true, conf);
    if (skip(&url, "unix://"))
        return parse_unix(url, conf);
    return "the URL begins neither with redis:// nor with redis+cluster:// or unix://";
}
