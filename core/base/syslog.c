/* syslog.c - the head of RFC 5424 section 6.2 in front of a line.
 *
 * A daemon that was started again has another socket behind the same path: the send fails, and the
 * next one connects anew. */
#include "base/syslog.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

enum { TIME_AT = 15, TIME_LEN = 24, LEVEL_AT = 50, FACILITY_DAEMON = 3 };

struct ml_syslog {
    int fd; /* -1: not connected */
    int facility;
    socklen_t len;
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    } to;
    char host[65];
};

static const char PREFIX[] = "syslog:";

bool ml_syslog_is(const char *where)
{
    return strncmp(where, PREFIX, sizeof PREFIX - 1) == 0;
}

/* ---- where to ---- */

static const char *facility_of(const char *name, int *facility)
{
    static const struct {
        const char *name;
        int number;
    } list[] = {{"kern", 0},      {"user", 1},    {"mail", 2},    {"daemon", 3},  {"auth", 4},
                {"syslog", 5},    {"lpr", 6},     {"news", 7},    {"uucp", 8},    {"cron", 9},
                {"authpriv", 10}, {"ftp", 11},    {"local0", 16}, {"local1", 17}, {"local2", 18},
                {"local3", 19},   {"local4", 20}, {"local5", 21}, {"local6", 22}, {"local7", 23}};

    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (strcmp(list[i].name, name) == 0) {
            *facility = list[i].number;
            return NULL;
        }
    return "syslog has no such facility";
}

static const char *unix_of(struct ml_syslog *s, const char *path)
{
    if (path[0] != '/' || strlen(path) >= sizeof s->to.un.sun_path)
        return "a path of at most 107 bytes is expected after unix:";
    s->to.un.sun_family = AF_UNIX;
    strcpy(s->to.un.sun_path, path);
    s->len = sizeof s->to.un;
    return NULL;
}

static const char *udp_of(struct ml_syslog *s, const char *text)
{
    const char *wrong = "an address and a port are expected after udp://";
    char host[64];
    const char *colon = strrchr(text, ':');
    unsigned long port = colon != NULL ? strtoul(colon + 1, NULL, 10) : 514;
    size_t len = colon != NULL ? (size_t)(colon - text) : strlen(text);

    if (len >= sizeof host || port == 0 || port > 65535)
        return wrong;
    memcpy(host, text, len);
    host[len] = '\0';
    if (inet_pton(AF_INET, host, &s->to.in.sin_addr) == 1) {
        s->to.in.sin_family = AF_INET;
        s->to.in.sin_port = htons((uint16_t)port);
        s->len = sizeof s->to.in;
        return NULL;
    }
    if (len < 3 || host[0] != '[' || host[len - 1] != ']')
        return wrong;
    host[len - 1] = '\0';
    if (inet_pton(AF_INET6, host + 1, &s->to.in6.sin6_addr) != 1)
        return wrong;
    s->to.in6.sin6_family = AF_INET6;
    s->to.in6.sin6_port = htons((uint16_t)port);
    s->len = sizeof s->to.in6;
    return NULL;
}

static const char *parse(struct ml_syslog *s, const char *where)
{
    char target[160];
    char *mark;
    const char *wrong = NULL;

    where += sizeof PREFIX - 1;
    if (strlen(where) >= sizeof target)
        return "it is too long";
    strcpy(target, where);
    s->facility = FACILITY_DAEMON;
    mark = strchr(target, '#');
    if (mark != NULL) {
        *mark = '\0';
        wrong = facility_of(mark + 1, &s->facility);
    }
    if (wrong != NULL)
        return wrong;
    if (strncmp(target, "unix:", 5) == 0)
        return unix_of(s, target + 5);
    if (strncmp(target, "udp://", 6) == 0)
        return udp_of(s, target + 6);
    return "unix:/path or udp://address:port is expected after syslog:";
}

const char *ml_syslog_check(const char *where)
{
    struct ml_syslog s = {0};

    return parse(&s, where);
}

static void drop(struct ml_syslog *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

static bool dial(struct ml_syslog *s)
{
    if (s->fd >= 0)
        return true;
    s->fd = socket(s->to.sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        return false;
    if (connect(s->fd, &s->to.sa, s->len) == 0)
        return true;
    drop(s);
    return false;
}

struct ml_syslog *ml_syslog_open(const char *where)
{
    struct ml_syslog *s = calloc(1, sizeof *s);

    if (s == NULL)
        abort();
    s->fd = -1;
    if (parse(s, where) != NULL) {
        free(s);
        errno = EINVAL;
        return NULL;
    }
    if (gethostname(s->host, sizeof s->host - 1) != 0 || s->host[0] == '\0')
        strcpy(s->host, "-");
    return s;
}

void ml_syslog_free(struct ml_syslog **sp)
{
    struct ml_syslog *s = *sp;

    *sp = NULL;
    if (s == NULL)
        return;
    drop(s);
    free(s);
}

/* ---- what is sent ---- */

static int severity(struct ml_str line)
{
    char c = line.len > LEVEL_AT ? line.p[LEVEL_AT] : 'i';

    return c == 'e' ? 3 : c == 'w' ? 4 : c == 'd' ? 7 : 6;
}

static size_t head(const struct ml_syslog *s, struct ml_str line, char out[160])
{
    int len =
        snprintf(out, 160, "<%d>1 %.*s %s moonlatch %ld - - ", s->facility * 8 + severity(line),
                 line.len > TIME_AT + TIME_LEN ? TIME_LEN : 1,
                 line.len > TIME_AT + TIME_LEN ? line.p + TIME_AT : "-", s->host, (long)getpid());

    return len > 0 ? (size_t)len : 0;
}

ssize_t ml_syslog_send(struct ml_syslog *s, struct ml_str line)
{
    char begin[160];
    struct iovec parts[2] = {{begin, head(s, line, begin)}, {(char *)line.p, line.len}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};

    if (!dial(s)) {
        errno = EAGAIN; /* the daemon is not there */
        return -1;
    }
    if (sendmsg(s->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
        return (ssize_t)line.len;
    if (errno == EMSGSIZE)
        return -1;
    /* ECONNREFUSED over UDP tells of an earlier datagram: nobody listens there */
    if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
        drop(s);
    errno = EAGAIN;
    return -1;
}
