/* crash.c - a signal handler that only reads memory and writes bytes.
 *
 *   facts: signal, address, generation --> exchange in hand --> position in Lua --> frames --> the
 * end
 *
 * Each step may itself meet what is broken: a second signal ends the process, and what the steps
 * before wrote is there.  Frames inside of the program are relative to its begin, for addr2line. */
#include "process/crash.h"

#include "base/log_event.h"
#include "inbound/conn.h"
#include "script/task.h"

#include <execinfo.h>
#include <link.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

enum { FRAMES_MAX = 48, STACK_BYTES = 128 * 1024, BUILD_ID_MAX = 20, LUA_DEPTH = 8 };

struct words {
    volatile sig_atomic_t said; /* there was a crash */
    int signal, code;
    uintptr_t address;
    uint32_t generation;
    int frame_count;
    uintptr_t frames[FRAMES_MAX];
    char request[64], method[16], route[128], script[128], lua[128];
};

struct ml_crash {
    unsigned workers;
    size_t bytes;
    struct words words[];
};

static const int signals[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL};

static struct {
    struct words *words;
    struct ml_shm_worker *stats;
    uintptr_t begin, end; /* of the program in memory */
} us;
static char build_id[2 * BUILD_ID_MAX + 1];
static sigjmp_buf after_frames;
static volatile sig_atomic_t unwinding;

/* ---- in the handler ---- */

/* Printable, and no longer than fits. */
static void keep(char *out, size_t cap, const char *p, size_t len)
{
    size_t n = 0;

    for (; n < len && n < cap - 1 && p[n] != '\0'; n++)
        out[n] = p[n] >= ' ' && p[n] < 127 ? p[n] : '?';
    out[n] = '\0';
}

static void put(const char *text)
{
    (void)!write(STDERR_FILENO, text, strlen(text));
}

static void put_number(uintptr_t n, unsigned base)
{
    char text[24];
    size_t at = sizeof text - 1;

    text[at] = '\0';
    do {
        text[--at] = "0123456789abcdef"[n % base];
        n /= base;
    } while (n > 0);
    put(text + at);
}

static void take_facts(struct words *w, int number, const siginfo_t *info)
{
    w->signal = number;
    w->code = info->si_code;
    w->address = info->si_code > 0 ? (uintptr_t)info->si_addr : 0;
    w->generation = atomic_load_explicit(&us.stats->generation, memory_order_relaxed);
    if (atomic_load_explicit(&us.stats->script_since_ms, memory_order_relaxed) != 0)
        keep(w->script, sizeof w->script, us.stats->script, sizeof us.stats->script);
    w->said = 1;
    put("moonlatch: worker ");
    put_number((uintptr_t)getpid(), 10);
    put(" dies of signal ");
    put_number((uintptr_t)number, 10);
    put(" at address 0x");
    put_number(w->address, 16);
    put(", build ");
    put(build_id);
    put("\n");
}

static void add_frame(struct words *w, uintptr_t pc)
{
    if (w->frame_count < FRAMES_MAX)
        w->frames[w->frame_count++] = pc >= us.begin && pc < us.end ? pc - us.begin : pc;
}

static _Unwind_Reason_Code on_frame(struct _Unwind_Context *context, void *ctx)
{
    struct words *w = ctx;

    add_frame(w, (uintptr_t)_Unwind_GetIP(context));
    return w->frame_count < FRAMES_MAX ? _URC_NO_REASON : _URC_END_OF_STACK;
}

/* Code that LuaJIT has compiled has no frames that could be unwound, and the unwinder may abort
 * there: what it found before is kept. */
static void take_frames(struct words *w)
{
    void *frames[FRAMES_MAX];

    unwinding = 1;
    if (sigsetjmp(after_frames, 0) == 0)
        _Unwind_Backtrace(on_frame, w);
    unwinding = 0;
    for (int i = 0; i < w->frame_count; i++)
        frames[i] =
            (void *)(w->frames[i] < us.end - us.begin ? w->frames[i] + us.begin : w->frames[i]);
    backtrace_symbols_fd(frames, w->frame_count, STDERR_FILENO);
}

static void take_exchange(struct words *w, const struct ml_exchange *ex)
{
    keep(w->request, sizeof w->request, ex->req.id.p, ex->req.id.len);
    keep(w->method, sizeof w->method, ex->req.method.p, ex->req.method.len);
    keep(w->route, sizeof w->route, ex->notes.route.p, ex->notes.route.len);
    put("moonlatch: request ");
    put(w->request);
    put(" ");
    put(w->method);
    put(" ");
    put(w->route);
    put("\n");
}

/* The innermost function of the script; compiled code does not tell its line at every moment. */
static void take_position(struct words *w, lua_State *L)
{
    lua_Debug ar;

    for (int level = 0; level < LUA_DEPTH && lua_getstack(L, level, &ar); level++) {
        size_t len;

        if (!lua_getinfo(L, "Sl", &ar) || ar.currentline <= 0)
            continue;
        keep(w->lua, sizeof w->lua - 12, ar.short_src, sizeof ar.short_src);
        len = strlen(w->lua);
        w->lua[len++] = ':';
        for (int line = ar.currentline, div = 1000000; div > 0; div /= 10)
            if (line >= div || div == 1)
                w->lua[len++] = (char)('0' + line / div % 10);
        w->lua[len] = '\0';
        break;
    }
    put("moonlatch: script at ");
    put(w->lua);
    put("\n");
}

