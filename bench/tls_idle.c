/* tls_idle.c - what an idle TLS connection costs the gateway:
 *
 *   tls_idle PORT PID [CONNECTIONS]     PID: of `moonlatch run`, with one worker
 *
 * Opens connections, has one request answered on each, keeps them, and prints how much the resident
 * memory of PID's children has grown per connection: a TLS 1.3 handshake, GET /, keep-alive. */
#include <arpa/inet.h>
#include <dirent.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static long field_of(const char *path, const char *name)
{
    FILE *f = fopen(path, "r");
    char line[256];
    long value = 0;

    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            value = strtol(line + strlen(name), NULL, 10);
    if (f != NULL)
        fclose(f);
    return value;
}

/* KiB that belong to the children alone. */
static long children_kib(long pid)
{
    DIR *proc = opendir("/proc");
    struct dirent *e;
    char path[300];
    long sum = 0;

    while (proc != NULL && (e = readdir(proc)) != NULL) {
        snprintf(path, sizeof path, "/proc/%s/status", e->d_name);
        if (e->d_name[0] < '0' || e->d_name[0] > '9' || field_of(path, "PPid:") != pid)
            continue;
        sum += field_of(path, "RssAnon:");
    }
    if (proc != NULL)
        closedir(proc);
    return sum;
}

static void fail(const char *what)
{
    fprintf(stderr, "tls_idle: %s\n", what);
    exit(1);
}

static SSL *open_one(SSL_CTX *ctx, int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    char answer[4096];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    SSL *ssl = SSL_new(ctx);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        fail("cannot connect");
    SSL_set_fd(ssl, fd);
    if (SSL_connect(ssl) != 1)
        fail("no handshake");
    if (SSL_write(ssl, request, sizeof request - 1) <= 0 ||
        SSL_read(ssl, answer, sizeof answer) <= 0)
        fail("no answer");
    return ssl;
}

int main(int argc, char **argv)
{
    int port = argc > 2 ? atoi(argv[1]) : 0, count = argc > 3 ? atoi(argv[3]) : 1000;
    long pid = argc > 2 ? atol(argv[2]) : 0, before, after;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    struct rlimit limit;

    if (port <= 0 || pid <= 0 || count <= 0)
        fail("PORT PID [CONNECTIONS]");
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    for (int i = 0; i < 100; i++) /* warm: code, pools */
        SSL_shutdown(open_one(ctx, port));
    before = children_kib(pid);
    for (int i = 0; i < count; i++)
        open_one(ctx, port);
    sleep(2); /* longer than a worker's pause after which it gives memory back */
    after = children_kib(pid);
    printf("%d idle TLS connections: %.1f KiB each\n", count,
           (double)(after - before) / (double)count);
    return 0;
}
