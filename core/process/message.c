/* message.c - a header of fixed size, then the text; descriptors travel as SCM_RIGHTS. */
#include "process/message.h"

#include <assert.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAGIC = 0x6d6c3031 };

struct header {
    uint32_t magic, type, number, attempt, text_len;
};

union control { /* aligned as cmsg(3) wants it */
    char bytes[CMSG_SPACE(sizeof(int) * ML_MESSAGE_FDS_MAX)];
    struct cmsghdr align;
};

bool ml_message_pair(int fds[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0;
}

static void attach_fds(struct msghdr *msg, union control *control, const struct ml_message *m)
{
    struct cmsghdr *c;

    if (m->fd_count == 0)
        return;
    memset(control, 0, sizeof *control);
    msg->msg_control = control->bytes;
    msg->msg_controllen = CMSG_SPACE(sizeof(int) * m->fd_count);
    c = CMSG_FIRSTHDR(msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * m->fd_count);
    memcpy(CMSG_DATA(c), m->fds, sizeof(int) * m->fd_count);
}

bool ml_message_send(int fd, const struct ml_message *m)
{
    size_t len = m->text.len < ML_MESSAGE_TEXT_MAX ? m->text.len : ML_MESSAGE_TEXT_MAX;
    struct header h = {MAGIC, m->type, m->number, m->attempt, (uint32_t)len};
    struct iovec iov[2] = {{&h, sizeof h}, {(void *)m->text.p, len}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = len > 0 ? 2 : 1};
    union control control;
    ssize_t n;

    assert(m->fd_count <= ML_MESSAGE_FDS_MAX);
    attach_fds(&msg, &control, m);
    do
        n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n >= 0;
}

void ml_message_close_fds(struct ml_message *m, unsigned index)
{
    for (; index < m->fd_count; index++)
        if (m->fds[index] >= 0)
            close(m->fds[index]);
    m->fd_count = 0;
}

/* Takes all descriptors that came, also those of a packet that is refused afterwards. */
static void take_fds(struct msghdr *msg, struct ml_message *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        unsigned count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        assert(m->fd_count + count <= ML_MESSAGE_FDS_MAX); /* the control buffer holds no more */
        memcpy(m->fds + m->fd_count, CMSG_DATA(c), count * sizeof(int));
        m->fd_count += count;
    }
}

static bool decode(struct ml_str bytes, struct ml_message *m)
{
    struct header h;

    if (bytes.len < sizeof h)
        return false;
    memcpy(&h, bytes.p, sizeof h);
    if (h.magic != MAGIC || h.type == 0 || h.type >= ML_MESSAGE_TYPE_END ||
        h.text_len != bytes.len - sizeof h)
        return false;
    m->type = (enum ml_message_type)h.type;
    m->number = h.number;
    m->attempt = h.attempt;
    m->text = (struct ml_str){bytes.p + sizeof h, h.text_len};
    return true;
}

enum ml_err ml_message_receive(int fd, struct ml_buf *scratch, struct ml_message *m)
{
    size_t max = sizeof(struct header) + ML_MESSAGE_TEXT_MAX;
    union control control;
    struct iovec iov;
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof control.bytes};
    ssize_t n;

    ml_buf_consume(scratch, ml_buf_len(scratch));
    iov = (struct iovec){ml_buf_reserve(scratch, max), max};
    *m = (struct ml_message){.fd_count = 0};
    do
        n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? ML_AGAIN : ML_EOF;
    if (n == 0)
        return ML_EOF;
    take_fds(&msg, m);
    ml_buf_commit(scratch, (size_t)n);
    if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 && decode(ml_buf_str(scratch), m))
        return ML_OK;
    ml_message_close_fds(m, 0);
    return ML_BAD_FRAMING;
}
