/* peers.c - what a simulated worker connects to, and who connects to it.
 *
 * Addresses are made up: host number i is 198.18.(i / 256).(i % 256), from the range that RFC 2544
 * keeps for tests, so the address that the core connects to says which host was meant.  A host that
 * is the machine itself, at the port of one of the site's listeners, is the site: both ends of such
 * a connection are the core's. */
#include "kit/peers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { READ_MAX = 65536, HOSTS_MAX = 65536 };
static const uint32_t FIRST = 0xc6120000u;

/* ---- hosts ---- */

unsigned ml_sim_host(struct ml_sim *sim, struct ml_str name, int port)
{
    struct ml_sim_host *hosts;

    for (unsigned i = 0; i < sim->host_count; i++)
        if (sim->hosts[i].port == port && ml_str_eq(ml_str_of(sim->hosts[i].name), name))
            return i;
    if (sim->host_count == HOSTS_MAX)
        abort();
    hosts = realloc(sim->hosts, (sim->host_count + 1) * sizeof *hosts);
    if (hosts == NULL)
        abort();
    sim->hosts = hosts;
    hosts[sim->host_count] = (struct ml_sim_host){
        .name = strndup(name.p, name.len), .port = port, .mode = ML_SIM_REFUSE};
    return sim->host_count++;
}

void ml_sim_redis(const struct ml_redis_conf *conf)
{
    struct ml_sim *sim = ml_sim_entered();

    for (unsigned i = 0; i < conf->seed_count; i++) {
        struct ml_str name = ml_str_of(conf->seeds[i].host);
        unsigned index = ml_sim_host(sim, name, conf->seeds[i].port); /* may move sim->hosts */
        struct ml_sim_host *host = &sim->hosts[index];

        host->redis = true;
        host->redis_db = conf->db;
        host->mode = ML_SIM_ACCEPT;
    }
}

void ml_peers_find(void *ctx, struct ml_str host, int port, struct ml_addr *out)
{
    unsigned index = ml_sim_host(ctx, host, port);

    *out = (struct ml_addr){.len = sizeof out->in};
    out->in.sin_family = AF_INET;
    out->in.sin_port = htons((uint16_t)port);
    out->in.sin_addr.s_addr = htonl(FIRST + index);
}

/* ---- connections ---- */

static struct ml_sim_end *end_new(struct ml_sim *sim, int fd)
{
    struct ml_sim_end *end = calloc(1, sizeof *end);

    if (end == NULL)
        abort();
    end->sim = sim;
    end->fd = fd;
    end->next = sim->ends;
    sim->ends = end;
    return end;
}

static void make_pair(int fds[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
        abort();
}

/* The listener of the site that a host stands for, or NULL. */
static struct ml_port *own_port(struct ml_sim *sim, const struct ml_sim_host *host)
{
    if (strncmp(host->name, "127.", 4) != 0 && strcmp(host->name, "localhost") != 0 &&
        strcmp(host->name, "::1") != 0)
        return NULL;
    for (unsigned i = 0; i < sim->port_count; i++)
        if (sim->ports[i].conf->port == host->port)
            return &sim->ports[i];
    return NULL;
}

static void accept_own(struct ml_sim *sim, struct ml_port *port, int fd)
{
    struct ml_stream *stream = ml_stream_new(sim->loop, fd);
    struct ml_address from;

    (void)ml_address_parse(ML_STR("127.0.0.1"), &from);
    (void)ml_conn_new(port, &stream, &from);
}

int ml_peers_connect(void *ctx, const struct ml_addr *addr)
{
    struct ml_sim *sim = ctx;
    unsigned index = ntohl(addr->in.sin_addr.s_addr) - FIRST;
    struct ml_port *own;
    int fds[2];

    if (index >= sim->host_count || (own = own_port(sim, &sim->hosts[index]),
                                     own == NULL && sim->hosts[index].mode == ML_SIM_REFUSE))
        return -1;
    make_pair(fds);
    if (own != NULL)
        accept_own(sim, own, fds[1]);
    else
        end_new(sim, fds[1])->host = index;
    return fds[0];
}

/* What comes from a host that resets its connections stays unread: closing says RST then. */
bool ml_peers_read(struct ml_sim_end *end)
{
    bool peek = end->conn == NULL && end->sim->hosts[end->host].mode == ML_SIM_RESET;
    ssize_t n;

    if (end->fd < 0 || end->eof || (peek && ml_buf_len(&end->in) > 0))
        return false;
    n = recv(end->fd, ml_buf_reserve(&end->in, READ_MAX), READ_MAX, peek ? MSG_PEEK : 0);
    if (n > 0) {
        ml_buf_commit(&end->in, (size_t)n);
        return true;
    }
    if (ml_buf_len(&end->in) == 0)
        ml_buf_release(&end->in);
    if (n < 0 && errno == EAGAIN)
        return false;
    end->eof = true;
    end->broken = n < 0;
    return true;
}

bool ml_peers_write(struct ml_sim_end *end)
{
    ssize_t n;

    if (end->fd < 0 || ml_buf_len(&end->out) == 0)
        return false;
    n = send(end->fd, end->out.p + end->out.start, ml_buf_len(&end->out), MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) { /* nobody reads it any more */
        ml_buf_release(&end->out);
        return true;
    }
    if (n > 0)
        ml_buf_consume(&end->out, (size_t)n);
    return n > 0;
}

void ml_sim_end_close(struct ml_sim_end **endp)
{
    struct ml_sim_end *end = *endp, **at = &end->sim->ends;

    *endp = NULL;
    while (*at != end)
        at = &(*at)->next;
    *at = end->next;
    if (end->fd >= 0)
        close(end->fd);
    ml_sim_record_clear(&end->record);
    ml_buf_release(&end->in);
    ml_buf_release(&end->out);
    free(end);
}

struct ml_sim_end *ml_sim_client(struct ml_sim *sim, const struct ml_address *from, int port)
{
    struct ml_sim *before;
    struct ml_stream *stream;
    struct ml_sim_end *end;
    unsigned i = 0;
    int fds[2];

    while (port != 0 && i < sim->port_count && sim->ports[i].conf->port != port)
        i++;
    if (i == sim->port_count)
        return NULL;
    before = ml_sim_enter(sim);
    make_pair(fds);
    stream = ml_stream_new(sim->loop, fds[0]);
    end = end_new(sim, fds[1]);
    end->conn = ml_conn_new(&sim->ports[i], &stream, from);
    ml_sim_leave(before);
    return end;
}
