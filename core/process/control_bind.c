/* control_bind.c - takes the place of a socket file whose owner died, and of no other file. */
#include "process/control_bind.h"

#include "process/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BACKLOG = 64 };

static bool refuse(struct ml_buf *why, const char *path, const char *what)
{
    ml_buf_printf(why, "control socket %s: %s", path, what);
    return false;
}

/* A socket file that nobody listens on was left by a process that died. */
static bool remove_stale(const struct sockaddr_un *address, struct ml_buf *why)
{
    const char *path = address->sun_path;
    struct stat st;
    int fd, err;

    if (lstat(path, &st) != 0)
        return errno == ENOENT || refuse(why, path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return refuse(why, path, "there is another kind of file with that name");
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return refuse(why, path, strerror(errno));
    err = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ? 0 : errno;
    close(fd);
    if (err == 0 || err == EAGAIN)
        return refuse(why, path, "a gateway is already running there");
    if (err != ECONNREFUSED)
        return refuse(why, path, strerror(err));
    return unlink(path) == 0 || errno == ENOENT || refuse(why, path, strerror(errno));
}

/* Two gateways that start at once must not both find the same stale socket.  The lock is on the
 * directory, so that no file is left; who holds it for ever keeps nobody from starting. */
static int lock_directory(const char *path)
{
    static const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    struct sockaddr_un dir = {0};
    char *slash;
    int fd;

    strcpy(dir.sun_path, path);
    slash = strrchr(dir.sun_path, '/');
    if (slash == NULL)
        strcpy(dir.sun_path, ".");
    else
        slash[slash == dir.sun_path] = '\0';
    fd = open(dir.sun_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int tries = 100; fd >= 0 && tries > 0 && flock(fd, LOCK_EX | LOCK_NB) != 0; tries--)
        nanosleep(&pause, NULL);
    return fd;
}

static bool listen_on(struct ml_control_socket *control, struct ml_buf *why)
{
    const char *path = control->address.sun_path;
    mode_t mask = umask(0177); /* mode 0600 from the first moment on */
    bool ok;
    int err;

    ok = bind(control->fd, (struct sockaddr *)&control->address, sizeof control->address) == 0 &&
         listen(control->fd, BACKLOG) == 0;
    err = errno;
    umask(mask);
    return ok || refuse(why, path, strerror(err));
}

static bool bind_there(struct ml_control_socket *control, struct ml_buf *why)
{
    const char *path = control->address.sun_path;
    int lock = lock_directory(path);
    bool ok = remove_stale(&control->address, why) && listen_on(control, why);
    struct stat st;

    if (ok && (ok = lstat(path, &st) == 0 || refuse(why, path, strerror(errno)))) {
        control->dev = st.st_dev;
        control->ino = st.st_ino;
    }
    if (lock >= 0)
        close(lock);
    return ok;
}

bool ml_control_bind(struct ml_control_socket *control, const char *path, struct ml_buf *why)
{
    *control = (struct ml_control_socket){.address.sun_family = AF_UNIX, .fd = -1};
    if (path[0] == '\0' || strlen(path) >= sizeof control->address.sun_path)
        return refuse(why, path, "the name is empty or longer than 107 bytes");
    strcpy(control->address.sun_path, path);
    control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (control->fd >= 0 ? bind_there(control, why) : refuse(why, path, strerror(errno)))
        return true;
    if (control->fd >= 0)
        close(control->fd);
    control->fd = -1;
    return false;
}

void ml_control_unbind(struct ml_control_socket *control)
{
    struct stat st;

    if (control->fd < 0)
        return;
    close(control->fd);
    control->fd = -1;
    if (lstat(control->address.sun_path, &st) == 0 && st.st_dev == control->dev &&
        st.st_ino == control->ino)
        (void)unlink(control->address.sun_path);
}

/* "127.0.0.1:9900", "[::1]:9900" */
static bool parse_address(struct ml_str text, struct ml_addr *addr)
{
    const char *colon = memrchr(text.p, ':', text.len);
    struct ml_str host = {text.p, colon != NULL ? (size_t)(colon - text.p) : 0};
    int port = 0;

    if (host.len == 0)
        return false;
    for (const char *p = colon + 1; p < text.p + text.len; p++) {
        if (*p < '0' || *p > '9' || port > 65535)
            return false;
        port = port * 10 + (*p - '0');
    }
    if (host.len > 2 && host.p[0] == '[' && host.p[host.len - 1] == ']')
        host = (struct ml_str){host.p + 1, host.len - 2};
    return port > 0 && port <= 65535 && ml_sockets_address(host, port, addr);
}

int ml_control_bind_tcp(struct ml_str address, struct ml_buf *why)
{
    struct ml_addr addr;
    int fd, err, on = 1;

    if (!parse_address(address, &addr)) {
        ml_buf_printf(why, "admin API: %.*s is no address with a port", (int)address.len,
                      address.p);
        return -1;
    }
    fd = socket(addr.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        bind(fd, &addr.sa, addr.len) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    err = errno;
    if (fd >= 0)
        close(fd);
    ml_buf_printf(why, "admin API: cannot listen on %.*s: %s", (int)address.len, address.p,
                  strerror(err));
    return -1;
}
