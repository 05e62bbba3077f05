/* budget.c - a tick of CPU time, a counter of resumes, and the kill.
 *
 *   enter: resumes++, in_lua = 1        tick: in_lua and the same resume as at the last tick?
 *   leave: in_lua = 0, hook off               then compare its CPU time with the budget -> kill
 *
 * The handler is the only other party and runs on the same thread, so plain volatile words and
 * compiler barriers are enough.  in_lua is what makes a late signal harmless: outside of a resume
 * the handler touches nothing of Lua. */
#include "script/budget.h"

#include <assert.h>
#include <lauxlib.h>
#include <luajit.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum {
    TICK_NS = 10 * 1000 * 1000,
    RESTING_COST = 20, /* how much slower interpreted code with a hook is, at most */
};

static struct {
    /* shared with the handler */
    volatile sig_atomic_t depth; /* > 0: Lua runs */
    volatile sig_atomic_t killed;
    volatile sig_atomic_t memory; /* killed for that, not for time */
    volatile uint64_t resumes;
    volatile uint64_t budget_ns;
    lua_State *volatile L;
    void (*volatile trigger)(int); /* raises the profiler's flag of the owner */
    lua_State *volatile owner;
    /* the handler's own */
    uint64_t seen, since_ns;
    /* never the handler's */
    lua_Hook resting;  /* of VMs that are watched, or NULL */
    char message[160]; /* of the first kill of this resume, or "" */
    pid_t armed;
    timer_t timer;
} watch;

static void barrier(void)
{
    atomic_signal_fence(memory_order_seq_cst);
}

static uint64_t cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static unsigned slowness(void)
{
    return watch.resting != NULL ? RESTING_COST : 1;
}

/* A hook has no frame of its own: ar is the function that overran.  Who catches the error is met by
 * the hook again, elsewhere; the first place is the one that counts. */
static void kill_hook(lua_State *L, lua_Debug *ar)
{
    if (watch.message[0] == '\0') {
        lua_getinfo(L, "Sl", ar);
        if (ar->currentline > 0)
            snprintf(watch.message, sizeof watch.message, "%s:%d: ", ar->short_src,
                     ar->currentline);
        if (watch.memory)
            strncat(watch.message, "not enough memory",
                    sizeof watch.message - strlen(watch.message) - 1);
        else
            snprintf(watch.message + strlen(watch.message),
                     sizeof watch.message - strlen(watch.message), "CPU budget of %d ms exceeded",
                     (int)(watch.budget_ns / 1000000u / slowness()));
    }
    lua_pushstring(L, watch.message);
    lua_error(L);
}

/* Repeated at each tick until the resume ends: LuaJIT may lose a flag that it changes at the moment
 * of the signal. */
static void kill_script(void)
{
    lua_State *L = watch.L;

    watch.killed = 1;
    lua_sethook(L, kill_hook, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
    if (watch.owner != NULL && watch.trigger != NULL)
        watch.trigger(SIGPROF);
}

static void on_tick(int signal)
{
    (void)signal;
    if (watch.depth == 0)
        return;
    if (watch.seen != watch.resumes) { /* began within the last tick */
        watch.seen = watch.resumes;
        watch.since_ns = cpu_ns();
    } else if (cpu_ns() - watch.since_ns >= watch.budget_ns) {
        kill_script();
    }
}

static int tick_signal(void)
{
    return SIGRTMIN + 5;
}

void ml_budget_arm(void)
{
    struct sigaction action = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = tick_signal()};
    struct itimerspec every = {{0, TICK_NS}, {0, TICK_NS}};

    if (watch.armed == getpid())
        return;
    watch.depth = 0; /* a forked child inherits no timer and no running script */
    sigemptyset(&action.sa_mask);
    event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
    if (sigaction(tick_signal(), &action, NULL) != 0 ||
        timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &watch.timer) != 0 ||
        timer_settime(watch.timer, 0, &every, NULL) != 0)
        abort();
    watch.armed = getpid();
}

void ml_budget_enter(lua_State *L, double ms)
{
    if (watch.depth > 0) {
        watch.depth++;
        return;
    }
    watch.L = L;
    watch.budget_ns = (uint64_t)(ms * 1e6) * slowness();
    watch.killed = watch.memory = 0;
    watch.message[0] = '\0';
    watch.resumes++;
    barrier();
    watch.depth = 1;
    barrier();
}

bool ml_budget_leave(void)
{
    assert(watch.depth > 0);
    barrier();
    watch.depth--;
    barrier();
    if (watch.depth > 0 || !watch.killed)
        return watch.killed;
    lua_sethook(watch.L, watch.resting, watch.resting != NULL ? LUA_MASKLINE : 0, 0);
    return true;
}

bool ml_budget_out_of_memory(lua_State *L)
{
    if (watch.depth == 0 || watch.owner != L)
        return false;
    if (!watch.killed)
        watch.memory = 1;
    kill_script();
    return true;
}

bool ml_budget_was_memory(void)
{
    return watch.memory;
}

/* ---- the profiler slot ---- */

/* The flag brings compiled code back to the interpreter, where the hook waits; nothing to do. */
static void on_sample(void *data, lua_State *L, int samples, int state)
{
    (void)data;
    (void)L;
    (void)samples;
    (void)state;
}

void ml_budget_disown(lua_State *L)
{
    if (watch.owner != L)
        return;
    watch.owner = NULL;
    barrier();
    luaJIT_profile_stop(L);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_FLUSH);
}

void ml_budget_own(lua_State *L)
{
    struct itimerval off = {{0, 0}, {0, 0}};
    struct sigaction action;

    if (watch.owner == L)
        return;
    if (watch.owner != NULL)
        ml_budget_disown(watch.owner);
    luaJIT_profile_start(L, "li1000000", on_sample, NULL);
    setitimer(ITIMER_PROF, &off, NULL); /* its clock is of no use, only its handler is */
    sigaction(SIGPROF, NULL, &action);
    watch.trigger = action.sa_handler;
    luaJIT_setmode(L, 0,
                   LUAJIT_MODE_ENGINE | (watch.resting == NULL ? LUAJIT_MODE_ON : LUAJIT_MODE_OFF));
    barrier();
    watch.owner = L;
}

void ml_budget_rest(lua_Hook hook)
{
    watch.resting = hook;
}