static uintptr_t program_counter(const void *context)
{
#ifdef __x86_64__
    return (uintptr_t)((const ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (uintptr_t)((const ucontext_t *)context)->uc_mcontext.pc;
#else
    (void)context;
    return 0;
#endif
}

static void report(struct words *w)
{
    struct ml_task *task = ml_task_running(NULL);
    struct ml_exchange *ex = task != NULL ? ml_task_exchange(task) : ml_conn_in_hand();

    if (ex != NULL)
        take_exchange(w, ex);
    if (task != NULL)
        take_position(w, ml_task_stack(task));
    take_frames(w);
}

static void on_crash(int number, siginfo_t *info, void *context)
{
    struct words *w = us.words;

    if (w->said) { /* the report has met what is broken */
        if (unwinding)
            siglongjmp(after_frames, 1);
        raise(w->signal);
    }
    take_facts(w, number, info);
    add_frame(w, program_counter(context));
    report(w);
    if (info->si_code <= 0) /* it was sent; else it happens again at the return */
        raise(number);
}

/* ---- in the worker ---- */

static void read_build_id(const char *p, const char *end)
{
    while (p + sizeof(ElfW(Nhdr)) <= end) {
        const ElfW(Nhdr) *note = (const void *)p;
        const char *name = p + sizeof *note;
        const unsigned char *id = (const void *)(name + ((note->n_namesz + 3) & ~3u));

        if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && memcmp(name, "GNU", 4) == 0) {
            for (unsigned i = 0; i < note->n_descsz && i < BUILD_ID_MAX; i++)
                snprintf(build_id + 2 * (size_t)i, 3, "%02x", id[i]);
            return;
        }
        p = (const char *)id + ((note->n_descsz + 3) & ~3u);
    }
}

/* The first object is the program. */
static int look_at_program(struct dl_phdr_info *info, size_t size, void *ctx)
{
    (void)size;
    (void)ctx;
    us.begin = info->dlpi_addr;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        uintptr_t at = info->dlpi_addr + h->p_vaddr;

        if (h->p_type == PT_LOAD && at + h->p_memsz > us.end)
            us.end = at + h->p_memsz;
        if (h->p_type == PT_NOTE)
            read_build_id((const char *)at, (const char *)at + h->p_memsz);
    }
    return 1;
}

static _Unwind_Reason_Code on_first_frame(struct _Unwind_Context *context, void *ctx)
{
    (void)context;
    (void)ctx;
    return _URC_END_OF_STACK;
}

void ml_crash_install(struct ml_crash *c, unsigned worker, struct ml_shm_worker *stats)
{
    static char stack[STACK_BYTES]; /* the usual one may be what is used up */
    const stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction act = {.sa_sigaction = on_crash,
                            .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESETHAND | SA_NODEFER};

    if (SANITIZED)
        return;
    us.words = &c->words[worker];
    us.stats = stats;
    _Unwind_Backtrace(on_first_frame, NULL); /* the first call may load and allocate */
    sigaltstack(&other, NULL);
    sigemptyset(&act.sa_mask);
    for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &act, NULL);
}

/* ---- in the supervisor ---- */

struct ml_crash *ml_crash_new(unsigned workers)
{
    size_t bytes = sizeof(struct ml_crash) + workers * sizeof(struct words);
    struct ml_crash *c =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (c == MAP_FAILED)
        abort();
    c->workers = workers;
    c->bytes = bytes;
    dl_iterate_phdr(look_at_program, NULL);
    return c;
}

void ml_crash_free(struct ml_crash **c)
{
    if (*c != NULL)
        munmap(*c, (*c)->bytes);
    *c = NULL;
}

static const char *frames_text(const struct words *w, struct ml_buf *out)
{
    int count = w->frame_count < FRAMES_MAX ? w->frame_count : FRAMES_MAX;

    for (int i = 0; i < count; i++)
        ml_buf_printf(out, "%s0x%lx", i > 0 ? " " : "", (unsigned long)w->frames[i]);
    ml_buf_append(out, (struct ml_str){"", 1});
    return ml_buf_str(out).p;
}

void ml_crash_log(struct ml_crash *c, unsigned worker, pid_t pid)
{
    struct words w = c->words[worker];
    struct ml_buf frames = {0};
    char address[24];

    memset(&c->words[worker], 0, sizeof c->words[worker]);
    if (!w.said)
        return;
    w.request[sizeof w.request - 1] = w.method[sizeof w.method - 1] = '\0'; /* it was broken */
    w.route[sizeof w.route - 1] = w.script[sizeof w.script - 1] = w.lua[sizeof w.lua - 1] = '\0';
    snprintf(address, sizeof address, "0x%lx", (unsigned long)w.address);
    ml_log_event(ML_LOG_ERROR, "worker crashed", ML_KV("worker", worker), ML_KV("workerPid", pid),
                 ML_KV("signal", w.signal), ML_KV("signalName", (const char *)strsignal(w.signal)),
                 ML_KV("code", w.code), ML_KV("address", (const char *)address),
                 ML_KV("generation", w.generation), ML_KV("requestId", (const char *)w.request),
                 ML_KV("method", (const char *)w.method), ML_KV("route", (const char *)w.route),
                 ML_KV("script", (const char *)w.script), ML_KV("position", (const char *)w.lua),
                 ML_KV("buildId", (const char *)build_id),
                 ML_KV("backtrace", frames_text(&w, &frames)));
    ml_buf_release(&frames);
}
