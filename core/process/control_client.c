/* control_client.c - finds the socket of a gateway by the name of its site, and asks. */
#include "process/control_client.h"

#include "base/clock.h"
#include "base/hash.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { PLACES = 3, NAMES_MAX = 1024, ANSWER_MAX = 16 << 20 };

/* ---- runtime directories ---- */

/* The index-th place, "" when there is none. */
static void place_name(int index, char place[ML_CONTROL_PATH_MAX])
{
    const char *xdg = getenv("XDG_RUNTIME_DIR");
    int len = 0;

    place[0] = '\0';
    if (index == 0)
        len = snprintf(place, ML_CONTROL_PATH_MAX, "/run/moonlatch");
    else if (index == 1 && xdg != NULL && xdg[0] == '/')
        len = snprintf(place, ML_CONTROL_PATH_MAX, "%s/moonlatch", xdg);
    else if (index == 2)
        len = snprintf(place, ML_CONTROL_PATH_MAX, "/tmp/moonlatch-%u", (unsigned)geteuid());
    if (len >= ML_CONTROL_PATH_MAX)
        place[0] = '\0';
}

/* Nobody but its owner, who is us or root, can put a socket there. */
static bool is_trusted(const char *place)
{
    struct stat st;

    return place[0] != '\0' && lstat(place, &st) == 0 && S_ISDIR(st.st_mode) &&
           (st.st_uid == geteuid() || st.st_uid == 0) && (st.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

static bool make_place(const char *place)
{
    if (place[0] == '\0' || (mkdir(place, 0700) != 0 && errno != EEXIST))
        return false;
    return is_trusted(place) && access(place, W_OK | X_OK) == 0;
}

/* ---- names ---- */

/* The path as typed, made absolute, without "." and repeated or closing slashes.  Links stay: a
 * site behind a link that is swapped keeps its socket. */
static bool absolute(const char *dir, char out[PATH_MAX])
{
    char whole[2 * PATH_MAX];
    size_t len = 0;

    if (dir[0] == '/')
        whole[0] = '\0';
    else if (getcwd(whole, PATH_MAX) == NULL)
        return false;
    if (strlen(whole) + 1 + strlen(dir) >= PATH_MAX)
        return false;
    strcat(strcat(whole, "/"), dir);
    for (const char *part = whole, *end; *part != '\0'; part = end) {
        part += strspn(part, "/");
        end = part + strcspn(part, "/");
        if (end == part || (end - part == 1 && part[0] == '.'))
            continue;
        out[len++] = '/';
        memcpy(out + len, part, (size_t)(end - part));
        len += (size_t)(end - part);
    }
    out[len] = '\0';
    return true;
}

static bool socket_in(const char *place, const char *absolute_dir, char path[ML_CONTROL_PATH_MAX])
{
    struct ml_hash_seed fixed = {{0, 0}}; /* the same in all processes */
    uint64_t hash = ml_hash_bytes(fixed, ml_str_of(absolute_dir));
    int len = snprintf(path, ML_CONTROL_PATH_MAX, "%s/%016" PRIx64 ".sock", place, hash);

    return len > 0 && len < ML_CONTROL_PATH_MAX;
}

/* What was said explicitly: 1 it is in path, 0 nothing, -1 it is too long. */
static int explicit_path(const char *option, char path[ML_CONTROL_PATH_MAX], struct ml_buf *why)
{
    const char *said = option != NULL ? option : getenv("MOONLATCH_CONTROL");

    if (said == NULL || said[0] == '\0')
        return 0;
    if (strlen(said) >= ML_CONTROL_PATH_MAX) {
        ml_buf_printf(why, "the path of the control socket is longer than %d bytes: %s",
                      ML_CONTROL_PATH_MAX - 1, said);
        return -1;
    }
    strcpy(path, said);
    return 1;
}

bool ml_control_path(const char *option, const char *dir, char path[ML_CONTROL_PATH_MAX],
                     struct ml_buf *why)
{
    char place[ML_CONTROL_PATH_MAX], whole[PATH_MAX];
    int said = explicit_path(option, path, why);

    if (said != 0)
        return said > 0;
    if (!absolute(dir, whole)) {
        ml_buf_printf(why, "the path of %s is too long or cannot be found", dir);
        return false;
    }
    for (int i = 0; i < PLACES; i++) {
        place_name(i, place);
        if (make_place(place) && socket_in(place, whole, path))
            return true;
    }
    ml_buf_printf(
        why,
        "there is no safe directory for the control socket: %s is not ours; give --control PATH",
        place);
    return false;
}

/* ---- connecting ---- */

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), err;

    if (fd < 0)
        return -1;
    strcpy(address.sun_path, path);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    err = errno;
    close(fd);
    errno = err;
    return -1;
}

