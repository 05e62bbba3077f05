/* world.c - a file of one struct ml_world, in the hand of a test. */
#include "kit/world.h"

#include "kit/ends.h"
#include "kit/shim/world.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char WORLD[] = "moonlatch world";

static struct ml_world *check_world(lua_State *L)
{
    struct ml_world **w = luaL_checkudata(L, 1, WORLD);

    if (*w == NULL)
        luaL_error(L, "the app is closed");
    return *w;
}

static int world_new(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    double seed = luaL_checknumber(L, 2);
    struct ml_world **w = lua_newuserdata(L, sizeof *w);
    int fd;

    *w = NULL;
    luaL_getmetatable(L, WORLD);
    lua_setmetatable(L, -2);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || fchmod(fd, 0666) != 0 || ftruncate(fd, sizeof **w) != 0)
        return luaL_error(L, "%s can not be made", path);
    *w = mmap(NULL, sizeof **w, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (*w == MAP_FAILED)
        abort();
    atomic_store(&(*w)->seed, (uint64_t)seed);
    return 1;
}

static int world_close(lua_State *L)
{
    struct ml_world **w = luaL_checkudata(L, 1, WORLD);

    if (*w != NULL)
        munmap(*w, sizeof **w);
    *w = NULL;
    return 0;
}

/* ---- time ---- */

static int world_clock(lua_State *L)
{
    const struct ml_world *w = check_world(L);
    double elapsed_s = (double)atomic_load(&w->now_ns) / 1e9;

    lua_pushnumber(L, (double)atomic_load(&w->wall_begin_us) / 1e6 + elapsed_s);
    lua_pushnumber(L, elapsed_s);
    return 2;
}

/* From now on the wall clock goes on from there. */
static int world_begin(lua_State *L)
{
    struct ml_world *w = check_world(L);
    double now_us = (double)atomic_load(&w->now_ns) / 1e3;

    atomic_store(&w->wall_begin_us, (uint64_t)(luaL_checknumber(L, 2) * 1e6 - now_us));
    return 0;
}

static int world_move(lua_State *L)
{
    struct ml_world *w = check_world(L);
    double by_s = luaL_checknumber(L, 2);

    if (by_s > 0)
        atomic_fetch_add(&w->now_ns, (uint64_t)ceil(by_s * 1e9));
    return 0;
}

/* ---- processes ---- */

static int world_ask(lua_State *L)
{
    atomic_fetch_add(&check_world(L)->turn, 1);
    return 0;
}

/* Also frees the entry of one that is gone. */
static bool alive(struct ml_world_process *p)
{
    int pid = atomic_load(&p->pid);

    if (pid == 0)
        return false;
    if (kill(pid, 0) == 0)
        return true;
    atomic_store(&p->pid, 0);
    return false;
}

/* Is a thread beside the one that waits at work?  Slow hashes are. */
static bool works_beside(int pid)
{
    char path[64], line[128];
    struct dirent *entry;
    bool works = false;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%d/task", pid);
    dir = opendir(path);
    while (dir != NULL && !works && (entry = readdir(dir)) != NULL) {
        int thread = atoi(entry->d_name);
        const char *state;
        FILE *f;

        if (thread == 0 || thread == pid)
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, thread);
        if ((f = fopen(path, "re")) == NULL)
            continue;
        if (fgets(line, sizeof line, f) != NULL && (state = strrchr(line, ')')) != NULL)
            works = state[1] == ' ' && (state[2] == 'R' || state[2] == 'D');
        fclose(f);
    }
    if (dir != NULL)
        closedir(dir);
    return works;
}

static int world_idle(lua_State *L)
{
    struct ml_world *w = check_world(L);
    uint64_t turn = atomic_load(&w->turn), sum = 0;
    bool idle = true;

    for (int i = 0; i < ML_WORLD_PROCESSES && idle; i++) {
        struct ml_world_process *p = &w->processes[i];

        if (!alive(p))
            continue;
        idle = atomic_load(&p->seen) >= turn && atomic_load(&p->waiting) != 0 &&
               !works_beside(atomic_load(&p->pid));
        sum += atomic_load(&p->found);
    }
    lua_pushboolean(L, idle);
    lua_pushnumber(L, (double)sum);
    return 2;
}

static int world_next(lua_State *L)
{
    struct ml_world *w = check_world(L);
    uint64_t first = UINT64_MAX, now = atomic_load(&w->now_ns);

    for (int i = 0; i < ML_WORLD_PROCESSES; i++) {
        struct ml_world_process *p = &w->processes[i];

        if (alive(p) && atomic_load(&p->deadline_ns) < first)
            first = atomic_load(&p->deadline_ns);
    }
    if (first == UINT64_MAX)
        return 0;
    lua_pushnumber(L, first > now ? (double)(first - now) / 1e9 : 0);
    return 1;
}

/* ---- connections ---- */

static int world_place(lua_State *L)
{
    struct ml_world *w = check_world(L);
    unsigned count = atomic_load(&w->place_count), i = 0;
    uint16_t port = (uint16_t)luaL_checkinteger(L, 3);
    struct in_addr address;

    if (inet_pton(AF_INET, luaL_checkstring(L, 2), &address) != 1)
        return luaL_argerror(L, 2, "no IPv4 address");
    while (i < count &&
           (w->places[i].address != ntohl(address.s_addr) || w->places[i].port != port))
        i++;
    if (i == ML_WORLD_PLACES)
        return luaL_error(L, "a test of the real program has at most %d hosts", ML_WORLD_PLACES);
    w->places[i].address = ntohl(address.s_addr);
    w->places[i].port = port;
    atomic_store(&w->places[i].leads_to, (uint16_t)luaL_checkinteger(L, 4));
    if (i == count)
        atomic_store(&w->place_count, count + 1);
    return 0;
}

static int world_client(lua_State *L)
{
    struct ml_world *w = check_world(L);
    lua_Integer port = luaL_checkinteger(L, 2);
    const char *ip = luaL_checkstring(L, 3);
    struct ml_world_client *client;
    uint8_t family = 4;

    luaL_argcheck(L, port >= 0 && port < ML_WORLD_PORTS, 2, "no port");
    client = &w->clients[port];
    if (inet_pton(AF_INET, ip, client->address) != 1) {
        family = 6;
        if (inet_pton(AF_INET6, ip, client->address) != 1)
            return luaL_error(L, "ip: \"%s\" is no address", ip);
    }
    atomic_store(&client->family, family);
    return 0;
}

void ml_world_open(lua_State *L)
{
    static const luaL_Reg methods[] = {{"clock", world_clock}, {"begin", world_begin},
                                       {"move", world_move},   {"ask", world_ask},
                                       {"idle", world_idle},   {"next", world_next},
                                       {"place", world_place}, {"client", world_client},
                                       {"close", world_close}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"world", world_new}, {NULL, NULL}};

    ml_ends_push_class(L, WORLD, methods);
    lua_pushcfunction(L, world_close);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    luaL_register(L, NULL, functions);
}