static bool answers(const char *path)
{
    int fd = connect_to(path);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static bool find_site(const char *absolute_dir, char path[ML_CONTROL_PATH_MAX])
{
    char place[ML_CONTROL_PATH_MAX];

    for (int i = 0; i < PLACES; i++) {
        place_name(i, place);
        if (is_trusted(place) && socket_in(place, absolute_dir, path) && answers(path))
            return true;
    }
    return false;
}

/* Sockets in place that answer: how many more there are; the last one is in path. */
static unsigned list_place(const char *place, char path[ML_CONTROL_PATH_MAX])
{
    DIR *list = is_trusted(place) ? opendir(place) : NULL;
    char candidate[ML_CONTROL_PATH_MAX];
    struct dirent *entry;
    unsigned found = 0;

    for (int left = NAMES_MAX; list != NULL && left > 0 && (entry = readdir(list)) != NULL;
         left--) {
        size_t len = strlen(entry->d_name);

        if (len < 5 || strcmp(entry->d_name + len - 5, ".sock") != 0 ||
            (size_t)snprintf(candidate, sizeof candidate, "%s/%s", place, entry->d_name) >=
                sizeof candidate ||
            !answers(candidate))
            continue;
        strcpy(path, candidate);
        found++;
    }
    if (list != NULL)
        closedir(list);
    return found;
}

static enum ml_control_found find_only(char path[ML_CONTROL_PATH_MAX], struct ml_buf *why)
{
    char place[ML_CONTROL_PATH_MAX];
    unsigned found = 0;

    for (int i = 0; i < PLACES; i++) {
        place_name(i, place);
        found += list_place(place, path);
    }
    if (found == 1)
        return ML_CONTROL_FOUND;
    if (found == 0)
        ml_buf_append(why, ML_STR("no gateway is running"));
    else
        ml_buf_printf(why, "%u gateways are running: say which one by its directory or --control",
                      found);
    return found == 0 ? ML_CONTROL_NONE : ML_CONTROL_SEVERAL;
}

enum ml_control_found ml_control_find(const char *option, const char *dir,
                                      char path[ML_CONTROL_PATH_MAX], struct ml_buf *why)
{
    char whole[PATH_MAX];
    int said = explicit_path(option, path, why);

    if (said != 0)
        return said > 0 ? ML_CONTROL_FOUND : ML_CONTROL_NONE;
    if (dir == NULL)
        return find_only(path, why);
    if (absolute(dir, whole) && find_site(whole, path))
        return ML_CONTROL_FOUND;
    if (realpath(dir, whole) != NULL && find_site(whole, path))
        return ML_CONTROL_FOUND;
    ml_buf_printf(why, "no gateway is running for %s", dir);
    return ML_CONTROL_NONE;
}

/* ---- asking ---- */

static bool wait_for(int fd, short events, double deadline_s)
{
    struct pollfd p = {.fd = fd, .events = events};
    double left_s;
    int n;

    do {
        left_s = deadline_s - ml_clock_mono_s();
        n = left_s > 0 ? poll(&p, 1, (int)(left_s * 1000) + 1) : 0;
    } while (n < 0 && errno == EINTR);
    if (n == 0)
        errno = ETIMEDOUT;
    return n > 0;
}

static bool send_all(int fd, struct ml_str s, double deadline_s)
{
    while (s.len > 0) {
        ssize_t n = send(fd, s.p, s.len, MSG_NOSIGNAL);

        if (n > 0) {
            s.p += n;
            s.len -= (size_t)n;
        } else if (errno == EAGAIN ? !wait_for(fd, POLLOUT, deadline_s) : errno != EINTR) {
            return false;
        }
    }
    return true;
}

static bool receive_all(int fd, struct ml_buf *in, double deadline_s)
{
    while (ml_buf_len(in) < ANSWER_MAX) {
        char *to = ml_buf_reserve(in, ML_BUF_BLOCK / 2);
        ssize_t n = recv(fd, to, ML_BUF_BLOCK / 2, 0);

        if (n == 0)
            return true;
        if (n > 0)
            ml_buf_commit(in, (size_t)n);
        else if (errno == EAGAIN ? !wait_for(fd, POLLIN, deadline_s) : errno != EINTR)
            return false;
    }
    errno = EMSGSIZE;
    return false;
}

/* Takes the word off the answer, and the newline that says it is whole. */
static enum ml_control_answer answer_of(struct ml_buf *json)
{
    struct ml_str s = ml_buf_str(json);
    bool ok = s.len > 3 && memcmp(s.p, "ok ", 3) == 0;

    if ((!ok && (s.len <= 6 || memcmp(s.p, "error ", 6) != 0)) || s.p[s.len - 1] != '\n')
        return ML_CONTROL_NO_ANSWER;
    ml_buf_consume(json, ok ? 3 : 6);
    json->end--;
    return ok ? ML_CONTROL_OK : ML_CONTROL_REFUSED;
}

static bool exchange(int fd, const char *request, double timeout_s, struct ml_buf *json)
{
    double deadline_s = ml_clock_mono_s() + timeout_s;
    struct ml_buf line = {0};
    bool sent;

    ml_buf_printf(&line, "%s\n", request);
    sent = send_all(fd, ml_buf_str(&line), deadline_s);
    ml_buf_release(&line);
    return sent && receive_all(fd, json, deadline_s);
}

enum ml_control_answer ml_control_ask(const char *path, const char *request, double timeout_s,
                                      struct ml_buf *json, struct ml_buf *why)
{
    enum ml_control_answer answer = ML_CONTROL_NO_ANSWER;
    int fd = connect_to(path);

    if (fd < 0) {
        ml_buf_printf(why, "no gateway is running at %s: %s", path, strerror(errno));
        return ML_CONTROL_NO_ANSWER;
    }
    if (!exchange(fd, request, timeout_s, json))
        ml_buf_printf(why, "the gateway at %s does not answer: %s", path, strerror(errno));
    else if ((answer = answer_of(json)) == ML_CONTROL_NO_ANSWER)
        ml_buf_printf(why, "the gateway at %s ended before it answered", path);
    close(fd);
    return answer;
}
